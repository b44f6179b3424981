"""A camera that comes back: similarities, the graph of poses, and walks before and after their loops are closed."""

from __future__ import annotations

import box_walk
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from geoflow.bench.slam.box_flow import BoxFlow  # noqa: E402
from geoflow.geometry.loops.pose_graph import Constraints, agree  # noqa: E402
from geoflow.geometry.loops.similarity import Similarities  # noqa: E402
from geoflow.models.vipe import se3  # noqa: E402
from geoflow.models.vipe.adjustment import Adjustment  # noqa: E402
from geoflow.models.vipe.flow_model import View  # noqa: E402
from geoflow.models.vipe.loop_closing import close  # noqa: E402
from geoflow.models.vipe.loops import Loop, Revisit, Visits, candidates, measure  # noqa: E402
from geoflow.models.vipe.map_archive import MapArchive  # noqa: E402
from geoflow.models.vipe.view_archive import ViewArchive  # noqa: E402


def some(count: int, size: float = 1.0) -> Similarities:
    return Similarities.of_chart(size * np.random.default_rng(0).normal(0, 0.5, (count, 7)))


def same(one: Similarities, other: Similarities, atol: float = 1e-9) -> bool:
    parts = ((one.scale, other.scale), (one.rotation, other.rotation), (one.translation, other.translation))
    return all(np.allclose(a, b, atol=atol) for a, b in parts)


def test_similarities_are_composed_inverted_and_written_as_steps() -> None:
    a, b = some(6), some(6)[::-1]
    points = np.random.default_rng(1).normal(size=(6, 3))
    np.testing.assert_allclose(a.after(b).apply(points), a.apply(b.apply(points)))
    np.testing.assert_allclose(a.inverse().apply(a.apply(points)), points, atol=1e-12)
    assert same(Similarities.of_chart(a.chart()), a)
    step = np.random.default_rng(2).normal(0, 1e-6, (6, 7))
    moved = np.einsum("nij,nj->ni", a.adjoint(), step)
    assert same(a.after(Similarities.of_chart(step)), Similarities.of_chart(moved).after(a), 1e-10)


