"""Revisits that are believed, and a path that is bent by them and where chapters meet. No pictures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from geoflow.geometry.loops import revisits
from geoflow.geometry.loops.bending import Bend, Joint, bend
from geoflow.geometry.loops.place_check import PlaceSight
from geoflow.geometry.loops.revisits import Revisit, find_revisits
from geoflow.geometry.rigid import invert, umeyama

COUNT = 120  # frames of a lap and ten more
LAP = 110
PLACES = np.arange(0, COUNT, 2)
DEPTH = 3.0  # m


def lap() -> np.ndarray:
    """Return (T, 4, 4) cam_from_world of a walk round a circle of 4 m, which looks ahead."""
    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    for pose, angle in zip(poses, 2 * np.pi * np.arange(COUNT) / LAP):
        pose[:3, :3] = Rotation.from_euler("y", angle).as_matrix()
        pose[:3, 3] = 4 * np.sin(angle), 0, 4 * np.cos(angle)
    return invert(poses)


def drifted(true: np.ndarray, degrees: float = 0.08, unit: float = 0.001) -> np.ndarray:
    """Return the walk as a tracker would find it that turns and shrinks a little in each frame."""
    turn = Rotation.from_euler("y", degrees, degrees=True).as_matrix()
    found = [true[0]]
    for t in range(1, len(true)):
        step = true[t] @ invert(true[t - 1])
        step[:3, :3] = turn @ step[:3, :3]
        step[:3, 3] *= np.exp(-unit * t)
        found.append(step @ found[-1])
    return np.stack(found)


def sight(true: np.ndarray, i: int, j: int, unit: float = 1.0) -> PlaceSight:
    """Return what two places say that see each other rightly, the first in metres."""
    return PlaceSight(true[PLACES[j]] @ invert(true[PLACES[i]]), unit, 50, 0.5)


def again(true: np.ndarray) -> list[Revisit]:
    """Return what the second visit of the start says: the unit has shrunk by then."""
    shrunk = {i: float(np.exp(0.001 * (PLACES[i + LAP // 2] - PLACES[i]))) for i in range(4)}
    return [Revisit(i, i + LAP // 2, sight(true, i, i + LAP // 2, shrunk[i])) for i in range(4)]


def error(poses: np.ndarray, true: np.ndarray) -> float:
    own, places = invert(poses)[:, :3, 3], invert(true)[:, :3, 3]
    return float(np.sqrt(((umeyama(own, places).apply(own) - places) ** 2).sum(1).mean()))


def moved(poses: np.ndarray, found: Bend) -> np.ndarray:
    after = poses.copy()
    for t in range(len(poses)):
        by = found.of_frames[t : t + 1]
        after[t, :3, :3] = poses[t, :3, :3] @ by.rotation[0].T
        after[t, :3, 3] = by.scale[0] * poses[t, :3, 3] - after[t, :3, :3] @ by.translation[0]
    return after


ALL = np.ones(COUNT, bool)


def test_a_walk_that_returns_closes_and_its_unit_is_spread_over_it() -> None:
    true = lap()
    walk = drifted(true)
    found = bend(walk, ALL, [], PLACES, again(true), scaled=True)
    assert found is not None and [(one.first, one.again) for one in found.closed] == [
        (0, 110),
        (2, 112),
        (4, 114),
        (6, 116),
    ]
    assert error(moved(walk, found), true) < 0.3 * error(walk, true)
    assert all(one.gap_after < 0.1 * one.gap_before for one in found.closed)
    assert found.of_frames.scale[110] > 1.03  # the unit had shrunk by 11 %
    assert bend(walk, ALL, [], PLACES, [], scaled=True) is None


def test_lengths_in_metres_stay() -> None:
    true = lap()
    walk = drifted(true, unit=0.0)
    exact = [Revisit(i, i + LAP // 2, sight(true, i, i + LAP // 2)) for i in range(4)]
    found = bend(walk, ALL, [], PLACES, exact, scaled=False)
    assert found is not None and (found.of_frames.scale == 1).all()
    assert error(moved(walk, found), true) < 0.3 * error(walk, true)


def test_two_revisits_or_some_that_contradict_each_other_close_nothing() -> None:
    true = lap()
    walk = drifted(true)
    assert bend(walk, ALL, [], PLACES, again(true)[:2], scaled=True) is None
    rng = np.random.default_rng(0)
    wild = []
    for one in again(true):
        motion = one.sight.motion.copy()
        motion[:3, 3] += rng.normal(0, 30, 3)
        wild.append(Revisit(one.i, one.j, PlaceSight(motion, 1.0, 50, 0.5)))
    assert bend(walk, ALL, [], PLACES, wild, scaled=True) is None


def test_one_wrong_revisit_among_right_ones_is_dropped() -> None:
    true = lap()
    walk = drifted(true)
    motion = sight(true, 5, 45).motion.copy()
    motion[:3, 3] += (0, 0, 6)
    found = bend(walk, ALL, [], PLACES, [*again(true), Revisit(5, 45, PlaceSight(motion, 1.0, 50, 0.5))], scaled=True)
    assert found is not None and len(found.closed) == 4
    assert error(moved(walk, found), true) < 0.3 * error(walk, true)


def test_two_chapters_spread_what_they_disagree_about_over_both() -> None:
    """The later chapter leaves the earlier one by 0.2 m over their joint: each bends towards the other."""
    true = lap()
    frames = np.arange(56, 68)
    before, after = true[frames].copy(), true[frames].copy()
    away = np.linspace(-0.1, 0.1, len(frames))
    before[:, 0, 3] += away / 2
    after[:, 0, 3] -= away / 2
    walk = true.copy()
    walk[frames[0] :] = true[frames[0] :]
    found = bend(walk, ALL, [Joint(frames, before, after)], PLACES, [], scaled=True)
    assert found is not None and not found.closed and (found.of_frames.scale == 1).all()
    steps = np.linalg.norm(np.diff(found.of_frames.translation, axis=0), axis=1)
    assert steps.max() < 0.02  # nothing jumps
    assert np.linalg.norm(found.of_frames.translation[:40], axis=1).max() < 0.1


@pytest.mark.parametrize(
    "tried, believed",
    [
        ([(0, 55), (1, 56), (2, 57)], 3),  # three that agree
        ([(0, 55)], 0),  # alone
        ([(0, 55), (0, 56), (0, 57)], 0),  # of one place only
        ([(0, 30), (1, 31), (2, 32)], 0),  # the path has not drifted that far
    ],
)
def test_a_revisit_is_believed_where_the_path_allows_it_and_others_agree(
    monkeypatch: pytest.MonkeyPatch, tried: list[tuple[int, int]], believed: int
) -> None:
    true = lap()
    places = [SimpleNamespace(number=k, xyz=np.full((50, 3), DEPTH)) for k in range(len(PLACES))]
    monkeypatch.setattr(revisits, "look_alikes", lambda *_, **__: tried)
    # What is seen from a place is what is seen a lap before.
    monkeypatch.setattr(
        revisits, "check", lambda a, b, lens: sight(true, a.number, a.number + (b.number - a.number) % 5)
    )
    walk = drifted(true, unit=0.0)
    found = find_revisits(places, walk[PLACES], np.tile(np.eye(3), (len(PLACES), 1, 1)))
    assert len(found) == believed
