"""A long range of a video through the network: one world, one lens and one scale for each of its views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.fields import UNIT_OWN
from geoflow.geometry.cameras import pinhole_matrix
from geoflow.geometry.rigid import invert
from geoflow.models.half_range import depth_in_half
from geoflow.models.lingbot.chapter_hints import ChapterHints
from geoflow.models.lingbot.known_lens import KnownLens
from geoflow.models.lingbot.streamer import FrameResult, Streamer


@dataclass(frozen=True)
class ViewResult:
    """T frames that follow each other without a cut. Lengths are in the first one's median depth, or as `unit` says."""

    cam_from_world: np.ndarray  # (T, 4, 4) float32; NaN where unknown
    intrinsics: np.ndarray  # (3, 3) float32, px of the frames, of all of them; NaN if no frame has a possible lens
    depth: np.ndarray  # (T, h, w) float16 in the network's size; 0: unknown
    valid: np.ndarray  # (T,) bool: the frame has a pose
    focal_ratio: float  # known over found focal length, median; 1 if the lens is not known
    focal_error: float  # how far the network's focal lengths scatter, relative; NaN if the lens is known
    unit: int = UNIT_OWN  # as `camera.unit`

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all values by the names of the fields."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> ViewResult:
        """Make a result from what `to_arrays` returned."""
        rows = [arrays[name] for name in ("cam_from_world", "intrinsics", "depth", "valid")]
        ratio, error = (float(arrays[f"focal_{name}"]) for name in ("ratio", "error"))
        return cls(rows[0], rows[1], rows[2], rows[3], ratio, error, int(arrays["unit"]))


def follow_view(
    streamer: Streamer,
    frames: Iterable[np.ndarray],
    known: np.ndarray | None = None,
    *,
    least_confidence: float = 1.5,
    hints: ChapterHints | None = None,
    start: int = 0,
    **options: Any,
) -> ViewResult:
    """Run frames (H, W, 3) uint8 of one view through the network, as one camera with one lens.

    Its matrix is the `known` one (3, 3) px, or the median over all frames: the network has one for each. Poses and
    depths are corrected for it, see `KnownLens`. A frame without a possible lens, or of a mean confidence below
    `least_confidence` (from 1 on), has no pose and no depth; neither has a pixel of such a confidence.
    In the mean, pixels that the `hints` ignore do not count; the view begins with frame `start` of the hints.
    `options` are those of `Streamer.run`.
    """
    poses, lenses, depths, valid = [], [], [], []
    unit = np.nan  # the first frame's median depth
    for frame, result in enumerate(streamer.run(frames, full_size=False, **options), start):
        unit = (float(np.median(result.depth)) or 1.0) if np.isnan(unit) else unit
        poses.append(_in_unit(result, unit))
        lenses.append(result.intrinsics.astype(np.float64))
        confident = _mean_confidence(result.confidence, hints, frame) >= least_confidence
        valid.append(bool(np.isfinite(lenses[-1]).all() and confident))
        depths.append(depth_in_half(result.depth / unit, (result.confidence >= least_confidence) & valid[-1]))
    if not poses:
        raise ValueError("a view needs at least one frame")
    lens = _median_lens(lenses) if known is None else np.asarray(known, np.float64)
    corrected = KnownLens(lens)
    ratios = []
    for k, found in enumerate(lenses):
        poses[k], scaled = corrected.correct(poses[k], found, depths[k].astype(np.float32))
        depths[k] = depth_in_half(scaled, depths[k] > 0)
        ratios.append(corrected.ratio)
    good = np.array(valid) & np.isfinite(lens).all() & np.isfinite(poses).all((1, 2))
    cameras = np.where(good[:, None, None], invert(np.stack(poses)), np.nan)
    kept = np.where(good[:, None, None], np.stack(depths), np.float16(0))
    ratio, error = (1.0, _scatter(lenses)) if known is None else (float(np.median(ratios)), np.nan)
    return ViewResult(cameras.astype(np.float32), lens.astype(np.float32), kept, good, ratio, error)


def _in_unit(result: FrameResult, unit: float) -> np.ndarray:
    """Return the pose (4, 4) float64, world from camera, in this unit."""
    pose = invert(result.cam_from_world.astype(np.float64))
    pose[:3, 3] /= unit
    return pose


def _mean_confidence(confidence: np.ndarray, hints: ChapterHints | None, frame: int) -> float:
    """Return that of the pixels that count; 0 if none does."""
    ignored = None if hints is None else hints.ignored(frame)
    if hints is None or ignored is None:
        return float(confidence.mean())
    return 0.0 if ignored.all() else float(hints.grid.of(confidence)[~ignored].mean())


def _median_lens(lenses: list[np.ndarray]) -> np.ndarray:
    """Return the matrix of median focal lengths, of frames that have some; NaN if none has."""
    found = [lens for lens in lenses if np.isfinite(lens).all()]
    if not found:
        return np.full((3, 3), np.nan)
    fx, fy, cx, cy = np.median([[k[0, 0], k[1, 1], k[0, 2], k[1, 2]] for k in found], axis=0)
    return pinhole_matrix(fx, fy, cx, cy)


def _scatter(lenses: list[np.ndarray]) -> float:
    """Return the standard deviation of the frames' focal lengths, relative to their mean; NaN if no frame has one."""
    focal = np.array([np.sqrt(k[0, 0] * k[1, 1]) for k in lenses if np.isfinite(k).all()])
    return float(focal.std() / focal.mean()) if len(focal) else np.nan
