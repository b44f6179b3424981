"""Structure from motion: keyframes through COLMAP, and the frames between them by their tracked points.

COLMAP's centre of the top-left pixel is (0.5, 0.5), ours (0, 0): half a pixel is subtracted here on the way out.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.fields import DOUBT_NONE, DOUBT_REVERSED
from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.lens_distortion import nearest_pinhole, straighten
from geoflow.geometry.motion.bundle import LEAST_VIEWS, pose_matrix
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.mapper import FOCAL_RANGE, SEED, Mapper, MatchedPair
from geoflow.geometry.motion.neighbours import agreeing_parts
from geoflow.geometry.motion.picture_features import LEAST_INLIERS, MAX_ERROR_PX, PictureFeatures, two_view
from geoflow.geometry.motion.trust import LEAST_LEAD, on_path, trusted, with_told_lens, withdrawn
from geoflow.geometry.motion.wide_matches import choose_pairs, wide_matches
from geoflow.geometry.rigid import Sim3, invert, umeyama

_MIN_MATCHES = 30
_LEAST_POINTS = 50  # of a structure, in three views or more: fewer fit wrong focal lengths and motions, too
_MAX_JOIN_GAP = 0.08  # median distance of points that two structures share, relative to their spread
MEDIAN_DEPTH = 2.0  # a world is scaled to this median depth, well inside float16's range

Matches = dict[tuple[int, int], np.ndarray]


@dataclass(frozen=True)
class Structure:
    """Cameras and sparse points in one world: the first posed camera's frame."""

    intrinsics: np.ndarray  # (3, 3) float32, of the camera without its distortion
    radial: float  # k1: a point at distance r from the axis (z = 1) is seen at r (1 + k1 r^2)
    cam_from_world: np.ndarray  # (T, 4, 4) float64; NaN where unknown
    valid: np.ndarray  # (T,) bool
    xyz: np.ndarray  # (M, 3) float64 world, a row per chained point; NaN where it was not triangulated
    angle_deg: float  # median over points of the widest angle under which cameras see them
    doubt: np.ndarray  # (T,) uint8: geoflow.fields.DOUBT_*, of frames whose poses were withdrawn
    lead: float = 1.0  # how much less misfit it leaves than the same world with near and far exchanged, relative
    focal_error: float = np.nan  # standard deviation of the focal length, relative; NaN if the lens is known
    lens: int = DOUBT_NONE  # what is to be said of it: geoflow.fields.DOUBT_NONE, _FOCAL, _STATED or _ASSUMED

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all values by the names of the fields."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Structure:
        """Make a structure from the result of `to_arrays`."""
        plain = {name: float(arrays[name]) for name in ("radial", "angle_deg", "lead", "focal_error")}
        return cls(**{**arrays, **plain, "lens": int(arrays["lens"])})  # type: ignore[arg-type]

    def pinhole(self, height: int, width: int, distortion: Sequence[float] | None = None) -> np.ndarray:
        """Return the pinhole matrix (3, 3) float32 nearest to the lens, by least squares over the image's pixels.

        `distortion` is five of OpenCV's coefficients for a known lens.
        """
        if distortion is not None:
            return nearest_pinhole(self.intrinsics, distortion, height, width)
        if not self.radial:
            return self.intrinsics
        offset = pixel_grid(height, width) - self.intrinsics[:2, 2]
        r2 = ((offset / np.diag(self.intrinsics)[:2]) ** 2).sum(-1)
        nearest = self.intrinsics.copy()
        nearest[:2, :2] *= 1 + self.radial * (r2 * r2).sum() / r2.sum()
        return nearest


