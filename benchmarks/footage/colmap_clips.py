"""Recordings without depth of which somebody has published the poses that COLMAP found."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from clip_files import ClipWriter, camera, pose, read, recipe
from posed_photos import from_transforms

_NAMES = {
    0: "f cx cy",
    1: "fx fy cx cy",
    2: "f cx cy k1",
    3: "f cx cy k1 k2",
    4: "fx fy cx cy k1 k2 p1 p2",
}  # of models


@recipe("dark_desk_wide", "eunseon02/mono_slam@1f77fbb763857b96ac9a596bc18d1e962ce18dbf", licence="none stated")
def dark_desk_wide(clip: ClipWriter, source: Path) -> None:
    """Pictures of a dark desk, by a camera with a lens of 80 degrees, a phone in the middle."""
    from_transforms(clip, source / "data/transforms.json", pictures=source / "data/images")


@recipe("rooftop_walk", "Vincent7140/dataset_perso@3db5ced2dc16cdd1d95f37f84958face30c7f347", licence="none stated")
def rooftop_walk(clip: ClipWriter, source: Path) -> None:
    """A walk up a stair and around a roof, over a city; shrunk to 480x270, and the camera with it."""
    from_transforms(clip, source / "transforms.json", pictures=source)


@recipe("fruit_photos", "tusharparimi/fruit-NeRF@236cb0105d687745f7a13f454679346a64ac47d6", licence="none stated")
def fruit_photos(clip: ClipWriter, source: Path) -> None:
    """Portrait photos of fruit on a cloth by a phone, in the order in which they were taken, shrunk."""
    from_transforms(clip, source / "transforms.json")


@recipe(
    "square_photos",
    "lambkin108/TensoRF_mydata@7df228d992d263be12824e51263efe2c3a7bfbb1",
    licence="MIT, the repository's",
    held_out=True,
)
def square_photos(clip: ClipWriter, source: Path) -> None:
    """Every frame of a video that was cut to a square and is not left for a test: steps of one or two."""
    from_transforms(clip, source / "data/mydata/transforms_train.json", suffix=".png")


@recipe(
    "numbered_photos",
    "kwrous/final_tensorf@85c25f19aecbf4b170a68e0fa93c19805b28de3b",
    licence="none stated",
    held_out=True,
)
def numbered_photos(clip: ClipWriter, source: Path) -> None:
    """77 photos of one camera, in the order of their numbers."""
    from_colmap(clip, source / "sparse/0", source / "images")


@recipe(
    "bird_portrait",
    "Michael-Yi-Rong/NeRF-Pytorch@b0c10844b87e7e57b26d023805fc03bdbf3a3c54",
    licence="none stated",
    held_out=True,
)
def bird_portrait(clip: ClipWriter, source: Path) -> None:
    """184 frames of a portrait video."""
    from_colmap(clip, source / "sparse/0", source / "images")


def from_colmap(clip: ClipWriter, model: Path, pictures: Path) -> None:
    """A model as COLMAP stores it (cameras.bin, images.bin), any scale; pictures that it lacks have no pose.

    Each picture may have a camera of its own, but all have the same distortion. Pictures of another size than their
    camera get a camera of their size. COLMAP puts the centre of the first pixel at 0.5.
    """
    with (model / "cameras.bin").open("rb") as file:
        cameras = dict(_camera(file) for _ in range(_next(file, "Q")[0]))
    with (model / "images.bin").open("rb") as file:
        images = {name: (number, matrix) for name, number, matrix in (_image(file) for _ in range(_next(file, "Q")[0]))}
    distortions = np.array([distortion for _, _, distortion in cameras.values()])
    if np.ptp(distortions, axis=0).any():
        raise ValueError(f"{model}: the cameras have different distortions; a clip has one")
    poses, intrinsics = [], []
    for path in sorted((path for path in pictures.iterdir() if path.is_file()), key=lambda path: int(path.stem)):
        size = read(clip.add(path)).shape[1]
        number, matrix = images.get(path.name, (None, np.full((4, 4), np.nan)))
        width, k, _ = cameras[number] if number else (size, np.full(4, np.nan), None)
        fx, fy, cx, cy = size / width * k
        poses.append(matrix)
        intrinsics.append(camera(fx, fy, cx - 0.5, cy - 0.5))
    clip.finish(poses, intrinsics, np.full(len(poses), np.nan), distortion=distortions[0], metric=False)


def _next(file: BinaryIO, kinds: str) -> tuple:
    """The next numbers of a file, little-endian."""
    return struct.unpack(f"<{kinds}", file.read(struct.calcsize(f"<{kinds}")))


def _camera(file: BinaryIO) -> tuple[int, tuple[int, np.ndarray, np.ndarray]]:
    """Number, and width, (fx, fy, cx, cy) and distortion (k1, k2, p1, p2) of a camera."""
    number, model, width, _ = _next(file, "iiQQ")
    names = _NAMES[model].split()
    known = dict(zip(names, _next(file, f"{len(names)}d")))
    k = [known.get("fx", known.get("f")), known.get("fy", known.get("f")), known["cx"], known["cy"]]
    return number, (width, np.array(k), np.array([known.get(name, 0.0) for name in ("k1", "k2", "p1", "p2")]))


def _image(file: BinaryIO) -> tuple[str, int, np.ndarray]:
    """Name, number of the camera, and cam_from_world (4, 4)."""
    _, w, x, y, z, *position, number = _next(file, "i7di")
    name = bytearray()
    while (byte := file.read(1)) != b"\0":
        name += byte
    file.seek(24 * _next(file, "Q")[0], 1)  # the points that it sees
    return name.decode(), number, pose(np.array([x, y, z, w]), np.array(position))
