"""The ground truth at a store's frames and picture size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geoflow.evaluate.pixels import lift
from geoflow.evaluate.prediction import Prediction
from geoflow.geometry.rigid import invert
from geoflow.synth.groundtruth import GroundTruth

# A path within a box of this size has no length to compare an error with: motion capture trembles by millimetres. If
# the unit is unknown, only rounding is excluded.
_STANDING_M = 0.01
_STANDING = 1e-6


@dataclass(frozen=True)
class TrueFrame:
    """True values at the pixel centres of one frame of the store."""

    depth: np.ndarray  # (H, W) float32 metres, 0 where the truth has none
    moving: np.ndarray  # (H, W) bool
    intrinsics: np.ndarray  # (3, 3), in the store's pixels; NaN where unknown
    cam_from_world: np.ndarray  # (4, 4); NaN where unknown

    @property
    def valid(self) -> np.ndarray:
        return self.depth > 0

    @property
    def located(self) -> bool:
        """Return whether pose and intrinsics are both known: then pixels with depth have a place in the world."""
        return bool(np.isfinite(self.intrinsics).all() and np.isfinite(self.cam_from_world).all())

    def points(self, pixels: np.ndarray) -> np.ndarray | None:
        """Return points (N, 3) float32, camera frame, of pixels with flat numbers (N,); None without intrinsics."""
        if not np.isfinite(self.intrinsics).all():
            return None
        return lift(self.depth.ravel()[pixels], pixels, self.depth.shape[1], self.intrinsics)


class Truth:
    """The ground truth, looked up for a prediction.

    A store of another size than the truth is compared at the nearest true pixel, so that no depth is invented across
    silhouettes; the true intrinsics are scaled, with pixel centres at integers. Poses and intrinsics that the truth
    does not know are NaN, depth is 0. Both must be of the same clip (`check_same_clip`).
    """

    def __init__(self, truth: GroundTruth, prediction: Prediction) -> None:
        index = prediction.frame_index
        self._truth, self._index = truth, index
        true_height, true_width = self.true_size = truth.size
        self.size = prediction.height, prediction.width
        self._per_pixel = true_width / prediction.width, true_height / prediction.height  # true pixels per pixel
        u, v = (((np.arange(n) + 0.5) * s).astype(int) for n, s in zip(self.size[::-1], self._per_pixel))
        self.same_size = self.size == truth.size
        self._pick = np.ix_(np.clip(v, 0, true_height - 1), np.clip(u, 0, true_width - 1))
        self.motion = truth.motion
        self.bodies = (
            None if truth.bodies is None else replace(truth.bodies, world_from_body=truth.bodies.world_from_body[index])
        )  # at the store's frames
        self.metric = truth.metric  # lengths are metres; else the truth is up to one scale
        self.standing = _STANDING_M if truth.metric else _STANDING
        self.cam_from_world = _known(truth.cam_from_world[index])
        self.posed = np.isfinite(self.cam_from_world[:, 0, 0])  # (T,) bool
        self.intrinsics = self._scaled(_known(truth.intrinsics[index]))
        self.located = self.posed & np.isfinite(self.intrinsics[:, 0, 0])  # (T,) bool, with intrinsics

    @property
    def travels(self) -> bool:
        """Return whether the camera changes its place by more than the possible error of the truth."""
        centers = invert(self.cam_from_world[self.posed])[:, :3, 3]
        return len(centers) > 1 and float(np.linalg.norm(np.ptp(centers, axis=0))) > self.standing

    def any_depth(self) -> bool:
        """Return whether the truth knows the depth of any pixel of the store's frames, compared or not."""
        return any(bool(np.any(self._truth.depth[int(source)] > 0)) for source in self._index)

    def frame(self, i: int) -> TrueFrame:
        """Return frame i of the store."""
        source = int(self._index[i])
        depth, moving = self._truth.depth[source], self._truth.moving[source]
        if not self.same_size:
            depth, moving = depth[self._pick], moving[self._pick]
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
        return TrueFrame(depth, moving, self.intrinsics[i], self.cam_from_world[i])

    @property
    def knows_labels(self) -> bool:
        return self._truth.label is not None

    def label(self, i: int) -> np.ndarray:
        """Return the number of the body that each pixel of frame i of the store shows: (H, W) uint8, 0 none."""
        assert self._truth.label is not None
        label: np.ndarray = self._truth.label[int(self._index[i])]
        return label if self.same_size else label[self._pick]

    def _scaled(self, intrinsics: np.ndarray) -> np.ndarray:
        scale = np.diag([1 / self._per_pixel[0], 1 / self._per_pixel[1], 1.0])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
        return np.linalg.inv(half) @ scale @ half @ intrinsics


def _known(matrices: np.ndarray) -> np.ndarray:
    """Return matrices (T, n, n) as float64; a matrix is all NaN if any of it is unknown."""
    finite = np.isfinite(matrices).all((1, 2), keepdims=True)
    return np.where(finite, matrices, np.nan).astype(np.float64)
