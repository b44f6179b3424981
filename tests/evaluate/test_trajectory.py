"""Errors of camera paths: the same figures as evo's, also for paths that hardly move."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geoflow.evaluate.trajectory import path_errors


def path(count: int = 40, seed: int = 3) -> np.ndarray:
    """A walk with turns: world_from_cam (T, 4, 4)."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.05, (count, 3)), axis=0)).as_matrix()
    poses[:, :3, 3] = np.cumsum(rng.normal(0, 0.1, (count, 3)), axis=0)
    return poses


def disturbed(true: np.ndarray, noise: float, seed: int = 4) -> np.ndarray:
    """The path with noise, in another world at another scale, as float32."""
    rng = np.random.default_rng(seed)
    poses, turn = true.copy(), Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()
    shake = Rotation.from_rotvec(rng.normal(0, noise, (len(true), 3))).as_matrix()
    poses[:, :3, :3] = turn @ true[:, :3, :3] @ shake
    poses[:, :3, 3] = 0.4 * (true[:, :3, 3] + rng.normal(0, noise, (len(true), 3))) @ turn.T + [3, -2, 1]
    return poses.astype(np.float32)


def evo_errors(found: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, float, float]:
    metrics, trajectory = (pytest.importorskip(f"evo.core.{name}") for name in ("metrics", "trajectory"))
    exact = found.astype(np.float64)
    exact[:, :3, :3] = Rotation.from_matrix(exact[:, :3, :3]).as_matrix()
    estimate, truth = (trajectory.PosePath3D(poses_se3=list(poses)) for poses in (exact, true))
    estimate.align(truth, correct_scale=True)
    ape = metrics.APE(metrics.PoseRelation.translation_part)
    steps, turns = (
        metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
        for relation in (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg)
    )
    for metric in (ape, steps, turns):
        metric.process_data((truth, estimate))
    rmse = [float(metric.get_statistic(metrics.StatisticsType.rmse)) for metric in (steps, turns)]
    return np.asarray(ape.error), rmse[0], rmse[1]


@pytest.mark.parametrize("noise", [1e-3, 0.02, 0.5])
def test_errors_equal_those_of_evo(noise: float) -> None:
    true = path()
    found = disturbed(true, noise)
    aligned, errors, steps, turns = path_errors(found, true)
    ape, evo_steps, evo_turns = evo_errors(found, true)
    np.testing.assert_allclose(errors, ape, rtol=1e-6, atol=1e-9)
    assert steps == pytest.approx(evo_steps, rel=1e-6) and turns == pytest.approx(evo_turns, rel=1e-6)
    np.testing.assert_allclose(np.linalg.norm(aligned[:, :3, 3] - true[:, :3, 3], axis=1), errors)


def test_a_perfect_path_has_no_error_and_a_straight_one_is_aligned() -> None:
    true = path()
    _, errors, steps, turns = path_errors(disturbed(true, 0.0), true)
    assert errors.max() < 1e-5 and steps < 1e-5 and turns < 1e-3  # float32 poses
    straight = np.tile(np.eye(4), (9, 1, 1))
    straight[:, 0, 3] = np.arange(9)
    _, errors, steps, _ = path_errors(disturbed(straight, 0.0), straight)
    assert errors.max() < 1e-5 and steps < 1e-5  # the turn about the line does not matter to the centres


def test_a_standing_path_lies_at_the_mean_of_the_true_one() -> None:
    true = path()
    aligned, errors, steps, turns = path_errors(np.tile(np.eye(4), (len(true), 1, 1)), true)
    centre = true[:, :3, 3].mean(0)
    np.testing.assert_allclose(aligned[:, :3, 3], np.tile(centre, (len(true), 1)))
    np.testing.assert_allclose(errors, np.linalg.norm(true[:, :3, 3] - centre, axis=1))
    moves = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1)
    assert steps == pytest.approx(float(np.sqrt(np.mean(moves**2))))
    turned = Rotation.from_matrix(true[:-1, :3, :3].transpose(0, 2, 1) @ true[1:, :3, :3]).magnitude()
    assert turns == pytest.approx(float(np.sqrt(np.mean(np.degrees(turned) ** 2))))
