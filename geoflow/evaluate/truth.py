"""The ground truth as a store sees it: at the store's frames and at its picture size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.errors import InputError
from geoflow.evaluate.prediction import Prediction
from geoflow.geometry.cameras import unproject
from geoflow.geometry.rigid import invert
from geoflow.synth.groundtruth import GroundTruth

# A path within a box of this size has no length to measure an error by: motion capture trembles by millimetres. Where
# the unit is unknown, only rounding is ruled out.
_STANDING_M = 0.01
_STANDING = 1e-6


@dataclass(frozen=True)
class TrueFrame:
    """True values at the pixel centres of one frame of the store."""

    depth: np.ndarray  # (H, W) float32 metres, 0 where the truth knows none
    moving: np.ndarray  # (H, W) bool
    intrinsics: np.ndarray  # (3, 3), in the store's pixels; NaN where unknown
    cam_from_world: np.ndarray  # (4, 4); NaN where unknown

    @property
    def valid(self) -> np.ndarray:
        return self.depth > 0

    @property
    def located(self) -> bool:
        """Pose and intrinsics are both known: pixels with depth have a place in the world."""
        return bool(np.isfinite(self.intrinsics).all() and np.isfinite(self.cam_from_world).all())

    def points(self) -> np.ndarray | None:
        """(H, W, 3) float32, camera frame; None without intrinsics."""
        return unproject(self.depth, self.intrinsics) if np.isfinite(self.intrinsics).all() else None


class Truth:
    """Looks the truth up for a prediction.

    A store of another size than the truth is compared at the nearest true pixel, so that no depth is made up
    across silhouettes; the true intrinsics are scaled with the pixel centres kept at integers. Poses and intrinsics
    that the truth does not know are NaN, depth is 0.
    """

    def __init__(self, truth: GroundTruth, prediction: Prediction) -> None:
        index = prediction.frame_index
        if len(index) == 0 or index.min() < 0 or index.max() >= truth.num_frames:
            raise InputError(
                f"{prediction.path} holds source frames {index.min() if len(index) else '-'} to "
                f"{index.max() if len(index) else '-'}, but {truth.path} covers frames 0 to {truth.num_frames - 1}; "
                "give the ground truth of the same clip"
            )
        self._truth, self._index = truth, index
        true_height, true_width = truth.size
        self.size = prediction.height, prediction.width
        self._per_pixel = true_width / prediction.width, true_height / prediction.height  # true pixels per pixel
        if abs(self._per_pixel[0] / self._per_pixel[1] - 1) > 0.05:
            raise InputError(
                f"{prediction.path} is {prediction.width}x{prediction.height}, the truth {true_width}x{true_height}: "
                "the shapes differ; give the ground truth of the same clip"
            )
        u, v = (((np.arange(n) + 0.5) * s).astype(int) for n, s in zip(self.size[::-1], self._per_pixel))
        self._same_size = self.size == truth.size
        self._pick = np.ix_(np.clip(v, 0, true_height - 1), np.clip(u, 0, true_width - 1))
        self.metric = truth.metric  # lengths are metres; else the truth is up to one scale
        self.standing = _STANDING_M if truth.metric else _STANDING
        self.cam_from_world = _known(truth.cam_from_world[index])
        self.posed = np.isfinite(self.cam_from_world[:, 0, 0])  # (T,) bool
        self.intrinsics = self._scaled(_known(truth.intrinsics[index]))
        self.located = self.posed & np.isfinite(self.intrinsics[:, 0, 0])  # (T,) bool, with intrinsics

    @property
    def travels(self) -> bool:
        """The camera changes its place by more than the truth may be wrong."""
        centers = invert(self.cam_from_world[self.posed])[:, :3, 3]
        return len(centers) > 1 and float(np.linalg.norm(np.ptp(centers, axis=0))) > self.standing

    def frame(self, i: int) -> TrueFrame:
        """Frame i of the store."""
        source = int(self._index[i])
        depth, moving = self._truth.depth[source], self._truth.moving[source]
        if not self._same_size:
            depth, moving = depth[self._pick], moving[self._pick]
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
        return TrueFrame(depth, moving, self.intrinsics[i], self.cam_from_world[i])

    def _scaled(self, intrinsics: np.ndarray) -> np.ndarray:
        scale = np.diag([1 / self._per_pixel[0], 1 / self._per_pixel[1], 1.0])
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
        return np.linalg.inv(half) @ scale @ half @ intrinsics


def _known(matrices: np.ndarray) -> np.ndarray:
    """Matrices (T, n, n) as float64, NaN throughout where any of it is unknown."""
    finite = np.isfinite(matrices).all((1, 2), keepdims=True)
    return np.where(finite, matrices, np.nan).astype(np.float64)


def matches(a: TrueFrame, b: TrueFrame) -> tuple[np.ndarray, np.ndarray]:
    """Where static points of frame a are seen in frame b: flat pixel numbers (N,) in a and (N,) in b.

    Points are carried by true depth and poses to the nearest pixel of b, and kept when the true depth there
    agrees within 1 percent: the same surface, not an occluder. None where either frame has no pose.
    """
    height, width = a.depth.shape
    points = a.points()
    if points is None or not (a.located and b.located):
        return np.zeros(0, int), np.zeros(0, int)
    in_b = b.cam_from_world @ np.linalg.inv(a.cam_from_world)
    xyz = points @ in_b[:3, :3].T + in_b[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        uv = xyz @ b.intrinsics.T
        uv = np.nan_to_num(uv[..., :2] / uv[..., 2:], nan=-1e6, posinf=-1e6, neginf=-1e6)
    u, v = (np.rint(uv[..., k]).clip(-1, 1e6).astype(int) for k in range(2))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (xyz[..., 2] > 0) & a.valid & ~a.moving
    source = np.flatnonzero(inside)
    target = (v * width + u).ravel()[source]
    z = xyz[..., 2].ravel()[source]
    same = (np.abs(b.depth.ravel()[target] / z - 1) < 0.01) & ~b.moving.ravel()[target]
    return source[same], target[same]


def true_world_points(frame: TrueFrame, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions (N, 3) of the surfaces seen at pixels uv (N, 2), and which are static (N,) bool.

    Depth is interpolated (its inverse, which is linear on planes) where the four neighbours agree within 3
    percent, and taken from the nearest pixel at silhouettes. NaN and False outside the image, where the depth is
    unknown, and in a frame without a pose.
    """
    if not frame.located:
        return np.full((len(uv), 3), np.nan), np.zeros(len(uv), bool)
    height, width = frame.depth.shape
    with np.errstate(invalid="ignore"):
        inside = np.isfinite(uv).all(1) & (uv >= -0.5).all(1) & (uv[:, 0] < width - 0.5) & (uv[:, 1] < height - 0.5)
    safe = np.where(inside[:, None], uv, 0)
    corner = np.clip(np.floor(safe).astype(int), 0, [max(width - 2, 0), max(height - 2, 0)])
    fraction = np.clip(safe - corner, 0, 1)
    inverse = np.where(frame.valid, 1 / np.where(frame.valid, frame.depth, 1), 0)
    (u, v), (x, y) = corner.T, fraction.T
    near = np.stack([inverse[v, u], inverse[v, u + 1], inverse[v + 1, u], inverse[v + 1, u + 1]])
    blend = near[0] * (1 - x) * (1 - y) + near[1] * x * (1 - y) + near[2] * (1 - x) * y + near[3] * x * y
    nearest = np.clip(np.rint(safe).astype(int), 0, [width - 1, height - 1])
    smooth = near.max(0) < 1.03 * near.min(0)
    inverse_z = np.where(smooth, blend, inverse[nearest[:, 1], nearest[:, 0]])
    z = np.where(inverse_z > 0, 1 / np.where(inverse_z > 0, inverse_z, 1), np.nan)
    rays = np.linalg.solve(frame.intrinsics, np.column_stack([safe, np.ones(len(safe))]).T).T
    world_from_cam = np.linalg.inv(frame.cam_from_world)
    xyz = (rays * z[:, None]) @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
    static = inside & np.isfinite(z) & ~frame.moving[nearest[:, 1], nearest[:, 0]]
    return np.where(static[:, None], xyz, np.nan), static


def sample_grid(height: int, width: int, most: int) -> np.ndarray:
    """Flat numbers of at most about `most` pixels, evenly spread: what video-wide medians are taken over."""
    stride = max(1, int(np.ceil(np.sqrt(height * width / most))))
    v, u = np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride]
    return (v * width + u).ravel()
