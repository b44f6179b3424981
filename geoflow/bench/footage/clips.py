"""Clips of real footage: their layout on disk, and what a run and its evaluation need of them.
A clip is a folder with

    frames/00000.png (or .jpg) ...   colour, in order
    depth/00000.png ...              16 bit, millimetres, 0 where unknown, seen from the colour camera; may be missing
    gt.npz                           cam_from_world (T, 4, 4) and intrinsics ((T,) 3, 3) in our conventions, time (T) in
                                     seconds; each NaN where unknown. May hold distortion (4, 5, 8 ... numbers in
                                     OpenCV's order; the frames are then as the camera took them), metric (bool; else
                                     clips with depth are), motion (moving, still or rotating, where no poses tell), and
                                     photos, which marks a collection of pictures that are no video
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from geoflow.errors import ConfigError, InputError
from geoflow.geometry.cameras import resize_intrinsics
from geoflow.synth.groundtruth import GroundTruthWriter
from geoflow.video.source import FOLDER_FPS, IMAGE_SUFFIXES

_MM = 1000.0


@dataclass(frozen=True)
class FootageClip:
    """One clip on disk."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def frames(self) -> list[Path]:
        return sorted(path for path in (self.folder / "frames").iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)

    @cached_property
    def known(self) -> Known:
        """Return what is known of the clip. Raises InputError if it does not fit the frames."""
        try:
            with np.load(self.folder / "gt.npz", allow_pickle=False) as arrays:
                return Known.of(dict(arrays), len(self.frames))
        except (OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{self.folder / 'gt.npz'} is not the truth of {len(self.frames)} frames: {error}"
            ) from None

    @property
    def has_depth(self) -> bool:
        return (self.folder / "depth").is_dir()

    def depth(self, i: int, size: tuple[int, int]) -> np.ndarray | None:
        """Return the depth of frame i in metres, (H, W) float32 at `size` (width, height), 0 unknown, or None."""
        import cv2

        path = self.folder / "depth" / f"{i:05d}.png"
        measured = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
        if measured is None:
            return None
        depth = measured.astype(np.float32) / np.float32(_MM)
        return depth if depth.shape[::-1] == size else cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)


@dataclass(frozen=True)
class Known:
    """The contents of gt.npz."""

    cam_from_world: np.ndarray  # (T, 4, 4); NaN where unknown
    intrinsics: np.ndarray  # (T, 3, 3) px of the frames on disk; NaN where unknown
    fps: float | None
    distortion: np.ndarray | None
    metric: bool | None  # None: not stated
    motion: str | None  # moving, still or rotating, if this is known though poses are not
    photos: bool

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], count: int) -> Known:
        """Read the arrays. Raises KeyError or ValueError if one is missing or of another length."""
        poses, time = arrays["cam_from_world"], arrays["time"]
        if poses.shape != (count, 4, 4) or time.shape != (count,):
            raise ValueError(f"cam_from_world is {poses.shape}, time {time.shape}")
        return cls(
            poses,
            np.broadcast_to(arrays["intrinsics"], (count, 3, 3)),
            _rate(time),
            arrays.get("distortion"),
            bool(arrays["metric"]) if "metric" in arrays else None,
            str(arrays["motion"]) if "motion" in arrays else None,
            bool(arrays.get("photos", False)),
        )


def _rate(time: np.ndarray) -> float | None:
    """Return the mean frames per second; None if the times are unknown."""
    if len(time) < 2 or not np.isfinite(time[[0, -1]]).all() or time[-1] <= time[0]:
        return None
    return (len(time) - 1) / float(time[-1] - time[0])


@dataclass(frozen=True)
class Prepared:
    """A clip in the form that a run and an evaluation need."""

    source: Path  # folder of frames, named like the clip
    truth: Path
    frames: int
    size: tuple[int, int]  # width, height
    fps: float | None
    intrinsics: np.ndarray  # (3, 3) of the first frame; NaN where unknown
    notes: tuple[str, ...]  # what was done to the frames


def find_clips(folder: Path, names: Sequence[str] = ()) -> list[FootageClip]:
    """Return the clips in a folder: all of them, or those named, in this order.

    Raises ConfigError if there is no clip, or one of the names does not exist.
    """
    found = {path.parent.name: FootageClip(path.parent) for path in sorted(folder.glob("*/gt.npz"))}
    if not found:
        raise ConfigError(f"{folder} holds no clip: expected folders with frames/ and gt.npz; see benchmarks/footage")
    if unknown := sorted(set(names) - set(found)):
        raise ConfigError(f"{folder} has no clip {', '.join(unknown)}; it has: {', '.join(found)}")
    return [found[name] for name in names] if names else list(found.values())


