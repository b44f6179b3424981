"""The tracker's memory does not grow with the walk: maps in files, few pairs at once, and any number of keyframes."""

from __future__ import annotations

import os
import tracemalloc
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")


from geoflow.bench.slam.held_tensors import HeldTensors  # noqa: E402
from geoflow.bench.slam.loop_child import path_error  # noqa: E402
from geoflow.bench.slam.made_up_walks import MadeUpWalk, returning  # noqa: E402
from geoflow.bench.slam.memory_child import laden  # noqa: E402
from geoflow.models.vipe import front_end, loops, se3, tracking  # noqa: E402
from geoflow.models.vipe.flow_model import View  # noqa: E402
from geoflow.models.vipe.keyframes import Keyframes  # noqa: E402
from geoflow.models.vipe.loops import Visits, candidates  # noqa: E402
from geoflow.models.vipe.map_archive import MapArchive  # noqa: E402
from geoflow.models.vipe.settled import Settled  # noqa: E402
from geoflow.models.vipe.slam import Slam, SlamResult  # noqa: E402

SMALL = (32, 40)


def test_maps_come_back_from_the_file_by_number_scaled_and_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    maps, archive = rng.normal(size=(150, 4, 5)).astype(np.float32), MapArchive()
    assert archive.whole().shape == (0, 0, 0)
    for first in range(0, 150, 40):
        archive.append(maps[first : first + 40])
    assert len(archive) == 150
    assert np.array_equal(archive[[149, 3, 3]], maps[[149, 3, 3]]) and archive[[]].shape == (0, 4, 5)
    factors = rng.uniform(0.5, 2, 150)
    archive.scale(factors)
    wanted = maps * factors[:, None, None].astype(np.float32)
    whole = archive.whole()
    assert np.array_equal(whole, wanted)
    whole[7] = 0  # the reader's own
    assert np.array_equal(archive[[7]], wanted[[7]])
    assert os.fstat(archive._file.fileno()).st_nlink == 0  # no name that could be left behind
    del archive
    assert np.array_equal(whole[8:], wanted[8:])


def settled_bytes(rounds: int) -> int:
    """What Python and numpy hold of 8 keyframes, settled so many times."""
    keyframes = Keyframes((48, 64), torch.tensor([100.0, 100, 256, 192]))
    for frame in range(8):
        keyframes.add(frame, View(torch.zeros(0)))
    maps, settled = torch.ones(8, 48, 64), Settled()
    tracemalloc.start()
    try:
        for _ in range(rounds):
            settled.add_keyframes(keyframes, 8, maps, maps, torch.ones(8))
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_settled_keyframe_leaves_its_maps_in_files() -> None:
    """Three maps of 12 KB are kept of each."""
    per_keyframe = (settled_bytes(60) - settled_bytes(10)) / (8 * 50)
    assert per_keyframe < 500


def crowd(count: int) -> Visits:
    """Keyframes that all see the same place."""
    maps = MapArchive()
    maps.append(np.full((count, 4, 5), 0.5, np.float32))
    poses = se3.identity(count, torch.zeros(0))
    poses[:, 0] = 1e-4 * torch.arange(count)
    return Visits(poses, maps, torch.tensor([32.0, 32, 20, 16]))


@pytest.mark.long
def test_few_of_very_many_pairs_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,200 keyframes that all see the same place, 700,000 pairs are candidates."""
    monkeypatch.setattr(loops, "_MOST_PAIRS", 5000)
    visits, peaks = crowd(1200), []
    for count in (240, 1200):
        part = Visits(visits.poses[:count], visits.disps, visits.lens)
        tracemalloc.start()
        found = candidates(part, [k + 10 for k in range(count)], 22.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert 10 < len(found) <= 60
    assert peaks[1] < 1.5 * peaks[0] and peaks[1] < 3e6


def track(walk: MadeUpWalk, **options: Any) -> SlamResult:
    height, width = SMALL
    k = np.array([[0.8 * width, 0, width / 2 - 0.5], [0, 0.8 * width, height / 2 - 0.5], [0, 0, 1]])
    frames = (np.zeros((*SMALL, 3), np.uint8) for _ in walk.world_from_cam)
    return Slam(laden(walk, SMALL, noise=0.0)).run(frames, intrinsics=k, **options)


# Every frame becomes a keyframe and stays one; few are adjusted at once, on few edges.
QUICK = {"filter_thresh": -1.0, "keyframe_thresh": 0.0, "frontend_radius": 1, "frontend_window": 3,
         "frontend_factors": 4, "backend_radius": 1, "backend_factors": 2, "backend_iters": 1,
         "most_keyframes": 17, "kept_keyframes": 8}  # fmt: skip


@pytest.mark.long
@pytest.mark.slow
def test_tensors_of_a_long_walk_take_no_more_than_those_of_a_short_one() -> None:
    peaks = []
    for count in (60, 240):
        held = HeldTensors()
        found = track(returning(0, count), close_loops=True, watch=held.watch, **QUICK)
        assert len(found.keyframes) == count
        peaks.append(held.peak)
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.long
@pytest.mark.slow
def test_more_keyframes_than_the_buffer_of_the_original_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,024 are its most. Few steps are made of each adjustment, to be quick: what is seen has no error."""
    for module, name in ((front_end, "_UPDATES"), (front_end, "_MORE_UPDATES"), (front_end, "_ITERATIONS"),
                         (tracking, "_ROUNDS")):  # fmt: skip
        monkeypatch.setattr(module, name, 1)
    walk = returning(0, 1040)
    found = track(walk, close_loops=True, infill_chunk_size=64, **QUICK)
    assert len(found.keyframes) == 1040 and len(found.keyframe_depth) == 1040
    assert found.cam_from_world.shape == (1040, 4, 4) and found.valid.all()
    path = np.linalg.norm(np.diff(walk.world_from_cam[:, :3, 3], axis=0), axis=1).sum()
    assert path > 40 and path_error(found.cam_from_world, walk.world_from_cam[:, :3, 3]) < 0.05 * path
