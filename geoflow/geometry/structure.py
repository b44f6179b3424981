"""Structure from motion of one segment: keyframes through COLMAP, the frames between them by their tracked points.

COLMAP puts the centre of the top-left pixel at (0.5, 0.5), we at (0, 0): half a pixel is added on the way in and
taken off on the way out, here and nowhere else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.geometry.motion import Chains
from geoflow.geometry.rigid import Sim3, invert
from geoflow.geometry.wide_matches import wide_matches

_SEED = 7
_MIN_MATCHES = 30
_MAX_ERROR_PX = 2.0  # epipolar and pose inliers; tracks of real footage are a few tenths of a pixel off
_FOCAL_RANGE = (0.3, 4.0)  # image widths; beyond it the self-calibration has run away
MEDIAN_DEPTH = 2.0  # a segment's world is scaled to this median depth, well inside float16's range

Matches = dict[tuple[int, int], np.ndarray]


@dataclass(frozen=True)
class Structure:
    """Cameras and sparse points of a segment; the world is the first posed camera's frame."""

    intrinsics: np.ndarray  # (3, 3) float32
    cam_from_world: np.ndarray  # (T, 4, 4) float64; NaN where unknown
    valid: np.ndarray  # (T,) bool
    xyz: np.ndarray  # (M, 3) float64 world, a row per chained point; NaN where it was not triangulated
    error_px: float  # mean reprojection error in the keyframes
    angle_deg: float  # median over points of the widest angle under which cameras see them


def reconstruct(
    chains: Chains,
    grays: Sequence[np.ndarray],
    *,
    known_intrinsics: np.ndarray | None = None,
    masks: Sequence[np.ndarray] | None = None,
    threads: int = 1,
) -> Structure | None:
    """Recover cameras and sparse points of a segment, or None when no trustworthy structure comes out.

    Tracked points alone and global mapping (Pan et al. 2024) come first; where frames are missing or the fit is
    poor, SIFT matches are added and incremental mapping is tried too, and the better of the two is taken.

    Args:
        chains: followed points; grays: the same T frames, (H, W) uint8 each.
        known_intrinsics: (3, 3) px to be kept as they are; None lets a shared focal length be found.
        masks: (H, W) bool per frame, True where to take no features from.
        threads: CPU threads COLMAP may use.
    """
    keypoints, matches = _tracked_matches(chains)
    best = _attempt(chains, keypoints, matches, known_intrinsics, "global", threads)
    if best is None or not best.valid.all() or best.error_px > 0.4 + chains.width / 4000:
        keys = chains.keyframes
        masks_there = None if masks is None else [masks[t] for t in keys]
        _append(keypoints, matches, *wide_matches([grays[t] for t in keys], masks_there))
        second = _attempt(chains, keypoints, matches, known_intrinsics, "incremental", threads)
        best = max((s for s in (best, second) if s is not None), key=_quality, default=None)
    if best is None or best.valid.mean() < 0.5 or best.angle_deg < 1.0 or _explained(best, chains) < 0.3:
        return None
    return _normalised(best, chains)


def _explained(structure: Structure, chains: Chains) -> float:
    """Share of the points seen in three keyframes or more that were triangulated."""
    often = np.isfinite(chains.uv[chains.keyframes, :, 0]).sum(0) >= 3
    return float(np.isfinite(structure.xyz[often, 0]).mean()) if often.any() else 0.0


def _quality(structure: Structure) -> tuple[float, float]:
    return round(float(structure.valid.mean()), 1), -structure.error_px


def _ids(chains: Chains, t: int) -> np.ndarray:
    return np.flatnonzero(np.isfinite(chains.uv[t, :, 0]))


def _tracked_matches(chains: Chains) -> tuple[list[np.ndarray], Matches]:
    """Keypoints (N, 2) of every keyframe, row by row its chained points, and matches by shared identity."""
    ids = [_ids(chains, t) for t in chains.keyframes]
    matches: Matches = {}
    for a in range(len(ids)):
        for b in range(a + 1, len(ids)):
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


