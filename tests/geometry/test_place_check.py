"""Places of a made-up corridor: seen again they are known, and what only looks alike is refused."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.bench.loops.ring_walk import HEIGHT, LAP, WIDTH, RingWalk
from geoflow.geometry.loops import place_check
from geoflow.geometry.loops.place_check import check
from geoflow.geometry.loops.place_search import look_alikes
from geoflow.geometry.loops.places import SeenPlace, choose_frames, describe
from geoflow.geometry.rigid import invert

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def walk() -> RingWalk:
    return RingWalk()


def place(walk: RingWalk, frame: int, unit: float = 1.0, poster: int | None = None) -> SeenPlace:
    """Return a frame's place; of `poster`, the middle of another frame hangs in it."""
    rgb, depth = walk.picture(frame), walk.depth(frame).copy()
    if poster is not None:
        inside = np.s_[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4]
        rgb[inside], depth[inside] = walk.picture(poster)[inside], walk.depth(poster)[inside]
    found = describe(rgb, (unit * depth).astype(np.float16), walk.intrinsics)
    assert found is not None
    rows = {f"places.{name}": array[None] for name, array in found.items()}
    return SeenPlace.rows_of({"places.frame": np.array([frame]), **rows}, (HEIGHT, WIDTH))[0]


def test_a_place_is_known_from_elsewhere_with_its_unit(walk: RingWalk) -> None:
    first, second = place(walk, 3), place(walk, LAP + 7, unit=1.3)
    found = check(first, second, walk.intrinsics)
    assert found is not None and found.points >= 24
    true = walk.cam_from_world(LAP + 7) @ invert(walk.cam_from_world(3))
    np.testing.assert_allclose(found.motion[:3, 3], true[:3, 3], atol=0.03)
    np.testing.assert_allclose(found.motion[:3, :3], true[:3, :3], atol=0.01)
    assert found.unit == pytest.approx(1 / 1.3, rel=0.03)


def test_other_places_are_not_taken_for_it(walk: RingWalk) -> None:
    first = place(walk, 0)
    assert all(check(first, place(walk, frame), walk.intrinsics) is None for frame in (60, 100, 200, 300))


def test_a_poster_that_hangs_twice_is_no_revisit(walk: RingWalk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = place(walk, 0), place(walk, 210, poster=0)
    assert check(first, second, walk.intrinsics) is None
    monkeypatch.setattr(place_check, "_looks_the_same", lambda *_: True)
    assert check(first, second, walk.intrinsics) is not None  # its features alone would be believed


def test_the_place_that_is_seen_again_looks_most_like_it(walk: RingWalk) -> None:
    frames = [*range(0, LAP, 40), LAP + 3, LAP + 42]
    pairs = look_alikes([place(walk, frame) for frame in frames], apart=5, most=1)
    assert [pair for pair in pairs if pair[1] >= LAP // 40] == [(0, 10), (1, 11)]


def test_a_camera_that_rests_has_one_place(walk: RingWalk) -> None:
    poses = np.stack([walk.cam_from_world(t) for t in (0, 0, 0, 0, 20, 20)])
    depth = np.full(6, 3.0)
    assert choose_frames(poses, np.ones(6, bool), depth) == [0, 4]
    assert choose_frames(poses, np.array([0, 0, 1, 1, 1, 1], bool), depth * [1, 1, 1, 1, 0, 1]) == [2, 5]
