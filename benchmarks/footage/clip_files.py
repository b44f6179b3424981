"""What the recipes share: who they are, poses as other tools write them, and the layout in which clips are kept.

The layout is described in geoflow/bench/footage/clips.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

GL_FROM_CV = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera axes (y up, z backwards) and OpenCV's; its own inverse
UNKNOWN = np.full((3, 3), np.nan)  # intrinsics


@dataclass(frozen=True)
class Recipe:
    """How a clip is made from checkouts of public repositories."""

    name: str
    sources: tuple[str, ...]  # owner/name@commit on GitHub
    licence: str  # of the pictures
    make: Callable[..., None]  # takes a ClipWriter and the folder of each source
    held_out: bool = False  # for the last measurement only: nobody tunes to it, or looks at it before


RECIPES: dict[str, Recipe] = {}


def recipe(
    name: str, *sources: str, licence: str, held_out: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a function into RECIPES."""

    def enter(make: Callable[..., None]) -> Callable[..., None]:
        RECIPES[name] = Recipe(name, sources, licence, make, held_out)
        return make

    return enter


class ClipWriter:
    """Writes one clip; frames are numbered from 0 in the order in which they are added."""

    def __init__(self, folder: Path) -> None:
        for part in ("frames", "depth"):
            shutil.rmtree(folder / part, ignore_errors=True)
        (folder / "frames").mkdir(parents=True)
        self.folder, self.count = folder, 0

    def add(self, frame: Path | np.ndarray, depth_mm: np.ndarray | None = None, *, lossless: bool = False) -> Path:
        """A file, which is kept as it is, or a picture (H, W[, 3]) in OpenCV's order; its depth (H, W), 0 or NaN where
        unknown. Returns the file."""
        if isinstance(frame, Path):
            path = self._path("frames", frame.suffix.lower().replace("jpeg", "jpg"))
            shutil.copyfile(frame, path)
        else:
            path = self._path("frames", ".png" if lossless else ".jpg")
            cv2.imwrite(str(path), frame, [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, 95])
        if depth_mm is not None:
            (self.folder / "depth").mkdir(exist_ok=True)
            known = np.isfinite(depth_mm) & (depth_mm > 0) & (depth_mm < 65535)
            cv2.imwrite(str(self._path("depth", ".png")), np.where(known, depth_mm, 0).round().astype(np.uint16))
        self.count += 1
        return path

    def finish(self, cam_from_world: Any, intrinsics: Any, time: Any, **more: Any) -> None:
        """Write gt.npz. Poses (T, 4, 4) or None, intrinsics ((T,) 3, 3), times (T) in seconds; NaN where unknown."""
        poses = (
            np.full((self.count, 4, 4), np.nan) if cam_from_world is None else np.asarray(cam_from_world, np.float64)
        )
        time = np.asarray(time, np.float64)
        if poses.shape != (self.count, 4, 4) or time.shape != (self.count,):
            raise ValueError(f"{self.folder}: {self.count} frames, but poses {poses.shape} and times {time.shape}")
        known = {"cam_from_world": poses, "intrinsics": np.asarray(intrinsics, np.float64), "time": time}
        np.savez_compressed(self.folder / "gt.npz", **known, **more)

    def _path(self, part: str, suffix: str) -> Path:
        return self.folder / part / f"{self.count:05d}{suffix}"


def read(path: Path) -> np.ndarray:
    """A picture as it is stored: any depth, any number of channels."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FileNotFoundError(f"no picture at {path}; is the checkout complete?")
    return picture


def numbers(path: Path) -> np.ndarray:
    """A text of numbers; lines that begin with # do not count."""
    return np.loadtxt(path, ndmin=2)


def camera(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def rigid(matrix: Any) -> np.ndarray:
    """The same (4, 4) with a rotation that is exact: files give few digits."""
    matrix = np.array(matrix, np.float64)
    matrix[:3, :3] = Rotation.from_matrix(matrix[:3, :3]).as_matrix()
    return matrix


def pose(xyzw: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(4, 4) of a unit quaternion, scalar last, and a position."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat(xyzw).as_matrix(), position
    return matrix


def pose_at(time: float, times: np.ndarray, poses: np.ndarray, longest_gap: float) -> np.ndarray:
    """(4, 4) between the samples (N, 4, 4) before and after; NaN where these lie further apart, or on one side only."""
    k = int(np.searchsorted(times, time))
    if k in (0, len(times)) or times[k] - times[k - 1] > longest_gap:
        return np.full((4, 4), np.nan)
    share = (time - times[k - 1]) / (times[k] - times[k - 1])
    matrix = np.eye(4)
    matrix[:3, :3] = Slerp([0, 1], Rotation.from_matrix(poses[k - 1 : k + 1, :3, :3]))(share).as_matrix()
    matrix[:3, 3] = (1 - share) * poses[k - 1, :3, 3] + share * poses[k, :3, 3]
    return matrix
