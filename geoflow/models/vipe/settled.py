"""What has been found and does not change any more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from geoflow.models.vipe.camera_start import matrix_of
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.preparing import GRID, Fit

_LEAST_WEIGHT = 0.01  # mean over a frame's edges, below which its pose is not valid


@dataclass(frozen=True)
class Found:
    """What a run has found; see `slam.SlamResult`."""

    poses: np.ndarray  # (T, 7)
    intrinsics: np.ndarray  # (3, 3)
    distortion: float | None
    valid: np.ndarray
    keyframes: np.ndarray
    depth: np.ndarray
    uncertainty: np.ndarray
    uv: np.ndarray  # (h, w, 2)
    parallax: float


class Settled:
    """Poses of the first frames, and maps of the first keyframes, in arrays of the host."""

    def __init__(self) -> None:
        self._poses: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._numbers: list[int] = []
        self._shifts: list[float] = []
        self._depth: list[np.ndarray] = []
        self._deviation: list[np.ndarray] = []
        self.frames = 0

    @property
    def keyframes(self) -> int:
        """The number of keyframes."""
        return len(self._numbers)

    def add_frames(self, poses: Tensor, weights: Tensor) -> None:
        """Note the next frames' poses (M, 7), and the mean weights (M,) that they were found with."""
        self._poses.append(poses.cpu().numpy())
        self._weights.append(weights.cpu().numpy())
        self.frames += len(poses)

    def add_keyframes(self, numbers: list[int], depth: Tensor, deviation: Tensor, shifts: Tensor) -> None:
        """Note the next keyframes: numbers of frames, depth and its relative deviation (K, h, w), and flows.

        `shifts` are the lengths of the flow to the keyframe after each, of translation alone, in px of the grid.
        """
        self._numbers += numbers
        self._shifts += shifts.tolist()
        self._depth.append(depth.cpu().numpy())
        self._deviation.append(deviation.cpu().numpy())

    def found(self, fit: Fit, keyframes: Keyframes) -> Found:
        """Return everything, with the camera that the last keyframes have."""
        camera = fit.original_intrinsics(keyframes.lens.double().cpu().numpy())
        poses, weights = np.concatenate(self._poses), np.concatenate(self._weights)
        return Found(
            poses,
            matrix_of(camera),
            float(camera[4]) if len(camera) > 4 else None,
            np.isfinite(poses).all(1) & (weights >= _LEAST_WEIGHT),
            np.array(self._numbers, np.int64),
            np.concatenate(self._depth),
            np.concatenate(self._deviation),
            fit.grid_pixels(),
            float(np.median(self._shifts)) * GRID * fit.frame[1] / fit.resized[1] if self._shifts else 0.0,
        )
