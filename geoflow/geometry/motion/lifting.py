"""From image tracks to the world: positions of static points, which points move, and when they are hidden."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import invert

_RAY_SIGMA_PX = 0.5  # precision of a track in the image
_DEPTH_SIGMA = 0.05  # relative precision of a depth map; its errors persist over frames
_STATIC_PX = 1.5  # median distance from the reprojection of one fixed point, at 320 px image width
_DRIFT_PX = 4.0  # a static point's track is wrong beyond this distance from its reprojection, at 320 px width
_BEHIND = 0.08  # relative depth by which a surface in front hides a point


@dataclass(frozen=True)
class CamerasWithDepth:
    """Poses and depth of a segment."""

    intrinsics: np.ndarray  # (T, 3, 3) px
    cam_from_world: np.ndarray  # (T, 4, 4); NaN where unknown
    depth: np.ndarray  # (T, H, W); 0 where unknown
    valid: np.ndarray  # (T,) bool

    @classmethod
    def of(cls, fields: Mapping[str, np.ndarray]) -> CamerasWithDepth:
        """Return those of a segment's fields."""
        return cls(*(fields[f"camera.{name}"] for name in ("intrinsics", "cam_from_world", "depth", "valid")))


@dataclass(frozen=True)
class LiftedTracks:
    """Tracks in the world."""

    xyz: np.ndarray  # (T, N, 3) float32 world; NaN where unknown; the same in all frames for static points
    visible: np.ndarray  # (T, N) bool; False where xyz is unknown
    uv: np.ndarray  # (T, N, 2) float32 px; of hidden static points the reprojection; NaN where unknown
    static: np.ndarray  # (N,) bool
    seen: np.ndarray  # (T, N) bool: followed in the image, and not hidden or slipped; `visible` without the place

    def some(self, chosen: np.ndarray) -> LiftedTracks:
        """Return the tracks of an index or a mask (N,)."""
        xyz, visible, uv, seen = (array[:, chosen] for array in (self.xyz, self.visible, self.uv, self.seen))
        return LiftedTracks(xyz, visible, uv, self.static[chosen], seen)


def lift_tracks(uv: np.ndarray, visible: np.ndarray, cameras: CamerasWithDepth) -> LiftedTracks:
    """Lift tracks uv (T, N, 2) px, visible (T, N) by depth and pose.

    A track is static if one fixed point explains it in all frames where it is seen: its position is this point, from
    all rays and depths together. Other tracks keep one position per frame, from this frame's depth alone, NaN without
    depth: there they count as not visible, and only `uv` says where they are.
    """
    lifted = lift_points(uv, cameras)
    fixed = fixed_points(uv, visible, lifted, cameras)
    where, z = project_all(fixed, cameras)
    tolerance = max(1.0, cameras.depth.shape[2] / 320)
    distance = np.where(visible, np.linalg.norm(where - uv, axis=-1), np.nan)
    enough = np.isfinite(distance).sum(0) >= 3
    static = np.zeros(uv.shape[1], bool)
    if enough.any():
        static[enough] = np.nanmedian(distance[:, enough], axis=0) < _STATIC_PX * tolerance
    surface = sample_depth(cameras.depth, where)
    hidden = (surface > 0) & (surface < (1 - _BEHIND) * z)
    slipped = np.nan_to_num(distance, nan=0.0) > _DRIFT_PX * tolerance
    seen = visible & ~(static & (hidden | slipped))
    height, width = cameras.depth.shape[1:]
    inside = (where >= 0).all(-1) & (where[..., 0] <= width - 1) & (where[..., 1] <= height - 1)
    position = np.where(static[:, None], fixed, np.where(seen[..., None], lifted, np.nan))
    shown = np.where(seen[..., None], uv, np.where((static & inside)[..., None], where, np.nan))
    placed = seen & np.isfinite(position).all(-1)
    return LiftedTracks(position.astype(np.float32), placed, shown.astype(np.float32), static, seen)


