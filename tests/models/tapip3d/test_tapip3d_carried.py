"""Points that go on from one piece of a clip to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_tracker import SMALL, small_network, wall_clip  # noqa: E402

from geoflow.geometry.rigid import Sim3  # noqa: E402
from geoflow.models.tapip3d.clip import Clip  # noqa: E402
from geoflow.models.tapip3d.following import Followed, follow  # noqa: E402
from geoflow.models.tapip3d.options import TrackOptions  # noqa: E402
from geoflow.models.tapip3d.query_grid import grid_queries, queries_at  # noqa: E402
from geoflow.models.tapip3d.templates import Carried, Templates  # noqa: E402
from geoflow.models.tapip3d.tracker import Tracker  # noqa: E402
from geoflow.models.tapip3d.windows import WindowRun  # noqa: E402

pytestmark = pytest.mark.long

FRAMES, PIECE, SHARED = 40, 16, 8
OPTIONS = TrackOptions(num_iters=2, resolution_factor=None)
STILL = Sim3.identity()


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return Tracker(small_network(), (64, 80))


def piece(start: int, stop: int, world: Sim3 = STILL) -> Clip:
    """Frames of the clip in another world."""
    given = {name: array[start:stop] for name, array in wall_clip(FRAMES).items()}
    given["depth"] = given["depth"] * np.float32(world.scale)
    given["cam_from_world"] = world.apply_to_cameras(given["cam_from_world"].astype(np.float64)).astype(np.float32)
    return Clip.of(*given.values())


def carried(found: Followed, shared: int, between: Sim3 = STILL) -> Carried:
    """What a piece hands to the next, which shares its last frames, in whose world it is moved."""
    positions = between.apply(found.xyz[-shared:].astype(np.float64)).astype(np.float32)
    return Carried(positions, found.logits[-shared:], found.templates.moved(between))


def in_pieces(tracker: Tracker, shared: int, worlds: list[Sim3]) -> list[Followed]:
    step, found = PIECE - shared, []
    for k, world in enumerate(worlds):
        clip, queries = piece(k * step, k * step + PIECE, world), np.zeros((0, 4), np.float32)
        before = None
        if k:
            between = Sim3(world.scale / worlds[k - 1].scale, np.eye(3), np.zeros(3))
            shift = world.translation - between.scale * worlds[k - 1].translation
            before = carried(found[-1], shared, Sim3(between.scale, np.eye(3), shift))
        else:
            queries = grid_queries(clip, 0, 4)
        found.append(follow(tracker, clip, queries, OPTIONS, carried=before))
    return found


LARGER = [Sim3(2.0**k, np.eye(3), np.zeros(3)) for k in range(4)]  # factors that round nothing


@pytest.mark.parametrize(
    ("worlds", "half", "off"), [([STILL] * 4, False, 0), (LARGER, False, 1e-6), (LARGER, True, 0.02)]
)
def test_a_clip_in_pieces_has_the_tracks_of_the_whole(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, worlds: list[Sim3], half: bool, off: float
) -> None:
    """The window after a seam starts from what the window before it said, as within a piece: the bits are the same.

    Templates in float16 lose digits.
    """
    if not half:
        monkeypatch.setattr(Templates, "rounded", Templates)
    clip = piece(0, FRAMES)
    whole = follow(tracker, clip, grid_queries(clip, 0, 4), OPTIONS)
    moved = np.abs(whole.xyz - whole.xyz[:1]).max()
    assert moved > 0.05, "a made-up network, but it moves points"
    for k, (found, world) in enumerate(zip(in_pieces(tracker, SHARED, worlds), worlds)):
        assert len(found.queries) == len(whole.queries) == 15, "one point of the grid has no depth"
        first, last = (SHARED if k else 0), PIECE - SMALL.seq_len // 2  # what no later window changes
        back = (found.xyz[first:last] - world.translation) / world.scale
        start = k * (PIECE - SHARED)
        np.testing.assert_allclose(back, whole.xyz[start + first : start + last], rtol=0, atol=off * moved)
        logits = whole.logits[start + first : start + last]
        np.testing.assert_allclose(found.logits[first:last], logits, rtol=0, atol=50 * off)


@pytest.mark.parametrize("shared", [1, 3, 5, 11])
def test_any_number_of_frames_can_be_shared(tracker: Tracker, shared: int) -> None:
    first, second = in_pieces(tracker, shared, [STILL] * 2)
    assert np.isfinite(second.xyz).all() and second.xyz.shape == (PIECE, 15, 3)
    np.testing.assert_allclose(second.xyz[0], first.xyz[-shared], atol=0.5 if shared < SMALL.seq_len else 0)


def test_what_was_chosen_stays_what_points_are_compared_with(tracker: Tracker) -> None:
    found = in_pieces(tracker, SHARED, [STILL] * 4)
    assert all((one.templates.features == found[0].templates.features).all() for one in found)
    assert all((one.templates.points == found[0].templates.points).all() for one in found)
    assert (found[-1].queries[:, 0] == -1).all() and (found[-1].queries[:, 1:] == found[0].queries[:, 1:]).all()


def test_the_first_state_of_carried_points_is_what_was_handed_over(tracker: Tracker) -> None:
    """Also where they are hidden: nothing of it is made fresh again."""
    (first,) = in_pieces(tracker, SHARED, [STILL])
    given = carried(first, 3)
    hidden = Carried(given.positions, np.full_like(given.logits, -7.0), given.templates)
    seen: list[Any] = []
    run = WindowRun(
        tracker.network, piece(13, 29), np.zeros((0, 4)), 1, None, carried=hidden, watch=lambda *what: seen.append(what)
    )
    run.go()
    space = next(value for name, value in seen if name == "space")
    coords, logits = next(value for name, value in seen if name == "first_state")
    assert (logits == -7).all() and logits.shape == (8, 15)
    expected = np.concatenate((given.positions, np.repeat(given.positions[-1:], 5, 0)))
    np.testing.assert_allclose(space.leave(coords), expected, atol=1e-5)


def test_carried_points_come_first_and_new_ones_beside_them(tracker: Tracker) -> None:
    (first,) = in_pieces(tracker, SHARED, [STILL])
    clip = piece(8, 24)
    new = queries_at(clip, 5, np.array([[40.0, 30.0], [2.0, 2.0]]))
    assert np.isfinite(new).all(1).tolist() == [True, False], "no depth in a corner"
    found = follow(tracker, clip, new[:1], OPTIONS, carried=carried(first, SHARED), support_grid=2)
    assert found.queries[:, 0].tolist() == [-1.0] * 15 + [5.0] and len(found.templates) == 16
    assert np.isfinite(found.xyz).all(), "frames before the query come from the pass back"
    np.testing.assert_allclose(found.queries[15, 1:], new[0, 1:])
    forward = TrackOptions(num_iters=2, resolution_factor=None, bidirectional=False)
    found = follow(tracker, clip, new[:1], forward, carried=carried(first, SHARED))
    assert np.isfinite(found.xyz).all((1, 2)).tolist() == [False] * 5 + [True] * 11
    assert (found.logits[:5, 15] == -np.inf).all()


def test_more_points_can_be_asked_for_on_the_way(tracker: Tracker) -> None:
    clip, asked = piece(0, 24), []

    def more(first: int, xyz: np.ndarray, logits: np.ndarray) -> np.ndarray:
        asked.append((first, xyz.shape, logits.shape))
        return queries_at(clip, first + 1, np.array([[50.0, 40.0]])) if first == 8 else np.zeros((0, 4))

    found = follow(tracker, clip, grid_queries(clip, 0, 2), OPTIONS, more=more, support_grid=3)
    assert asked == [
        (4, (4, 3, 3), (4, 3)),
        (8, (4, 3, 3), (4, 3)),
        (12, (4, 4, 3), (4, 4)),
        (16, (4, 4, 3), (4, 4)),
        (20, (4, 4, 3), (4, 4)),
    ]
    assert found.queries[:, 0].tolist() == [0, 0, 0, 9] and np.isfinite(found.xyz).all()
    stated = follow(tracker, clip, found.queries, OPTIONS)
    np.testing.assert_allclose(found.templates.points[3], stated.templates.points[3], atol=1e-6)
    assert (found.templates.features[3] == stated.templates.features[3]).mean() > 0.99


def test_more_points_are_placed_exactly_in_half_precision() -> None:
    half, clip = Tracker(small_network(), (64, 80), torch.bfloat16), piece(0, 24)

    def more(first: int, xyz: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return queries_at(clip, first, np.array([[50.0, 40.0]])) if first == 8 else np.zeros((0, 4))

    found = follow(half, clip, grid_queries(clip, 0, 2), OPTIONS, more=more)
    np.testing.assert_array_equal(found.queries[3], queries_at(clip, 8, np.array([[50.0, 40.0]]))[0])
    assert np.isfinite(found.xyz).all()


def test_points_of_the_last_frames_are_followed_too_and_change_no_other(tracker: Tracker) -> None:
    clip = piece(0, 18)
    late = queries_at(clip, 17, np.array([[50.0, 40.0]]))

    def more(first: int, xyz: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return late if first == 16 else late[:0]

    forward = TrackOptions(num_iters=2, resolution_factor=None, bidirectional=False)
    alone = follow(tracker, clip, grid_queries(clip, 0, 2), forward)
    found = follow(tracker, clip, grid_queries(clip, 0, 2), forward, more=more)
    assert np.array_equal(found.xyz[:, :3], alone.xyz) and found.queries[:, 0].tolist() == [0, 0, 0, 17]
    assert np.isfinite(found.xyz[17, 3]).all() and found.logits[17, 3] != 0
    both = follow(tracker, clip, grid_queries(clip, 0, 2), OPTIONS, more=more)
    assert np.isfinite(both.xyz).all() and (both.logits[:, 3] != 0).all()


def test_a_piece_shorter_than_a_window_is_followed_all_the_same(tracker: Tracker) -> None:
    clip = piece(0, 3)
    found = follow(tracker, clip, queries_at(clip, 2, np.array([[40.0, 30.0]])), OPTIONS)
    assert found.xyz.shape == (3, 1, 3) and np.isfinite(found.xyz).all() and (found.logits != 0).all()


def test_templates_stay_small_and_finite() -> None:
    features = np.array([1e6, -1e6, 0.1], np.float32).reshape(1, 1, 1, 3)
    held = Templates.rounded(np.ones((1, 1, 1, 3)), features)
    assert (
        held.features.dtype == np.float16 and np.isfinite(held.features).all() and len(held.of(np.zeros(0, int))) == 0
    )
    moved = held.moved(Sim3(2.0, np.eye(3), np.ones(3)))
    assert (moved.points == 3).all() and moved.features is held.features