def ring(count: int, drift: float) -> tuple[Similarities, Similarities]:
    """Cameras from world of a closed path, and the same with a drift of scale and direction."""
    truth = Similarities.rigid(np.linalg.inv(box_walk.path(box_walk.LAP)[:: box_walk.LAP // count]))
    chain = truth[1:].after(truth[:-1].inverse())
    wrong = np.zeros((1, 7))
    wrong[0, 4], wrong[0, 6] = drift, drift
    found = [truth[:1]]
    for k in range(count - 1):
        found.append(Similarities.of_chart(wrong).after(chain[k : k + 1]).after(found[-1]))
    parts = [np.concatenate(part) for part in zip(*((one.scale, one.rotation, one.translation) for one in found))]
    return truth, Similarities(*parts)


def test_a_drift_is_spread_over_the_path_and_a_wrong_loop_is_doubted() -> None:
    count = 40
    truth, drifted = ring(count, 0.004)
    chain = drifted[1:].after(drifted[:-1].inverse())
    seen = truth[[count - 1, count - 2]].after(truth[[0, 1]].inverse())
    lie = Similarities.of_chart(np.array([[1.5, 0, 0, 0, 1, 0, 0.5]]))
    parts = [
        np.concatenate(part)
        for part in zip(*((one.scale, one.rotation, one.translation) for one in (chain, seen, lie)))
    ]
    first = np.arange(count - 1)
    rows = Constraints(
        np.concatenate((first, [0, 1, 5])),
        np.concatenate((first + 1, [count - 1, count - 2, 25])),
        Similarities(*parts),
        np.ones(count + 2),
        np.arange(count + 2) >= count - 1,
    )
    found = agree(drifted, rows)
    assert found is not None

    def error(nodes: Similarities) -> float:
        return float(np.linalg.norm(nodes.inverse().translation - truth.inverse().translation, axis=1).max())

    assert error(drifted) > 0.3 and error(found) < 0.35 * error(drifted)
    assert same(found[:1], drifted[:1])
    assert abs(np.log(found.scale)).max() < 0.6 * abs(np.log(drifted.scale)).max()


def test_loops_that_contradict_each_other_change_nothing() -> None:
    poses = se3.from_matrix(torch.from_numpy(np.linalg.inv(box_walk.path(40)))).float().numpy()
    lies = []
    for k, shift in enumerate((3.0, -4.0, 5.0)):
        motion = np.eye(4)
        motion[k % 3, 3] = shift
        lies.append(Loop(k, 12 - k, motion, 1.0 + k))
    assert close(poses, np.arange(0, 40, 3), lies) is None


def test_frames_between_nodes_follow_them() -> None:
    poses = se3.from_matrix(torch.from_numpy(np.linalg.inv(box_walk.path(40)))).float().numpy()
    seen = np.eye(4)
    moved = Similarities.rigid(np.linalg.inv(box_walk.path(40)))
    between = moved[36:37].after(moved[3:4].inverse())
    seen[:3, :3], seen[:3, 3] = between.rotation[0], between.translation[0]
    bent = close(poses, np.arange(0, 40, 3), [Loop(1, 12, seen, 1.0)])
    assert bent is not None
    np.testing.assert_allclose(bent.poses, poses, atol=1e-4)  # what agrees stays
    np.testing.assert_allclose(bent.factors, 1, atol=1e-6)


def test_places_are_taken_for_the_same_only_by_cameras_that_look_there_together() -> None:
    poses = np.tile(np.eye(4), (6, 1, 1))
    poses[3, :3, :3] = np.diag([-1.0, 1, -1])  # looks back
    poses[4, 0, 3] = 50.0  # far off
    poses[5, 0, 3] = 0.2
    seen = visits(poses, np.full((6, 8, 10), 0.5))
    assert [(one.i, one.j) for one in candidates(seen, [3, 6, 6, 6, 6, 6], 22.0)] == [(0, 5)]
    assert candidates(seen, [6] * 6, 22.0) == []


def visits(world_from_cam: np.ndarray, disps: np.ndarray) -> Visits:
    maps = MapArchive()
    maps.append(disps)
    poses = se3.from_matrix(torch.from_numpy(np.linalg.inv(world_from_cam))).float()
    return Visits(poses, maps, torch.tensor([72.0, 72, 40, 32]))


@pytest.mark.parametrize(("passed", "believed"), [(10.0, False), (30.0, True)])
def test_a_place_that_looks_alike_is_refused_if_the_path_cannot_have_drifted_so_far(
    passed: float, believed: bool
) -> None:
    """Two cameras are 2 m apart, and the network takes their places for one: after 10 m of path, that is another."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = 2.0
    room = torch.tensor([[-30.0, 30], [-1.5, 1.5], [-3, 3]])
    flow = BoxFlow(torch.from_numpy(poses), torch.tensor([72.0, 72, 40, 32]), room, (64, 80), lap=1, shift=2.0)
    depth = flow.depth(0, flow.pixels, flow.camera / 8).numpy()
    seen, archive = visits(poses, 1 / np.stack((depth, depth))), ViewArchive(torch.device("cpu"))
    for number in range(2):
        archive.append(View(torch.tensor(float(number))))
    wanted = Adjustment(1, 2, 3, motion_only=True, limited_disp=True)
    found = measure(flow, seen, archive, Revisit(0, 1, passed), wanted)
    assert (found is not None) == believed
    if found is not None:  # taken for the same place, as far as damped steps have come
        assert abs(found.motion[:3, 3]).max() < 0.3 and found.unit == pytest.approx(1, abs=0.05)


def test_views_come_back_from_the_archive_as_they_were() -> None:
    archive = ViewArchive(torch.device("cpu"))
    views = [
        View(torch.tensor(3.0)),
        View(torch.randn(4, 5).bfloat16(), torch.randn(2, 3, dtype=torch.float64), torch.zeros(0, 2)),
    ]
    for view in views:
        archive.append(view)
    assert len(archive) == 2
    for number in (1, 0):
        for one, other in zip(vars(archive[number]).values(), vars(views[number]).values()):
            assert (one is None and other is None) or (one.dtype == other.dtype and torch.equal(one, other))


@pytest.mark.long
@pytest.mark.slow
def test_a_walk_of_five_parts_that_returns_closes() -> None:
    """A lap and a half in a box, with an error of 0.3 px in what is seen; 20 keyframes are adjusted at once."""
    parts: list[object] = []
    options = {"noise": 0.3, "most_keyframes": 20, "kept_keyframes": 8, "backend_iters": 2}
    found = box_walk.walk(
        360, **options, close_loops=True, watch=lambda name, value: parts.append(value) if name == "settled" else None
    )
    open_end = box_walk.walk(360, **options, close_loops=False)
    assert len(parts) >= 4 and not len(open_end.loops)
    laps = np.diff(found.loops, axis=1)[:, 0]
    assert len(laps) >= 4 and (abs(laps - box_walk.LAP) < 40).all()
    before, after = box_walk.path_error(open_end), box_walk.path_error(found)
    assert after < 0.05 and after < before / 4  # m; 0.41 and 0.031 measured