def reconstruct(
    chains: Chains,
    grays: Sequence[np.ndarray],
    *,
    known_intrinsics: np.ndarray | None = None,
    distortion: Sequence[float] | None = None,
    masks: Sequence[np.ndarray] | None = None,
    features: PictureFeatures | None = None,
    stated_focal: float | None = None,
) -> list[Structure]:
    """Recover cameras and sparse points by incremental mapping (Schoenberger and Frahm 2016).

    Tracked points connect neighbouring frames; SIFT matches connect distant frames, and places that are seen again.
    Returns the structures that can be trusted, the one with most frames first: several if the pictures fall into parts
    that share no view (a cut), none if nothing came out. Behind them stand those in which near and far could not be
    told apart, or nothing tells the lens: they have no valid frame. If the pictures do not tell the focal length, it is
    an assumed one, as `Structure.lens` says. COLMAP uses one thread, so that the same input gives the same bits.

    Args:
        chains: followed points, as a pinhole camera sees them; grays: the same T frames, (H, W) uint8 each.
        known_intrinsics: (3, 3) px, kept as they are; with None a shared focal length is estimated, and one
        coefficient of radial distortion if the pictures show it.
        distortion: five of OpenCV's coefficients, by which the known camera distorts `grays`.
        masks: (H, W) bool per frame, True where no features are taken.
        features: those of `grays`, if the caller has them.
        stated_focal: px, what the source says of itself: where estimation starts, and what is kept if it fails.
    """
    import pycolmap

    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(SEED)
    keys = chains.keyframes
    keypoints, matches = _tracked_matches(chains)
    features = PictureFeatures(grays, masks) if features is None else features
    wide, found_again = wide_matches(features, keys)
    if distortion is not None and known_intrinsics is not None:
        wide = [straighten(uv, known_intrinsics, distortion).astype(np.float32) for uv in wide]
    _append(keypoints, matches, wide, found_again)
    pairs = _verify(keypoints, matches, chains)
    with tempfile.TemporaryDirectory(prefix="geoflow-sfm-") as folder:

        def mapped(name: str, lens: np.ndarray | None) -> list[Structure]:
            (Path(folder) / name).mkdir()
            models = Mapper(Path(folder) / name, chains, keypoints, pairs, lens, stated_focal).models()
            found = [_read_model(model, chains) for model in models]
            parts = [part for s in found if s is not None for part in agreeing_parts(s, chains, pairs, keypoints)]
            return trusted(parts, chains, focal=known_intrinsics is None)

        judged = mapped("first", known_intrinsics)
        if known_intrinsics is None:
            judged = with_told_lens(judged, lambda lens: mapped("assumed", lens), chains, stated_focal)
    judged = [s if s.lead > LEAST_LEAD else withdrawn(s, DOUBT_REVERSED) for s in judged]
    told, doubtful = ([s for s in judged if s.valid.any() == kept] for kept in (True, False))
    return [on_path(_normalised(s, chains)) for s in join_structures(told)] + doubtful


def join_structures(structures: list[Structure]) -> list[Structure]:
    """Put structures that share points into one world, that of the larger one.

    The structure with most frames comes first.
    """
    whole: list[Structure] = []
    for part in sorted(structures, key=lambda s: -int(s.valid.sum())):
        for k, other in enumerate(whole):
            if (world := _shared_world(part.xyz, other.xyz)) is not None:
                poses, xyz = world.apply_to_cameras(part.cam_from_world), world.apply(part.xyz)
                whole[k] = replace(
                    other,
                    cam_from_world=np.where(other.valid[:, None, None], other.cam_from_world, poses),
                    valid=other.valid | part.valid,
                    xyz=np.where(np.isfinite(other.xyz), other.xyz, xyz),
                )
                break
        else:
            whole.append(part)
    return sorted(whole, key=lambda s: -int(s.valid.sum()))


