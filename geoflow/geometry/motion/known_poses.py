"""A segment with given camera poses: points and depth are triangulated with them; no camera is estimated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from geoflow.errors import StageError
from geoflow.fields import MOTION_UNKNOWN
from geoflow.geometry.depth.multiview import multiview_depth
from geoflow.geometry.lens_distortion import nearest_pinhole, undistort
from geoflow.geometry.motion.camera_motion import Chains, chain_points, classify_motion
from geoflow.geometry.motion.structure import MEDIAN_DEPTH, Structure, median_angle_deg
from geoflow.geometry.motion.trust import explained_share
from geoflow.geometry.rigid import invert

_MAX_ERROR_PX = 2.0  # the same as for recovered cameras
_MIN_ANGLE_DEG = 1.0  # between the rays of a point
_MIN_VIEWS = 2
_MOST_VIEWS = 2 / 3  # of a point's, which more must agree: two rays alone come near each other by chance
_ROUNDS = 5  # of triangulation, each with less weight on views that do not agree
_BLOCK = 2048  # points triangulated together: what they take of memory stays small
_LEAST_EXPLAINED = 0.2  # share of the followed points; with fewer, the poses are not those of these pictures
_ENOUGH_POINTS = 100  # to judge by
_PARALLAX, _DEPTH_STEPS = (1e-3, 10.0), 64  # rad under which the whole path is seen from the points that are tried
_DEPTHS = (1e-2, 1e4)  # median depth, in the unit of the poses, that float16 holds with what is near and far


@dataclass(frozen=True)
class PosedDepth:
    """The result for the T frames of a segment, in the unit of the given poses."""

    intrinsics: np.ndarray  # (T, 3, 3) float32 px, of the pinhole cameras nearest to the lens; NaN where unknown
    depth: np.ndarray  # (T, H, W) float16, 0 where unknown
    valid: np.ndarray  # (T,) bool: the pose is given
    motion: int  # geoflow.fields.MOTION_*


def depth_of_known_poses(
    rgb: np.ndarray,
    intrinsics: np.ndarray,
    cam_from_world: np.ndarray,
    *,
    distortion: Sequence[float] | None = None,
    masks: np.ndarray | None = None,
    max_points: int = 1000,
    keyframe_motion: float = 0.04,
    width: int = 480,
    sources: int = 6,
) -> PosedDepth:
    """Compute depth of frames (T, H, W, 3) uint8 from poses (T, 4, 4) and intrinsics (T, 3, 3) px, NaN if not given.

    `distortion` is five of OpenCV's coefficients; the other parameters are those of `chain_points` and
    `multiview_depth`.

    Raises StageError if the pictures contradict the poses, or depth in their unit is outside float16's range.
    """
    num_frames, full_h, full_w = rgb.shape[:3]
    usable = np.isfinite(intrinsics).all((1, 2))
    valid = np.isfinite(cam_from_world).all((1, 2)) & usable
    shown = np.full((num_frames, 3, 3), np.nan, np.float32)
    for k in np.unique(intrinsics[usable], axis=0):
        same = (intrinsics == k).all((1, 2))
        shown[same] = k if distortion is None else nearest_pinhole(k, distortion, full_h, full_w)
    nothing = PosedDepth(shown, np.zeros(rgb.shape[:3], np.float16), valid, MOTION_UNKNOWN)
    if not valid.any():
        return nothing
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in rgb]
    chains = chain_points(
        grays, None if masks is None else list(masks), max_points=max_points, keyframe_motion=keyframe_motion
    )
    middle = np.median(intrinsics[usable], axis=0).astype(np.float32)
    straight = chains if distortion is None else chains.straight(middle, distortion)
    motion = classify_motion(straight, middle).code
    structure = known_structure(chains, intrinsics, cam_from_world, distortion)
    if motion != MOTION_UNKNOWN:
        _check_agreement(structure, chains, intrinsics, distortion)
    if not np.isfinite(structure.xyz[:, 0]).any():
        return replace(nothing, motion=motion)
    unit = _unit(structure, chains)
    poses = structure.cam_from_world.copy()
    poses[:, :3, 3] /= unit
    depth = multiview_depth(
        rgb,
        np.where(usable[:, None, None], intrinsics, middle),
        poses,
        valid,
        structure.xyz / unit,
        seen=np.isfinite(chains.uv[:, :, 0]),
        distortion=distortion or (),
        masks=masks,
        width=width,
        sources=sources,
    )
    for t, found in enumerate(depth):  # frame by frame, since float32 of a whole segment is large
        depth[t] = found.astype(np.float32) * unit
    return PosedDepth(shown, depth, valid, motion)


def known_structure(
    chains: Chains, intrinsics: np.ndarray, cam_from_world: np.ndarray, distortion: Sequence[float] | None = None
) -> Structure:
    """Triangulate points (M, 3) from the keyframes with given poses, in the world of the poses.

    `chains` are of the T frames as the lens shows them; `intrinsics` are (T, 3, 3) px, `cam_from_world` (T, 4, 4), both
    NaN where not given. A point is NaN that fewer than two such frames see, or under less than a degree, or most of
    whose views do not agree within two pixels.
    """
    poses = np.asarray(cam_from_world, np.float64)
    valid = np.isfinite(poses).all((1, 2)) & np.isfinite(intrinsics).all((1, 2))
    keys = [t for t in chains.keyframes if valid[t]]
    if len(keys) < _MIN_VIEWS:
        keys = np.flatnonzero(valid).tolist()
    count = chains.uv.shape[1]
    xyz = np.full((count, 3), np.nan)
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        rays = _rays(chains.uv[keys, part], intrinsics[keys], distortion)
        xyz[part] = _triangulate(rays, poses[keys], intrinsics[keys, 0, 0])
    middle = np.median(intrinsics[valid], axis=0) if valid.any() else np.full((3, 3), np.nan)
    posed = np.where(valid[:, None, None], poses, np.nan)
    angle, doubt = median_angle_deg(chains, posed, xyz), np.zeros(len(valid), np.uint8)
    return Structure(middle.astype(np.float32), 0.0, posed, valid, xyz, angle, doubt)


def _rays(uv: np.ndarray, intrinsics: np.ndarray, distortion: Sequence[float] | None) -> np.ndarray:
    """Return slopes (K, M, 2) float64 of the rays with z = 1 through pixels (K, M, 2) of cameras (K, 3, 3)."""
    focal = np.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], -1)[:, None].astype(np.float64)
    seen = (uv.astype(np.float64) - intrinsics[:, None, :2, 2]) / focal
    return seen if distortion is None else undistort(seen, distortion)


def _triangulate(slopes: np.ndarray, cam_from_world: np.ndarray, focal: np.ndarray) -> np.ndarray:
    """Return world points (M, 3) float64 of slopes (K, M, 2) in cameras (K, 4, 4) with focal lengths (K,) px.

    A point is the one nearest to its rays. Each distance is divided by the depth, so that it is measured in the
    picture, and views that disagree more weigh less (Geman and McClure): a wrong track has hardly any influence.
    """
    world_from_cam = invert(cam_from_world)
    centre = world_from_cam[:, None, :3, 3]  # (K, 1, 3)
    rays = np.concatenate([slopes, np.ones((*slopes.shape[:2], 1))], -1)
    rays = np.einsum("kij,kmj->kmi", world_from_cam[:, :3, :3], rays)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    seen = np.isfinite(rays[..., 0])
    rays = np.where(seen[..., None], rays, 0)
    weight = seen.astype(np.float64)
    for _ in range(_ROUNDS):
        xyz = _nearest_to_rays(centre, rays, weight)
        error, depth = _reprojection(xyz, slopes, cam_from_world, focal)
        agree = 1 / (1 + (error / _MAX_ERROR_PX) ** 2) ** 2
        weight = np.where(seen & (depth > 0), agree / np.maximum(depth, 1e-12) ** 2, 0)
        weight = np.where(np.isfinite(weight), weight, 0)
    good = seen & (error < _MAX_ERROR_PX) & (depth > 0)
    enough = (good.sum(0) >= _MIN_VIEWS) & (good.sum(0) > _MOST_VIEWS * seen.sum(0))
    return np.where((enough & (_widest_angle(rays, good) >= _MIN_ANGLE_DEG))[:, None], xyz, np.nan)


def _nearest_to_rays(centre: np.ndarray, rays: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return points (M, 3) of least weighted (K, M) squared distance from rays (K, M, 3) through centres."""
    origin = centre.mean(0, keepdims=True)  # far from the world's origin, sums would lose precision
    away = np.eye(3) * weight.sum(0)[:, None, None] - np.einsum("km,kmi,kmj->mij", weight, rays, rays)
    along = (rays * (centre - origin)).sum(-1)
    right = np.einsum("km,kmi->mi", weight, np.broadcast_to(centre - origin, rays.shape) - along[..., None] * rays)
    scale = np.trace(away, axis1=1, axis2=2)
    solvable = (weight > 0).sum(0) >= _MIN_VIEWS
    away[~solvable] = np.eye(3)
    away += 1e-12 * scale[:, None, None] * np.eye(3)  # parallel rays do not meet: the angle excludes them later
    found = np.linalg.solve(away, right[..., None])[..., 0] + origin[0]
    return np.where(solvable[:, None], found, np.nan)


