"""How an object moves, from followed points that come and go, some of them wrong."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.geometry.motion.object_motion import LEAST_POINTS, ObjectMotion, Read, fit_rigid, object_motion
from geoflow.geometry.rigid import apply, invert
from geoflow.synth.scene import Body, Drift

FRAMES, POINTS, SIZE = 120, 60, 0.4
DRIFT = Drift(np.array([0.6, 0.1, 0.2]), np.array([0.15, 0.4, 0.15]), np.zeros(3), spin=0.6)


def followed(
    drift: Drift | None = DRIFT, noise: float = 0.01, wrong: float = 0.15, life: int = 45
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points on a side of a box: their places (T, N, 3), where they are seen (T, N), and the box's poses (T, 4, 4)."""
    rng = np.random.default_rng(0)
    body = Body("box", np.array([0, 0, 3.0]), np.full(3, SIZE / 2), drift=drift)
    poses = np.stack([body.world_from_body(i / 30) for i in range(FRAMES)])
    own = rng.uniform(-SIZE / 2, SIZE / 2, (POINTS, 3))
    own[:, 2] = -SIZE / 2
    xyz = np.stack([apply(pose, own) for pose in poses])
    xyz += rng.normal(0, noise, xyz.shape)
    off = rng.random(xyz.shape[:2]) < wrong
    xyz[off] += rng.normal(0, 0.5, (off.sum(), 3))
    seen = np.zeros(xyz.shape[:2], bool)
    for n, first in enumerate(rng.integers(-life // 2, FRAMES, POINTS)):
        seen[max(first, 0) : max(first, 0) + life, n] = True
    return xyz.astype(np.float32), seen, poses


def read_of(xyz: np.ndarray, seen: np.ndarray) -> Read:
    """Frames of a camera that stays at the world's origin."""
    return lambda part: (xyz[part], seen[part], np.zeros((part.stop - part.start, 3)))


def found(xyz: np.ndarray, seen: np.ndarray) -> ObjectMotion:
    motion = object_motion(read_of(xyz, seen), len(xyz))
    assert motion is not None
    return motion


def errors(motion: ObjectMotion, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the known frames: degrees, and how far the box's middle is off, as a share of its side."""
    known = motion.known
    true = poses[known] @ invert(poses[motion.reference])
    turn = np.swapaxes(motion.moved[known, :3, :3], 1, 2) @ true[:, :3, :3]
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    middle = poses[motion.reference, :3, 3]
    off = [np.linalg.norm(apply(a, middle) - apply(b, middle)) for a, b in zip(motion.moved[known], true)]
    return degrees, np.array(off) / SIZE


def test_the_motion_is_found_over_points_that_come_and_go() -> None:
    xyz, seen, poses = followed()
    assert not (seen[0] & seen[-1]).any(), "no point is seen from end to end"
    motion = found(xyz, seen)
    degrees, off = errors(motion, poses)
    assert motion.known.mean() > 0.9
    assert np.median(degrees) < 5 and degrees.max() < 15, "noise is a fortieth of the side"
    assert np.median(off) < 0.05 and off.max() < 0.15
    assert 0.01 < np.nanmedian(motion.residual) < 0.03
    assert np.linalg.norm(motion.centre - poses[motion.reference, :3, 3]) < SIZE


def test_an_object_that_stands_still_has_the_identity_up_to_noise() -> None:
    xyz, seen, poses = followed(drift=None)
    degrees, off = errors(found(xyz, seen), poses)
    assert np.median(degrees) < 5 and np.median(off) < 0.05
    exact = found(*followed(drift=None, noise=0, wrong=0)[:2])
    np.testing.assert_allclose(
        exact.moved[exact.known], np.broadcast_to(np.eye(4), (exact.known.sum(), 4, 4)), atol=1e-4
    )


def test_where_too_few_points_are_seen_the_pose_is_unknown() -> None:
    xyz, seen, _ = followed()
    seen[70:76, LEAST_POINTS - 1 :] = False
    motion = found(xyz, seen)
    assert not motion.known[70:76].any() and np.isnan(motion.moved[70:76]).all()
    assert (motion.points[70:76] == 0).all() and motion.known[:70].mean() > 0.9


def test_what_follows_on_nothing_is_not_linked() -> None:
    """Other points after a gap: how the object moved meanwhile is not known."""
    xyz, seen, _ = followed(life=200)
    seen[60:] = False
    later = np.roll(seen, 70, axis=0)
    later[:70] = False
    both = found(np.concatenate([xyz, xyz], 1), np.concatenate([seen, later], 1))
    assert both.known[:60].any() != both.known[70:].any()


def test_points_that_do_not_move_as_one_are_no_object() -> None:
    rng = np.random.default_rng(3)
    xyz = np.cumsum(rng.normal(0, 0.1, (30, 20, 3)), axis=0) + rng.normal(0, 0.2, (20, 3))
    xyz[..., 2] += 3
    everywhere = np.ones((30, 20), bool)
    assert object_motion(read_of(xyz, everywhere), 30) is None
    assert object_motion(read_of(xyz[:, :5], everywhere[:, :5]), 30) is None
    assert object_motion(read_of(xyz[:0], everywhere[:0]), 0) is None


def test_errors_along_the_ray_count_less_than_errors_across() -> None:
    rng = np.random.default_rng(5)
    source = rng.normal(0, 0.2, (30, 3)) + [0, 0, 3]
    rays = source / np.linalg.norm(source, axis=1, keepdims=True)
    pose, degrees = Body("box", np.array([0.1, 0, 0]), np.ones(3), yaw=0.2).world_from_body(0), np.zeros((2, 20))
    start = apply(invert(pose), source)
    for k in range(20):
        target = source + rays * rng.normal(0, 0.03, (30, 1)) + rng.normal(0, 0.002, (30, 3))
        weights = np.eye(3) - 0.99 * rays[:, :, None] * rays[:, None]
        for row, fit in enumerate((fit_rigid(start, target, weights), fit_rigid(start, target))):
            assert fit is not None
            cosine = (np.trace(fit.pose[:3, :3].T @ pose[:3, :3]) - 1) / 2
            degrees[row, k] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    assert np.median(degrees[0]) < 0.5 * np.median(degrees[1])


def test_depth_that_is_unsure_costs_little() -> None:
    xyz, seen, poses = followed(noise=0.001, wrong=0)
    depth = 1 + 0.02 * np.random.default_rng(5).standard_normal(seen.shape)
    degrees, off = errors(found((xyz * depth[..., None]).astype(np.float32), seen), poses)
    assert np.median(degrees) < 4 and np.median(off) < 0.1, "depth is off by 6 cm, a seventh of the box"


def test_a_frame_without_a_camera_has_no_pose() -> None:
    xyz, seen, _ = followed(noise=0.002, wrong=0)
    centres = np.zeros((len(xyz), 3))
    centres[50] = np.nan
    motion = object_motion(lambda part: (xyz[part], seen[part], centres[part]), len(xyz))
    assert motion is not None and not motion.known[50] and motion.known[49]


def test_the_same_motion_since_another_frame() -> None:
    xyz, seen, poses = followed(noise=0.002, wrong=0)
    motion = found(xyz, seen)
    other = int(np.flatnonzero(motion.known)[3])
    moved = motion.since(other)
    assert moved.reference == other and np.array_equal(moved.moved[other], np.eye(4))
    degrees, off = errors(moved, poses)
    assert np.median(degrees) < 2 and np.median(off) < 0.02
    np.testing.assert_allclose(apply(motion.moved[other], motion.centre), moved.centre)


@pytest.mark.parametrize("spoil", ["a line", "noise"])
def test_a_rotation_that_points_do_not_tell_is_refused(spoil: str) -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(0, 1, (12, 3))
    if spoil == "a line":
        source[:, 1:] *= 1e-3
    target = source + rng.normal(0, 0.05 if spoil == "a line" else 1.0, source.shape)
    assert fit_rigid(source, target) is None
    kept = fit_rigid(rng.normal(0, 1, (12, 3)), np.zeros((12, 3)))
    assert kept is None, "points that all fall together"


def test_fewer_than_half_of_the_points_may_be_wrong() -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(0, 1, (20, 3))
    pose = Body("box", np.array([1.0, 2, 3]), np.ones(3), yaw=1.0).world_from_body(0)
    target = apply(pose, source)
    target[:9] += rng.normal(0, 3, (9, 3))
    fit = fit_rigid(source, target)
    assert fit is not None and not fit.agree[:9].any() and fit.agree[9:].all()
    np.testing.assert_allclose(fit.pose, pose, atol=1e-9)