def _shared_world(source: np.ndarray, target: np.ndarray) -> Sim3 | None:
    """Return the similarity that takes points to their places in another structure.

    Both are (M, 3), NaN where unknown. None if they share too few points, or do not agree.
    """
    rows = np.flatnonzero(np.isfinite(source[:, 0]) & np.isfinite(target[:, 0]))
    for _ in range(5):
        if len(rows) < _MIN_MATCHES:
            return None
        world = umeyama(source[rows], target[rows])
        off = np.linalg.norm(world.apply(source[rows]) - target[rows], axis=1)
        rows = rows[off <= 2.5 * np.median(off)]
    spread = np.linalg.norm(target[rows] - np.median(target[rows], axis=0), axis=1)
    return world if np.median(off) < _MAX_JOIN_GAP * np.median(spread) else None


def _ids(chains: Chains, t: int) -> np.ndarray:
    return np.flatnonzero(np.isfinite(chains.uv[t, :, 0]))


def _tracked_matches(chains: Chains) -> tuple[list[np.ndarray], Matches]:
    """Return keypoints (N, 2) of every keyframe, row by row its chained points, and matches by shared identity."""
    ids = [_ids(chains, t) for t in chains.keyframes]
    matches: Matches = {}
    for a, b in choose_pairs(len(ids)):
        _, rows_a, rows_b = np.intersect1d(ids[a], ids[b], assume_unique=True, return_indices=True)
        if len(rows_a) >= _MIN_MATCHES:
            matches[a, b] = np.stack([rows_a, rows_b], 1)
    return [chains.uv[t, who] for t, who in zip(chains.keyframes, ids)], matches


def _append(keypoints: list[np.ndarray], matches: Matches, uv: list[np.ndarray], wide: Matches) -> None:
    """Add further keypoints behind the tracked ones, and their matches."""
    first = [len(points) for points in keypoints]
    for k, points in enumerate(uv):
        keypoints[k] = np.concatenate([keypoints[k], points])
    for (a, b), rows in wide.items():
        rows = rows + [first[a], first[b]]
        matches[a, b] = np.concatenate([matches[a, b], rows]) if (a, b) in matches else rows


def _verify(keypoints: list[np.ndarray], matches: Matches, chains: Chains) -> list[MatchedPair]:
    """Keep the matches of every pair on which its two views agree.

    Then remove points that mostly contradict their pairs, such as points on moving things.
    """
    ids = [_ids(chains, t) for t in chains.keyframes]
    uv = [points.astype(np.float64) for points in keypoints]
    tried, agreed = np.zeros(chains.uv.shape[1]), np.zeros(chains.uv.shape[1])
    found: list[MatchedPair] = []
    for (a, b), rows in matches.items():
        fundamental, inlier = two_view(uv[a][rows[:, 0]], uv[b][rows[:, 1]])
        if inlier.sum() >= LEAST_INLIERS:
            found.append(MatchedPair(a, b, fundamental, rows[inlier]))
            tried[np.intersect1d(ids[a], ids[b], assume_unique=True)] += 1
            first = rows[inlier, 0]
            agreed[ids[a][first[first < len(ids[a])]]] += 1
    suspect = agreed < 0.6 * tried
    return [replace(pair, rows=pair.rows[~_tracked(pair.rows[:, 0], ids[pair.a], suspect)]) for pair in found]