def _reprojection(
    xyz: np.ndarray, slopes: np.ndarray, cam_from_world: np.ndarray, focal: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance px between each view (K) and each point (M), and the points' depth there: (K, M) each."""
    here = np.einsum("kij,mj->kmi", cam_from_world[:, :3, :3], xyz) + cam_from_world[:, None, :3, 3]
    depth = here[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(here[..., :2] / depth[..., None] - slopes, axis=-1) * focal[:, None]
    return np.where(np.isfinite(error), error, np.inf), np.where(np.isfinite(depth), depth, -1)


def _widest_angle(rays: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return the angle (M,) degrees between the first good ray (K, M, 3) of each point and the one farthest from it."""
    first = rays[good.argmax(0), np.arange(rays.shape[1])]
    cosine = np.where(good, (rays * first).sum(-1), 1.0).min(0)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _unit(structure: Structure, chains: Chains) -> float:
    """Return the length, in the unit of the poses, that is scaled to MEDIAN_DEPTH. Raises StageError beyond float16."""
    depths = []
    for t in np.flatnonzero(structure.valid):
        seen = np.isfinite(chains.uv[t, :, 0]) & np.isfinite(structure.xyz[:, 0])
        depths.append(structure.xyz[seen] @ structure.cam_from_world[t, 2, :3] + structure.cam_from_world[t, 2, 3])
    middle = float(np.median(np.concatenate(depths)))
    if not _DEPTHS[0] <= middle <= _DEPTHS[1]:
        raise StageError(
            f"the median depth is {middle:.3g} units of the given poses, and stores hold depth in float16, for which "
            f"it should be {_DEPTHS[0]:g} to {_DEPTHS[1]:g}; state metres per unit with --scale, or scale the poses"
        )
    return middle / MEDIAN_DEPTH


def _check_agreement(
    structure: Structure, chains: Chains, intrinsics: np.ndarray, distortion: Sequence[float] | None
) -> None:
    """Raise StageError when hardly any of the points that were followed can lie anywhere, with the given poses.

    Points that no two views see under an angle that tells their depth contradict nothing.
    """
    posed = [t for t in chains.keyframes if structure.valid[t]]
    often = np.isfinite(chains.uv[posed, :, 0]).sum(0) >= 3
    if often.sum() < _ENOUGH_POINTS or explained_share(structure, chains) >= _LEAST_EXPLAINED:
        return
    rays = _rays(chains.uv[posed][:, often], intrinsics[posed], distortion)
    share = float(_fits_some_depth(rays, structure.cam_from_world[posed], intrinsics[posed, 0, 0]).mean())
    if share < _LEAST_EXPLAINED:
        raise StageError(
            f"the given poses contradict the pictures: of {often.sum()} points followed through three frames or more, "
            f"{share:.0%} can be where they say; are they of this video, at these frames, with OpenCV's axes, and in "
            "the direction that the format has (COLMAP: camera from world; TUM and ViPE: world from camera)?"
        )


def _fits_some_depth(slopes: np.ndarray, cam_from_world: np.ndarray, focal: np.ndarray) -> np.ndarray:
    """Which points (M,) are seen where they should be in most views (K), at one of many depths along their first ray.

    slopes (K, M, 2), cam_from_world (K, 4, 4) and focal (K,) px, as in `_triangulate`.
    """
    count = slopes.shape[1]
    seen = np.isfinite(slopes[..., 0])
    first = seen.argmax(0)
    centres = invert(cam_from_world)[:, :3, 3]
    baseline = float(np.linalg.norm(centres - centres[0], axis=1).max())
    depths = [np.inf] if baseline == 0 else [np.inf, *(baseline / np.geomspace(*_PARALLAX, _DEPTH_STEPS))]
    fits = np.zeros(count, bool)
    rays = np.concatenate([slopes[first, np.arange(count)], np.ones((count, 1))], -1)
    world_from_cam = invert(cam_from_world)[first]
    rays = np.einsum("mij,mj->mi", world_from_cam[:, :3, :3], rays)
    for depth in depths:
        far = np.isinf(depth)
        there = rays if far else world_from_cam[:, :3, 3] + depth * rays
        here = np.einsum("kij,mj->kmi", cam_from_world[:, :3, :3], there)
        here = here if far else here + cam_from_world[:, None, :3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.linalg.norm(here[..., :2] / here[..., 2:] - slopes, axis=-1) * focal[:, None]
        good = (error < _MAX_ERROR_PX) & (here[..., 2] > 0)
        fits |= good.sum(0) > _MOST_VIEWS * seen.sum(0)
    return fits
