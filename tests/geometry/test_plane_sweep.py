"""Plane sweep: against two planes whose depth is exact, and what is kept of two opinions."""

from __future__ import annotations

import numpy as np
import planes
import pytest

from geoflow.geometry.depth.multiview import _second_opinion
from geoflow.geometry.depth.plane_sweep import Swept, reconcile, sweep
from geoflow.geometry.depth.posed_views import PosedView

_POINTS = planes.look(np.eye(4))[1][::10, ::10].reshape(-1, 3)


def _view(pose: np.ndarray, blank: bool = False, ignore: np.ndarray | None = None) -> PosedView:
    """What a camera sees; with `blank`, the wall has no texture."""
    depth, _, picture = planes.look(pose)
    if blank:
        picture = np.where(depth[..., None] > 3, 128, picture).astype(np.uint8)
    return PosedView(picture, picture[..., 0], pose, ignore)


def _errors(depth: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Relative errors (N,) of the known pixels."""
    known = depth > 0
    return np.abs(depth / planes.look(pose)[0] - 1)[known]


def test_two_planes_are_found_up_to_their_silhouette() -> None:
    poses = planes.handheld(5)
    views = [_view(pose) for pose in poses]
    swept = sweep(views[2], views[:2], views[3:], planes.INTRINSICS, _POINTS)
    errors = _errors(swept.depth, poses[2])
    assert len(errors) > 0.9 * swept.depth.size
    assert np.median(errors) < 0.02  # planes are 4 % apart at the wall, and places between them are told
    assert (errors < 0.05).mean() > 0.9


def test_what_one_side_hides_is_seen_from_the_other() -> None:
    poses = planes.handheld(5, reach=1.0)
    views = [_view(pose) for pose in poses]
    truth = planes.look(poses[2])[0]
    beside = np.zeros(truth.shape, bool)  # the strip of wall that the board's edge hides from one side
    for row, edge in enumerate((truth < 3).sum(1)):
        beside[row, edge + 2 : edge + 14] = True
    wrong = {}
    for name, before, after in (("one", [], views[3:]), ("other", views[:2], []), ("both", views[:2], views[3:])):
        depth = sweep(views[2], before, after, planes.INTRINSICS, _POINTS).depth
        wrong[name] = (np.abs(depth / truth - 1)[beside] > 0.1).mean()
    assert wrong["both"] < 0.3
    assert wrong["both"] < 0.7 * max(wrong["one"], wrong["other"])


def test_a_blank_wall_is_uncertain() -> None:
    views = [_view(pose, blank=True) for pose in planes.handheld(5)]
    swept = sweep(views[2], views[:2], views[3:], planes.INTRINSICS, _POINTS)
    wall = np.zeros(swept.depth.shape, bool)
    wall[20:100, 110:140] = True
    board = np.zeros_like(wall)
    board[20:100, 10:40] = True
    assert np.median(swept.uncertainty[wall]) > 0.8
    assert np.median(swept.uncertainty[board]) < 0.2


def test_ignored_pixels_have_no_depth_and_tell_none() -> None:
    poses = planes.handheld(5)
    ignore = np.zeros((planes.HEIGHT, planes.WIDTH), bool)
    ignore[40:60, 40:60] = True
    views = [_view(pose, ignore=ignore) for pose in poses]
    swept = sweep(views[2], views[:2], views[3:], planes.INTRINSICS, _POINTS)
    assert not swept.depth[ignore].any()
    blind = PosedView(views[1].rgb, views[1].gray, poses[1], np.ones_like(ignore))
    seen_by_one = sweep(views[2], [blind], [views[3]], planes.INTRINSICS, _POINTS)
    assert np.array_equal(seen_by_one.depth, sweep(views[2], [], [views[3]], planes.INTRINSICS, _POINTS).depth)


@pytest.mark.parametrize(
    ("flow", "swept", "uncertainty", "kept"),
    [
        (2.0, 2.1, 9.0, 2 / (1 / 2.0 + 1 / 2.1)),
        (2.0, 3.0, 0.5, 0.0),
        (2.0, 3.0, 0.1, 3.0),
        (0.0, 3.0, 0.1, 3.0),
        (0.0, 3.0, 0.5, 0.0),
        (2.0, 0.0, 0.1, 2.0),
    ],
    ids=["agree", "contradict", "sweep certain", "sweep alone", "sweep uncertain", "flow alone"],
)
def test_two_opinions(flow: float, swept: float, uncertainty: float, kept: float) -> None:
    def full(value: float) -> np.ndarray:
        return np.full((1, 1), value, np.float32)

    found = reconcile(full(flow), Swept(full(swept), full(uncertainty)))
    assert found[0, 0] == pytest.approx(kept)


def test_wrong_depth_from_flow_is_replaced() -> None:
    poses = planes.handheld(5)
    views = {t: _view(pose) for t, pose in enumerate(poses)}
    slid = (1.3 * planes.look(poses[2])[0]).astype(np.float32)  # what flow says where it slides along its lines
    unknown = np.zeros(len(_POINTS), bool)
    found = _second_opinion(2, slid, views, [0, 1, 3, 4], planes.INTRINSICS, _POINTS, unknown)
    errors = _errors(found, poses[2])
    assert len(errors) > 0.5 * found.size
    assert (errors < 0.05).mean() > 0.9
    assert _second_opinion(2, slid, views, [], planes.INTRINSICS, _POINTS, unknown) is slid
    assert _second_opinion(2, slid, views, [1, 3], planes.INTRINSICS, _POINTS[:5], unknown[:5]) is slid