def _tracked(keypoints: np.ndarray, ids: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return which keypoints (N,) of an image are tracked points for which `which` (M,) bool holds; (N,) bool."""
    tracked = keypoints < len(ids)
    tracked[tracked] = which[ids[keypoints[tracked]]]
    return tracked


def _read_model(model: Any, chains: Chains) -> Structure | None:
    """Convert a COLMAP model of the keyframes to our conventions, and pose the frames between them."""
    camera = next(iter(model.cameras.values()))
    intrinsics = np.array(camera.calibration_matrix())
    intrinsics[:2, 2] -= 0.5
    low, high = FOCAL_RANGE
    if camera.model_name == "SIMPLE_RADIAL" and not low < intrinsics[0, 0] / max(chains.height, chains.width) < high:
        return None
    often = [point.track.elements for point in model.points3D.values() if len(point.track.elements) >= LEAST_VIEWS]
    if len(often) < _LEAST_POINTS:
        return None
    held = Counter(element.image_id for elements in often for element in elements)
    poses = np.full((len(chains.uv), 4, 4), np.nan)
    for image in model.images.values():
        if image.has_pose and held[image.image_id] >= LEAST_INLIERS:
            poses[chains.keyframes[image.image_id - 1]] = pose_matrix(image.cam_from_world())
    xyz = np.full((chains.uv.shape[1], 3), np.nan)
    ids = [_ids(chains, t) for t in chains.keyframes]
    for point in model.points3D.values():
        for element in point.track.elements:
            who = ids[element.image_id - 1]
            if element.point2D_idx < len(who):
                xyz[who[element.point2D_idx]] = point.xyz
    angle = median_angle_deg(chains, poses, xyz)
    for t in np.flatnonzero(np.isnan(poses[:, 0, 0])):
        pose = _resect(chains.uv[t], xyz, camera)
        if pose is not None:
            poses[t] = pose
    radial = float(camera.params[3]) if camera.model_name == "SIMPLE_RADIAL" else 0.0
    valid, doubt = np.isfinite(poses[:, 0, 0]), np.zeros(len(poses), np.uint8)
    return Structure(intrinsics.astype(np.float32), radial, poses, valid, xyz, angle, doubt)


def _resect(uv: np.ndarray, xyz: np.ndarray, camera: Any) -> np.ndarray | None:
    """Return the pose (4, 4) cam_from_world of a frame from its tracked points of known position; None if uncertain."""
    import pycolmap

    use = np.isfinite(uv[:, 0]) & np.isfinite(xyz[:, 0])
    if use.sum() < 15:
        return None
    estimation = pycolmap.AbsolutePoseEstimationOptions()
    estimation.ransac.max_error = MAX_ERROR_PX
    estimation.ransac.random_seed = SEED
    estimation.ransac.max_num_trials = 300
    found = pycolmap.estimate_and_refine_absolute_pose(uv[use].astype(float) + 0.5, xyz[use], camera, estimation)
    if not found or found["num_inliers"] < 0.5 * use.sum():
        return None
    return pose_matrix(found["cam_from_world"])


def median_angle_deg(chains: Chains, poses: np.ndarray, xyz: np.ndarray) -> float:
    """Return the median over triangulated points of the angle between the first view and the farthest later view."""
    posed = [t for t in chains.keyframes if np.isfinite(poses[t, 0, 0])]
    points = np.flatnonzero(np.isfinite(xyz[:, 0]))
    if not posed or not len(points):
        return 0.0
    centres = invert(poses[posed])[:, :3, 3]
    rays = xyz[points] - centres[:, None]
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    seen = np.isfinite(chains.uv[posed][:, points, 0])
    first = rays[seen.argmax(0), np.arange(len(points))]
    cosine = np.where(seen, (rays * first).sum(-1), 1.0).min(0)
    return float(np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))))


def _normalised(structure: Structure, chains: Chains) -> Structure:
    """Put the world into the first posed camera's frame and scale it to a median point depth of MEDIAN_DEPTH."""
    poses, xyz = structure.cam_from_world, structure.xyz
    depths = []
    for t in (t for t in chains.keyframes if structure.valid[t]):
        seen = np.isfinite(chains.uv[t, :, 0]) & np.isfinite(xyz[:, 0])
        depths.append(xyz[seen] @ poses[t, 2, :3] + poses[t, 2, 3])
    together = np.concatenate(depths)
    scale = MEDIAN_DEPTH / float(np.median(together[np.isfinite(together)]))
    first = poses[structure.valid.argmax()]
    world = Sim3(scale, first[:3, :3], scale * first[:3, 3])
    return replace(structure, cam_from_world=world.apply_to_cameras(poses), xyz=world.apply(xyz))
