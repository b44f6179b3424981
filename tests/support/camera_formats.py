"""One camera path in each of the formats that known cameras are read from."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from geoflow.geometry.rigid import invert

NAME = "clip"


def write_tum(path: Path, cam_from_world: np.ndarray, time: np.ndarray) -> Path:
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for t, pose in zip(time, invert(np.asarray(cam_from_world, float))):
        numbers = [t, *pose[:3, 3], *_quaternion(pose[:3, :3])]
        lines.append(" ".join(f"{number:.17g}" for number in numbers))
    path.write_text("\n".join(lines) + "\n")
    return path


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """x, y, z, w of a rotation by less than half a turn."""
    w = 0.5 * np.sqrt(1 + np.trace(rotation))
    skew = rotation - rotation.T
    return np.array([skew[2, 1], skew[0, 2], skew[1, 0], 4 * w * w]) / (4 * w)


def write_colmap(
    folder: Path,
    cam_from_world: np.ndarray,
    k: np.ndarray,
    size: tuple[int, int],
    numbers: np.ndarray,
    *,
    model: str = "PINHOLE",
    extra: tuple[float, ...] = (),
    text: bool = False,
    form: str = "{:06d}.jpg",
) -> Path:
    import pycolmap

    sparse = folder / "sparse" / "0"
    sparse.mkdir(parents=True)
    written = pycolmap.Reconstruction()
    focal = (
        [k[0, 0]]
        if model in ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE")
        else [k[0, 0], k[1, 1]]
    )
    params = [*focal, k[0, 2] + 0.5, k[1, 2] + 0.5, *extra]
    camera = pycolmap.Camera(model=model, width=size[0], height=size[1], params=params, camera_id=1)
    written.add_camera_with_trivial_rig(camera)
    for i, (number, pose) in enumerate(zip(numbers, cam_from_world), start=1):
        image = pycolmap.Image(name=form.format(number), camera_id=1, image_id=i)
        written.add_image_with_trivial_frame(image, pycolmap.Rigid3d(np.asarray(pose, float)[:3]))
    written.write_text(str(sparse)) if text else written.write_binary(str(sparse))
    return folder


def write_vipe(
    folder: Path,
    cam_from_world: np.ndarray,
    k: np.ndarray,
    size: tuple[int, int],
    numbers: np.ndarray,
    name: str = NAME,
) -> Path:
    import av

    for part in ("pose", "intrinsics", "rgb"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    np.savez(folder / "pose" / f"{name}.npz", data=invert(np.asarray(cam_from_world, float)), inds=numbers)
    row = [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]
    np.savez(folder / "intrinsics" / f"{name}.npz", data=np.tile(row, (len(numbers), 1)), inds=numbers)
    (folder / "intrinsics" / f"{name}_camera.txt").write_text("".join(f"{i}: PINHOLE\n" for i in numbers))
    with av.open(str(folder / "rgb" / f"{name}.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for _ in range(2):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((size[1], size[0], 3), np.uint8), "rgb24")))
        film.mux(stream.encode())
    return folder


def write_store(
    path: Path,
    cam_from_world: np.ndarray,
    k: np.ndarray,
    size: tuple[int, int],
    numbers: np.ndarray,
    *,
    metric: bool = False,
    source_sha256: str = "",
) -> Path:
    """A store of cameras alone."""
    count = len(numbers)
    valid = np.isfinite(cam_from_world).all((1, 2))
    with h5py.File(path, "w") as file:
        file.attrs.update(
            geoflow_schema=1, geoflow_version="0", source="x.mp4", source_sha256=source_sha256, fps=10.0,
            num_frames=count, height=size[1], width=size[0], metric=metric, status="complete", pipeline="{}",
        )  # fmt: skip
        file["frames/index"], file["frames/time"] = np.asarray(numbers, np.int64), np.arange(count) / 10
        file["camera/cam_from_world"] = cam_from_world.astype(np.float32)
        file["camera/intrinsics"] = np.tile(k, (count, 1, 1)).astype(np.float32)
        file["camera/valid"] = valid
    return path