def sample_depth(depth: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Nearest depth (T, N) float32 of maps (T, H, W) at uv (T, N, 2) px; 0 outside, at NaN and where unknown."""
    frame, height, width = np.arange(len(depth))[:, None], depth.shape[1], depth.shape[2]
    cell = np.rint(np.nan_to_num(uv, nan=-1e3, posinf=-1e3, neginf=-1e3)).clip(-1e6, 1e6).astype(int)
    inside = (cell >= 0).all(-1) & (cell[..., 0] < width) & (cell[..., 1] < height)
    found = depth[frame, cell[..., 1].clip(0, height - 1), cell[..., 0].clip(0, width - 1)].astype(np.float32)
    return np.where(inside, found, 0)


def _rays(uv: np.ndarray, cameras: CamerasWithDepth) -> np.ndarray:
    """Camera-frame rays (T, N, 3) with z = 1."""
    inverse = np.linalg.inv(cameras.intrinsics.astype(np.float64))
    return np.einsum("tij,tnj->tni", inverse, np.concatenate([uv, np.ones_like(uv[..., :1])], -1))


def lift_points(uv: np.ndarray, cameras: CamerasWithDepth) -> np.ndarray:
    """Lift pixels uv (T, N, 2) by their frame's depth and pose: world (T, N, 3) float64; NaN where unknown."""
    z = sample_depth(cameras.depth, uv)
    points = _rays(uv, cameras) * np.where(z > 0, z, np.nan)[..., None]
    world_from_cam = _world_from_cam(cameras)
    return np.einsum("tij,tnj->tni", world_from_cam[:, :3, :3], points) + world_from_cam[:, None, :3, 3]


def _world_from_cam(cameras: CamerasWithDepth) -> np.ndarray:
    poses = cameras.cam_from_world.astype(np.float64).copy()
    poses[~cameras.valid] = np.nan
    return invert(poses)


def fixed_points(uv: np.ndarray, visible: np.ndarray, lifted: np.ndarray, cameras: CamerasWithDepth) -> np.ndarray:
    """Return the world point (N, 3) nearest to all rays and lifted depths of each track; NaN without depth.

    Weighted least squares on distances from the rays and, with the weight of a single observation (its error does not
    average out), from the median lifted position. Rays far away are weighted down (Cauchy), in six rounds.
    """
    world_from_cam = _world_from_cam(cameras)
    centre = world_from_cam[:, None, :3, 3]
    ray = np.einsum("tij,tnj->tni", world_from_cam[:, :3, :3], _rays(uv, cameras))
    use = visible & np.isfinite(ray).all(-1)
    ray = np.where(use[..., None], ray / np.linalg.norm(ray, axis=-1, keepdims=True), 0)
    across = np.eye(3) - ray[..., :, None] * ray[..., None, :]
    origin = np.where(use[..., None], centre, 0)
    focal = cameras.intrinsics[:, 0, 0].astype(np.float64)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an all-NaN column has no depth anywhere: NaN is right
        start = np.nanmedian(np.where(visible[..., None], lifted, np.nan), axis=0)
    point = start.copy()
    for _ in range(6):
        away = point - origin
        z = np.maximum(np.linalg.norm(away, axis=-1), 1e-6)
        off = np.linalg.norm(np.einsum("tnij,tnj->tni", across, away), axis=-1) * focal / z
        weight = use * (focal / z / _RAY_SIGMA_PX) ** 2 / (1 + (off / (3 * _RAY_SIGMA_PX)) ** 2)
        weight = np.nan_to_num(weight)
        range_now = np.where(use.any(0), (z * use).sum(0) / np.maximum(use.sum(0), 1), 1.0)
        prior = 1 / (_DEPTH_SIGMA * range_now) ** 2
        normal = np.einsum("tn,tnij->nij", weight, across) + prior[:, None, None] * np.eye(3)
        target = np.einsum("tn,tnij,tnj->ni", weight, across, origin) + prior[:, None] * start
        known = np.isfinite(target).all(1) & np.isfinite(normal).all((1, 2))
        point = np.full_like(start, np.nan)
        point[known] = np.linalg.solve(normal[known], target[known][..., None])[..., 0]
    return point


def project_all(points: np.ndarray, cameras: CamerasWithDepth) -> tuple[np.ndarray, np.ndarray]:
    """Project world points (N, 3) into every frame: uv (T, N, 2) px and depth (T, N); NaN if behind or unknown."""
    poses = np.where(cameras.valid[:, None, None], cameras.cam_from_world, np.nan).astype(np.float64)
    here = np.einsum("tij,nj->tni", poses[:, :3, :3], points) + poses[:, None, :3, 3]
    z = np.where(here[..., 2] > 1e-6, here[..., 2], np.nan)
    image = np.einsum("tij,tnj->tni", cameras.intrinsics.astype(np.float64), here)
    return image[..., :2] / z[..., None], z