def prepare(clip: FootageClip, out: Path, *, frames: int | None = None, max_size: int | None = None) -> Prepared:
    """Write the clip's truth below `out`, and its frames if they need work.

    `frames` cuts the clip; `max_size` is the largest allowed longer side. Frames with distortion are undistorted; the
    camera matrix stays the same, and where it then sees beyond the edge of the picture, the edge is repeated. Depth is
    treated in the same way with nearest neighbours, so that none is invented between surfaces.

    Raises InputError if the clip is not a video, or its files do not fit together.
    """
    known, paths = clip.known, clip.frames[:frames]
    if known.photos:
        raise InputError(f"{clip.folder} holds single photos, not a video")
    if not paths:
        raise InputError(f"{clip.folder / 'frames'} holds no pictures")
    height, width = _read(paths[0]).shape[:2]
    lens = _Lens((width, height), known, max_size)
    source, truth = out / "clips" / clip.name, out / "clips" / f"{clip.name}.gt.h5"
    _clear(source)
    source.parent.mkdir(parents=True, exist_ok=True)
    if lens.changes:
        source.mkdir()
    else:
        source.symlink_to((clip.folder / "frames").resolve(), target_is_directory=True)
    metric = clip.has_depth if known.metric is None else known.metric
    with GroundTruthWriter(
        truth,
        num_frames=len(paths),
        width=lens.size[0],
        height=lens.size[1],
        fps=known.fps or FOLDER_FPS,
        metric=metric,
        motion=known.motion,
    ) as writer:
        for i, path in enumerate(paths):
            if lens.changes:
                _write(source / f"{i:05d}.png", lens.picture(_read(path)))
            depth = clip.depth(i, (width, height))
            k = lens.intrinsics(known.intrinsics[i])
            writer.frame(i, k, known.cam_from_world[i], None if depth is None else lens.depth(depth))
    first = lens.intrinsics(known.intrinsics[0])
    return Prepared(source, truth, len(paths), lens.size, known.fps, first, tuple(lens.notes))


def _read(path: Path) -> np.ndarray:
    import cv2

    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path} is not a picture that OpenCV can read")
    return picture


def _write(path: Path, picture: np.ndarray) -> None:
    import cv2

    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise InputError(f"{path} cannot be written")


def _clear(source: Path) -> None:
    """Delete what an earlier bench left."""
    if source.is_symlink():
        source.unlink()
    elif source.is_dir():
        shutil.rmtree(source)


class _Lens:
    """The change to a clip's pictures: undistorted, and no side longer than allowed."""

    def __init__(self, size: tuple[int, int], known: Known, max_size: int | None) -> None:
        import cv2

        factor = min(1.0, max_size / max(size)) if max_size else 1.0
        self._full, self.notes = size, list[str]()
        self.size = (max(1, round(factor * size[0])), max(1, round(factor * size[1])))
        if self.size != size:
            self.notes.append(f"scaled from {size[0]}x{size[1]} to {self.size[0]}x{self.size[1]}")
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        k, distortion = known.intrinsics[0], known.distortion
        if distortion is not None and np.any(distortion):
            if not np.isfinite(k).all() or (known.intrinsics != k).any():
                raise InputError("a clip with distortion needs one camera matrix, known and the same in all frames")
            self._maps = cv2.initUndistortRectifyMap(k, distortion, None, k, size, cv2.CV_32FC1)
            self.notes.append("undistorted with the true camera; the edge is repeated where the picture ends")

    @property
    def changes(self) -> bool:
        return self._maps is not None or self.size != self._full

    def picture(self, picture: np.ndarray) -> np.ndarray:
        import cv2

        if self._maps is not None:
            picture = cv2.remap(picture, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA) if self.size != self._full else picture

    def depth(self, depth: np.ndarray) -> np.ndarray:
        import cv2

        if self._maps is not None:
            depth = cv2.remap(depth, *self._maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return cv2.resize(depth, self.size, interpolation=cv2.INTER_NEAREST_EXACT) if self.size != self._full else depth

    def intrinsics(self, k: np.ndarray) -> np.ndarray:
        return resize_intrinsics(k, self.size[0] / self._full[0], self.size[1] / self._full[1])
