"""The ground-truth file: its layout, written frame by frame and read lazily.

attributes   geoflow_gt = 1, fps, metric (absent means True), motion (moving, still or rotating, if it is
             known though poses are not), source_sha256 (of the clip's file; absent where it is not known)
intrinsics       (T, 3, 3) float32   pixels; NaN where unknown
cam_from_world   (T, 4, 4) float32   metres (any unit where not metric), OpenCV axes; NaN where unknown
depth            (T, H, W) float32   z in the same unit at the pixel's centre; 0 where unknown
moving           (T, H, W) bool      True on moving bodies; False also where unknown
label            (T, H, W) uint8     number of the body that each pixel shows; 0: the room. Only in clips of `synth`
bodies/world_from_body (T, B, 4, 4) float32  pose of each body; body 0 is the room. Only in clips of `synth`
bodies/size      (B,) float32        the body's diameter, metres
tracks/xyz       (T, N, 3) float32   world, metres
tracks/uv        (T, N, 2) float32   pixels; NaN where the point is behind the camera
tracks/visible   (T, N) bool         inside the image and not occluded
tracks/static    (N,) bool           False for points on moving bodies
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geoflow.errors import InputError
from geoflow.files.hashing import sha256_of

SCHEMA = 1
_PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_REQUIRED = ("intrinsics", "cam_from_world", "depth", "moving")


@dataclass(frozen=True)
class TrueTracks:
    """Points followed through the clip; shapes as in the module's table."""

    xyz: np.ndarray
    uv: np.ndarray
    visible: np.ndarray
    static: np.ndarray


@dataclass(frozen=True)
class TrueBodies:
    """Poses of all bodies; shapes as in the module's table."""

    world_from_body: np.ndarray
    size: np.ndarray


@dataclass
class GroundTruth:
    """An open ground-truth file. `depth`, `moving` and `label` are read from disk as they are indexed."""

    path: Path
    fps: float
    intrinsics: np.ndarray
    cam_from_world: np.ndarray
    depth: Any  # h5py.Dataset
    moving: Any  # h5py.Dataset
    label: Any | None  # h5py.Dataset; None if the truth knows no objects
    bodies: TrueBodies | None  # None if the truth knows no bodies
    tracks: TrueTracks | None
    metric: bool  # lengths are metres; else the truth is up to one scale
    motion: str | None  # what the camera does, if stated; otherwise the poses tell
    source_sha256: str  # of the clip's file; "" if not known
    _file: Any

    @property
    def num_frames(self) -> int:
        return len(self.cam_from_world)

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""
        return self.depth.shape[1], self.depth.shape[2]

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> GroundTruth:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class GroundTruthWriter:
    """Writes depth and masks frame by frame, so that a long clip is never in memory as a whole.

    What is not written is unknown: NaN poses and intrinsics, depth 0, and nothing moves. The file has labels of objects
    only if some are written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        num_frames: int,
        height: int,
        width: int,
        fps: float,
        metric: bool = True,
        motion: str | None = None,
    ) -> None:
        import h5py

        self._file = h5py.File(path, "w")
        self._file.attrs["geoflow_gt"] = SCHEMA
        self._file.attrs["fps"] = fps
        self._file.attrs["metric"] = metric
        if motion is not None:
            self._file.attrs["motion"] = motion
        maps = (num_frames, height, width)
        for name, dtype, shape in (
            ("intrinsics", "f4", (num_frames, 3, 3)),
            ("cam_from_world", "f4", (num_frames, 4, 4)),
        ):
            self._file.create_dataset(name, shape, dtype, fillvalue=np.nan)
        self._file.create_dataset("depth", maps, "f4", chunks=(1, height, width), **_PACKED)
        self._file.create_dataset("moving", maps, bool, chunks=(1, height, width), **_PACKED)

    def frame(
        self,
        i: int,
        intrinsics: np.ndarray | None,
        cam_from_world: np.ndarray | None,
        depth: np.ndarray | None,
        moving: np.ndarray | None = None,
        label: np.ndarray | None = None,
    ) -> None:
        """Write what is known of frame i: (3, 3), (4, 4), (H, W), (H, W) bool and (H, W) uint8; None is unknown.

        Labels are written for all frames or for none.
        """
        if label is not None:
            if "label" not in self._file:
                maps = self._file["moving"]
                self._file.create_dataset("label", maps.shape, "u1", chunks=maps.chunks, **_PACKED)
            self._file["label"][i] = label
        known = {"intrinsics": intrinsics, "cam_from_world": cam_from_world, "depth": depth, "moving": moving}
        for name, value in known.items():
            if value is not None:
                self._file[name][i] = value

    def tracks(self, tracks: TrueTracks) -> None:
        """Write the tracks of the whole clip."""
        for name in ("xyz", "uv", "visible", "static"):
            self._file.create_dataset(f"tracks/{name}", data=getattr(tracks, name))

    def bodies(self, bodies: TrueBodies) -> None:
        """Write how the bodies move through the whole clip."""
        for name in ("world_from_body", "size"):
            self._file.create_dataset(f"bodies/{name}", data=getattr(bodies, name))

    def source(self, path: str | Path) -> None:
        """Note which file the truth is of, once that file is whole."""
        self._file.attrs["source_sha256"] = sha256_of(path)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> GroundTruthWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def load_ground_truth(path: str | Path) -> GroundTruth:
    """Open a ground-truth file; use it in a `with` block.

    Raises InputError if the file is missing, is not HDF5, or has another layout.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise InputError(f"no ground truth at {path}; `geoflow synth` writes a clip with one")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is not a readable HDF5 file ({error}); expected a GeoFlow ground truth") from None
    missing = [name for name in _REQUIRED if name not in file]
    found = file.attrs.get("geoflow_gt")
    if found != SCHEMA or missing:
        file.close()
        raise InputError(
            f"{path} is not a ground truth of schema {SCHEMA}: attribute geoflow_gt is {found}, missing {missing}; "
            "render it again with `geoflow synth`"
        )
    bodies = tracks = None
    if "bodies/world_from_body" in file:
        bodies = TrueBodies(file["bodies/world_from_body"][:], file["bodies/size"][:])
    if "tracks/xyz" in file:
        tracks = TrueTracks(*(file[f"tracks/{name}"][:] for name in ("xyz", "uv", "visible", "static")))
    return GroundTruth(
        path=path,
        fps=float(file.attrs["fps"]),
        intrinsics=file["intrinsics"][:],
        cam_from_world=file["cam_from_world"][:],
        depth=file["depth"],
        moving=file["moving"],
        label=file.get("label"),
        bodies=bodies,
        tracks=tracks,
        metric=bool(file.attrs.get("metric", True)),
        motion=file.attrs.get("motion"),
        source_sha256=str(file.attrs.get("source_sha256", "")),
        _file=file,
    )