def _attempt(
    chains: Chains,
    keypoints: list[np.ndarray],
    matches: Matches,
    known_intrinsics: np.ndarray | None,
    mapper: str,
    threads: int,
) -> Structure | None:
    import pycolmap

    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(_SEED)
    with tempfile.TemporaryDirectory(prefix="geoflow-sfm-") as folder:
        database = Path(folder) / "database.db"
        _write_database(database, chains, keypoints, matches, known_intrinsics)
        _verify(database, chains, threads)
        models = _map(database, Path(folder), mapper, known_intrinsics is None, threads)
        if not models:
            return None
        return _read_model(max(models.values(), key=lambda m: m.num_reg_images()), chains)


def _camera(chains: Chains, known_intrinsics: np.ndarray | None) -> Any:
    import pycolmap

    size = {"width": chains.width, "height": chains.height}
    if known_intrinsics is None:  # 58 degrees of view to start from, about a phone's video
        params = [0.9 * chains.width, chains.width / 2, chains.height / 2]
        return pycolmap.Camera(model="SIMPLE_PINHOLE", params=params, **size)
    k = np.asarray(known_intrinsics, float)
    params = [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]
    return pycolmap.Camera(model="PINHOLE", params=params, has_prior_focal_length=True, **size)


def _write_database(
    path: Path, chains: Chains, keypoints: list[np.ndarray], matches: Matches, known_intrinsics: np.ndarray | None
) -> None:
    import pycolmap

    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        camera = _camera(chains, known_intrinsics)
        camera.camera_id = database.write_camera(camera)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(camera.sensor_id)
        database.write_rig(rig, use_rig_id=True)
        for k, uv in enumerate(keypoints):
            image = pycolmap.Image(image_id=k + 1, name=f"{k:04d}", camera_id=camera.camera_id)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=k + 1, rig_id=1)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(k + 1, np.ascontiguousarray(uv + 0.5, np.float32))
        for (a, b), rows in matches.items():
            database.write_matches(a + 1, b + 1, rows.astype(np.uint32))


def _verify(path: Path, chains: Chains, threads: int) -> None:
    """Two-view geometry of every matched pair; then points that mostly contradict it, such as on moving things, go."""
    import pycolmap

    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = _SEED
    options.ransac.max_error = _MAX_ERROR_PX
    options.ransac.max_num_trials = 1000
    verifier = pycolmap.GeometricVerifierOptions(num_threads=threads)
    pycolmap.geometric_verification(path, verifier, pycolmap.ExistingMatchedPairingOptions(), options)
    ids = [_ids(chains, t) for t in chains.keyframes]
    tried, agreed = np.zeros(chains.uv.shape[1]), np.zeros(chains.uv.shape[1])
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        pair_ids, geometries = database.read_two_view_geometries()
        pairs = [tuple(i - 1 for i in pycolmap.pair_id_to_image_pair(p)) for p in pair_ids]
        for (a, b), geometry in zip(pairs, geometries):
            if len(geometry.inlier_matches):
                tried[np.intersect1d(ids[a], ids[b], assume_unique=True)] += 1
                rows = geometry.inlier_matches[:, 0]
                agreed[ids[a][rows[rows < len(ids[a])]]] += 1
        suspect = agreed < 0.6 * tried
        for (a, b), geometry in zip(pairs, geometries):
            rows = geometry.inlier_matches
            tracked = rows[:, 0] < len(ids[a])
            drop = np.zeros(len(rows), bool)
            drop[tracked] = suspect[ids[a][rows[tracked, 0]]]
            if drop.any():
                geometry.inlier_matches = rows[~drop]
                database.update_two_view_geometry(a + 1, b + 1, geometry)


