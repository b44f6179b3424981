"""The true world and its mirror image, adjusted to a film's tracks: whether the film can tell one from the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from geoflow.geometry.depth.depth_order import rank_correlation
from geoflow.geometry.motion.bundle import pose_matrix
from geoflow.geometry.rigid import apply, invert
from geoflow.synth.films.track_film import FilmTruth

_MOST_POINTS, _MOST_VIEWS = 150, 10  # of an adjustment; more would hardly change its residual
_LEAST_VIEWS, _LEAST_POINTS = 3, 12  # that see a point; that a view sees
_NEAREST = 0.2  # of the median depth: no mirrored point is closer to the middle camera, none further than 5


@dataclass(frozen=True)
class World:
    """Cameras and points that explain a film's tracks."""

    cam_from_world: np.ndarray  # (T, 4, 4)
    xyz: np.ndarray  # (M, 3)
    focal: float  # px


def mirrored(world: World, intrinsics: np.ndarray, uv: np.ndarray, middle: int) -> World:
    """Exchange near and far along the rays of the middle camera, and pose the others anew on the points' pixels.

    Inverse depth is mirrored at its median, so the middle camera sees what it saw, and small motions of the others give
    the same picture with the translation reversed. `uv` (T, M, 2) px, NaN where unseen.
    """
    in_camera = apply(world.cam_from_world[middle], world.xyz)
    inverse = 1 / in_camera[:, 2]
    median = float(np.median(inverse))
    turned = np.clip(2 * median - inverse, _NEAREST * median, median / _NEAREST)
    xyz = in_camera * (inverse / turned)[:, None]
    poses = [_posed(xyz, pose, intrinsics, seen) for pose, seen in zip(_turned_back(world, middle, 1 / median), uv)]
    return World(np.stack(poses), xyz, world.focal)


def _turned_back(world: World, middle: int, distance: float) -> np.ndarray:
    """Return poses (T, 4, 4) that turn about the scene the other way round, in the middle camera's frame."""
    relative = world.cam_from_world @ invert(world.cam_from_world[middle])
    center, flip = np.array([0, 0, distance]), np.diag([1.0, 1.0, -1.0])
    poses = relative.copy()
    poses[:, :3, :3] = flip @ relative[:, :3, :3] @ flip
    poses[:, :3, 3] = relative[:, :3, :3] @ center + relative[:, :3, 3] - poses[:, :3, :3] @ center
    return poses


def _posed(xyz: np.ndarray, guess: np.ndarray, intrinsics: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Refine a pose (4, 4) on the pixels (M, 2) of points (M, 3)."""
    seen = np.isfinite(uv[:, 0])
    rotation, _ = cv2.Rodrigues(guess[:3, :3])
    matrix = np.asarray(intrinsics, np.float64)
    found, rotation, moved = cv2.solvePnP(
        xyz[seen],
        uv[seen].astype(np.float64),
        matrix,
        None,
        rotation,
        guess[:3, 3:].copy(),
        True,
        cv2.SOLVEPNP_ITERATIVE,
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(rotation)[0], moved.ravel()
    return pose if found and np.isfinite(pose).all() else guess


@dataclass(frozen=True)
class Contest:
    """How well the true world and its mirror image explain a film, each adjusted to the tracks with a free lens."""

    true_px: float  # root mean square of the residuals
    mirrored_px: float
    true_rank: float  # rank correlation of the adjusted depth with the truth
    mirrored_rank: float  # positive if the adjustment finds its way back


def contest(uv: np.ndarray, truth: FilmTruth, keyframes: list[int], size: tuple[int, int]) -> Contest | None:
    """Adjust both worlds to the sound observations; None if too few points are seen in three or more keyframes.

    Args:
        uv: (T, M, 2) px, NaN where unseen.
        size: height and width of the pictures.
    """
    views = [keyframes[k] for k in np.unique(np.linspace(0, len(keyframes) - 1, _MOST_VIEWS).round().astype(int))]
    sound = truth.sound[views]
    points = np.flatnonzero(sound.sum(0) >= _LEAST_VIEWS)
    points = points[np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int))] if len(points) else points
    seen = np.where(sound[:, points, None], uv[np.ix_(views, points)], np.nan)
    enough = np.isfinite(seen[..., 0]).sum(1) >= _LEAST_POINTS
    if enough.sum() < _LEAST_VIEWS:
        return None
    seen, views = seen[enough], [t for t, keep in zip(views, enough) if keep]
    world = World(truth.cam_from_world[views], truth.xyz[points], float(truth.intrinsics[0, 0]))
    middle = int(np.isfinite(seen[..., 0]).sum(1).argmax())
    found = []
    for start in (world, mirrored(world, truth.intrinsics, seen, middle)):
        poses, xyz, residual = _adjusted(start, seen, truth.radial, size)
        found += [residual, _rank(apply(poses[middle], xyz)[:, 2], truth.depth[views[middle], points])]
    return Contest(found[0], found[2], found[1], found[3])


def _rank(depth: np.ndarray, true: np.ndarray) -> float:
    known = np.isfinite(depth)
    return rank_correlation(depth[known], true[known])


def _adjusted(
    world: World, uv: np.ndarray, radial: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Adjust poses, points and focal length; return poses (T, 4, 4), points (M, 3) and the residuals' RMS in px."""
    import pycolmap

    pycolmap.logging.minloglevel = 3
    height, width = size
    camera = pycolmap.Camera(
        model="SIMPLE_RADIAL",
        params=[world.focal, width / 2, height / 2, radial],
        width=width,
        height=height,
        camera_id=1,
    )
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    rows = [np.flatnonzero(np.isfinite(seen[:, 0])) for seen in uv]
    for t, (pose, seen, who) in enumerate(zip(world.cam_from_world, uv, rows)):
        image = pycolmap.Image(name=str(t), keypoints=seen[who].astype(np.float64) + 0.5, camera_id=1, image_id=t + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
    names = [model.add_point3D(xyz, _track(rows, m)) for m, xyz in enumerate(world.xyz)]
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length, options.refine_extra_params, options.refine_principal_point = True, False, False
    options.print_summary = False
    options.ceres.solver_options.num_threads = 1
    pycolmap.bundle_adjustment(model, options)
    poses = np.stack([pose_matrix(model.images[t + 1].cam_from_world()) for t in range(len(uv))])
    points = model.points3D  # without those that lay behind a camera
    lost = np.full(3, np.nan)
    xyz = np.stack([points[name].xyz if name in points else lost for name in names])
    return poses, xyz, _residual(model.cameras[1], poses, xyz, uv)


def _track(rows: list[np.ndarray], point: int) -> Any:
    import pycolmap

    places = [(t, int(np.searchsorted(who, point))) for t, who in enumerate(rows)]
    inside = [(t, at) for t, at in places if at < len(rows[t]) and rows[t][at] == point]
    return pycolmap.Track([pycolmap.TrackElement(t + 1, at) for t, at in inside])


def _residual(camera: Any, poses: np.ndarray, xyz: np.ndarray, uv: np.ndarray) -> float:
    """Return the RMS distance of points (M, 3) from their pixels (T, M, 2), px, where the place is known."""
    squares = []
    for pose, seen in zip(poses, uv):
        use = np.isfinite(seen[:, 0]) & np.isfinite(xyz[:, 0])
        squares.append(((camera.img_from_cam(apply(pose, xyz[use])) - 0.5 - seen[use]) ** 2).sum(1))
    return float(np.sqrt(np.nanmean(np.concatenate(squares))))
