"""How well the pictures tell the focal length: against brute force, the truth, and films that do not tell it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import planes
import pytest

from geoflow import fields
from geoflow.geometry.motion.bundle import LEAST_VIEWS, Bundle
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.focal_error import PosedPoints, _deviation, focal_error
from geoflow.geometry.motion.structure import Structure, reconstruct
from geoflow.synth.films import film
from geoflow.synth.films.track_film import TrackFilm

SIZE = (planes.HEIGHT, planes.WIDTH)


def _rotation(turn: np.ndarray) -> np.ndarray:
    """Rotation matrix of a small turn, by the series of the exponential."""
    x, y, z = turn
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + cross + cross @ cross / 2 + cross @ cross @ cross / 6


def _scene(count: int = 40, views: int = 5, noise: float = 0.3, seed: int = 0) -> PosedPoints:
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([-2, -1.5, 3], [2, 1.5, 6], (count, 3))
    poses = planes.poses(rng.uniform(-0.4, 0.4, (views, 3)), rng.uniform(-0.15, 0.15, (views, 3)))
    here = np.einsum("kij,mj->kmi", poses[:, :3, :3], xyz) + poses[:, None, :3, 3]
    uv = here @ planes.INTRINSICS.T
    uv = uv[..., :2] / uv[..., 2:] + rng.normal(0, noise, (views, count, 2))
    uv[0, ::7] = np.nan
    return PosedPoints(uv, planes.INTRINSICS, 0.0, poses, xyz)


def _residuals(posed: PosedPoints, unknowns: np.ndarray) -> np.ndarray:
    """The residuals (K, M, 2) after a change of the unknowns: poses, points, log focal length and k1."""
    views, count = posed.uv.shape[:2]
    pose, rest = unknowns[: 6 * views].reshape(views, 6), unknowns[6 * views :]
    xyz, (log_focal, radial) = posed.xyz + rest[: 3 * count].reshape(count, 3), rest[-2:]
    turn = np.stack([_rotation(row[:3]) for row in pose])
    here = np.einsum("kij,mj->kmi", posed.cam_from_world[:, :3, :3], xyz) + posed.cam_from_world[:, None, :3, 3]
    here = np.einsum("kij,kmj->kmi", turn, here) + pose[:, None, 3:]
    flat = here[..., :2] / here[..., 2:]
    bent = flat * (1 + radial * (flat**2).sum(-1, keepdims=True))
    return bent * np.diag(posed.intrinsics)[:2] * np.exp(log_focal) + posed.intrinsics[:2, 2] - posed.uv


def _by_brute_force(posed: PosedPoints) -> float:
    """The sandwich from one dense matrix of numerical derivatives, without eliminating anything."""
    views, count = posed.uv.shape[:2]
    size, step = 6 * views + 3 * count + 2, 1e-6
    start = _residuals(posed, np.zeros(size))
    slopes = [(_residuals(posed, h) - _residuals(posed, -h)) / (2 * step) for h in step * np.eye(size)]
    weight = (1 + np.nan_to_num(np.linalg.norm(start, axis=-1)) ** 2) ** -0.25
    jacobian = np.nan_to_num(np.stack(slopes, -1) * weight[..., None, None])
    residual = np.nan_to_num(start * weight[..., None])
    flat = jacobian.reshape(-1, size)
    influence = np.linalg.pinv(flat.T @ flat, rcond=1e-10, hermitian=True)[-2]
    scores = np.einsum("kmai,kma->mi", jacobian, residual)
    return float(np.sqrt(((scores @ influence) ** 2).sum()))


def test_eliminating_points_changes_nothing() -> None:
    posed = _scene()
    assert _deviation(posed) == pytest.approx(_by_brute_force(posed), rel=1e-3)


def _adjusted(made: TrackFilm) -> PosedPoints:
    """Truth as the start of an adjustment with a free focal length."""
    chains, truth = made.chains, made.truth
    views = chains.keyframes
    points = np.flatnonzero(np.isfinite(chains.uv[views, :, 0]).sum(0) >= LEAST_VIEWS)
    bundle = Bundle(
        uv=chains.uv[views][:, points].astype(np.float64),
        size=(chains.height, chains.width),
        intrinsics=truth.intrinsics.astype(np.float64),
        radial=truth.radial,
        cam_from_world=truth.cam_from_world[views],
        xyz=truth.xyz[points],
        views=np.array(views),
        points=points,
    ).adjusted(focal=True)
    return PosedPoints(bundle.uv, bundle.intrinsics, bundle.radial, bundle.cam_from_world, bundle.xyz)


@pytest.mark.long
def test_the_true_focal_length_is_within_the_stated_error() -> None:
    off = []
    for seed in range(12):
        made = film("arc" if seed % 2 else "phone", seed)
        posed = _adjusted(made)
        off.append(abs(np.log(posed.intrinsics[0, 0] / made.truth.intrinsics[0, 0])) / focal_error(posed))
    assert max(off) < 3.5 and np.mean(np.array(off) < 2) > 0.8
    assert np.median(off) > 0.1  # nor is the error far too large


def test_too_few_points_tell_nothing() -> None:
    posed = _scene(count=10)
    assert focal_error(posed) == np.inf
    assert focal_error(replace(posed, xyz=np.full_like(posed.xyz, np.nan))) == np.inf


def _translated(turning: float, count: int = 12) -> Chains:
    """A camera that moves sideways past a deep cloud, and turns by `turning` rad; every frame is a keyframe.

    Without turning, a longer lens and a deeper world give the same pictures: nothing tells the focal length.
    """
    rng = np.random.default_rng(0)
    xyz = rng.uniform([-3, -1.5, 2], [3, 1.5, 6], (400, 3))
    along = np.linspace(-1, 1, count)[:, None]
    poses = planes.poses(along * [0.6, 0.1, 0.3], along * [0.2 * turning, turning, 0])
    here = np.einsum("kij,mj->kmi", poses[:, :3, :3], xyz) + poses[:, None, :3, 3]
    uv = here @ planes.INTRINSICS.T
    uv = uv[..., :2] / uv[..., 2:] + rng.normal(0, 0.2, (count, len(xyz), 2))
    uv[~((uv >= 0).all(-1) & (uv < SIZE[::-1]).all(-1))] = np.nan
    return Chains(uv.astype(np.float32), list(range(count)), *SIZE)


def _mapped(chains: Chains, stated_focal: float | None = None) -> Structure:
    blank = [np.zeros(SIZE, np.uint8)] * len(chains.uv)
    return reconstruct(chains, blank, stated_focal=stated_focal)[0]


@pytest.mark.long
def test_a_camera_that_turns_tells_its_focal_length_and_the_stated_one_is_not_believed() -> None:
    true = float(planes.INTRINSICS[0, 0])
    found = _mapped(_translated(0.3), stated_focal=1.5 * true)
    assert found.intrinsics[0, 0] == pytest.approx(true, rel=0.03)
    assert found.lens == fields.DOUBT_NONE and abs(np.log(found.intrinsics[0, 0] / true)) < 3 * found.focal_error < 0.3


@pytest.mark.long
@pytest.mark.parametrize("stated", [None, 1.1])
def test_a_lens_that_nothing_tells_is_assumed_and_said_to_be(stated: float | None) -> None:
    true = float(planes.INTRINSICS[0, 0])
    found = _mapped(_translated(0.0), None if stated is None else stated * true)
    assert found.valid.all()
    expected = 0.8 * planes.WIDTH if stated is None else stated * true
    assert found.intrinsics[0, 0] == pytest.approx(expected, rel=1e-5)
    assert found.lens == (fields.DOUBT_ASSUMED if stated is None else fields.DOUBT_STATED)
    assert found.focal_error == pytest.approx(0.3 if stated is None else 0.15)
    again = Structure.from_arrays(found.to_arrays())
    assert (again.lens, again.focal_error) == (found.lens, found.focal_error)