def _map(path: Path, folder: Path, mapper: str, refine_focal: bool, threads: int) -> dict[int, Any]:
    import pycolmap

    out = folder / mapper
    out.mkdir()
    if mapper == "global":
        if refine_focal:
            pycolmap.calibrate_view_graph(path, pycolmap.ViewGraphCalibrationOptions(random_seed=_SEED))
        whole = pycolmap.GlobalPipelineOptions(num_threads=threads, random_seed=_SEED)
        whole.mapper.bundle_adjustment.refine_focal_length = refine_focal
        return pycolmap.global_mapping(path, folder, out, whole)
    step = pycolmap.IncrementalPipelineOptions(num_threads=threads, random_seed=_SEED, extract_colors=False)
    step.multiple_models = False
    step.min_model_size = 3
    step.mapper.init_min_tri_angle = 4.0  # hand-held clips rarely give the 16 degrees asked of photo collections
    step.mapper.filter_max_reproj_error = _MAX_ERROR_PX
    step.ba_refine_focal_length = step.mapper.abs_pose_refine_focal_length = refine_focal
    return pycolmap.incremental_mapping(path, folder, out, step)


def _read_model(model: Any, chains: Chains) -> Structure | None:
    """Bring a COLMAP model of the keyframes to our conventions and pose the frames between them."""
    camera = next(iter(model.cameras.values()))
    intrinsics = np.array(camera.calibration_matrix())
    intrinsics[:2, 2] -= 0.5
    if not _FOCAL_RANGE[0] * chains.width < intrinsics[0, 0] < _FOCAL_RANGE[1] * chains.width:
        return None
    poses = np.full((len(chains.uv), 4, 4), np.nan)
    for image in model.images.values():
        if image.has_pose:
            poses[chains.keyframes[image.image_id - 1]] = _matrix(image.cam_from_world())
    xyz = np.full((chains.uv.shape[1], 3), np.nan)
    ids = [_ids(chains, t) for t in chains.keyframes]
    for point in model.points3D.values():
        for element in point.track.elements:
            who = ids[element.image_id - 1]
            if element.point2D_idx < len(who):
                xyz[who[element.point2D_idx]] = point.xyz
    angle = _median_angle_deg(chains, poses, xyz)
    for t in np.flatnonzero(np.isnan(poses[:, 0, 0])):
        pose = _resect(chains.uv[t], xyz, camera)
        if pose is not None:
            poses[t] = pose
    valid = np.isfinite(poses[:, 0, 0])
    return Structure(intrinsics.astype(np.float32), poses, valid, xyz, model.compute_mean_reprojection_error(), angle)


def _matrix(rigid: Any) -> np.ndarray:
    return np.vstack([rigid.matrix(), [0, 0, 0, 1]])


def _resect(uv: np.ndarray, xyz: np.ndarray, camera: Any) -> np.ndarray | None:
    """Pose (4, 4) cam_from_world of a frame from its tracked points with known position; None when unsure."""
    import pycolmap

    use = np.isfinite(uv[:, 0]) & np.isfinite(xyz[:, 0])
    if use.sum() < 15:
        return None
    estimation = pycolmap.AbsolutePoseEstimationOptions()
    estimation.ransac.max_error = _MAX_ERROR_PX
    estimation.ransac.random_seed = _SEED
    estimation.ransac.max_num_trials = 300
    found = pycolmap.estimate_and_refine_absolute_pose(uv[use].astype(float) + 0.5, xyz[use], camera, estimation)
    if not found or found["num_inliers"] < 0.5 * use.sum():
        return None
    return _matrix(found["cam_from_world"])


def _median_angle_deg(chains: Chains, poses: np.ndarray, xyz: np.ndarray) -> float:
    """Median over triangulated points of the angle between the first and the farthest later view of each."""
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
    for t in chains.keyframes:
        seen = np.isfinite(chains.uv[t, :, 0]) & np.isfinite(xyz[:, 0])
        depths.append(xyz[seen] @ poses[t, 2, :3] + poses[t, 2, 3])
    together = np.concatenate(depths)
    scale = MEDIAN_DEPTH / float(np.median(together[np.isfinite(together)]))
    first = poses[structure.valid.argmax()]
    world = Sim3(scale, first[:3, :3], scale * first[:3, 3])
    return replace(structure, cam_from_world=world.apply_to_cameras(poses), xyz=world.apply(xyz))
