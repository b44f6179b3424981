"""A part of a store as a store: the same values, frames that count from 0, and tracks whose query is in it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from run_folder import make_run

from geoflow.curation.cutting import cut_store
from geoflow.errors import StoreError
from geoflow.export import export_store
from geoflow.store.reader import open_video
from geoflow.store.verify import verify_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), "clip").video("clip")


def test_the_part_holds_the_same_values(store: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.h5"
    cut_store(store, (12, 27), part)
    assert verify_store(part) == []
    with open_video(store) as whole, open_video(part) as found:
        assert len(found) == 15 and found.frame_index.tolist() == whole.frame_index[12:27].tolist()
        for i in (0, 7, 14):
            assert np.array_equal(found.depth[i], whole.depth[12 + i])
            assert np.array_equal(found.points(i, world=True), whole.points(12 + i, world=True), equal_nan=True)
        assert np.array_equal(found.cameras.cam_from_world, whole.cameras.cam_from_world[12:27])
        assert np.array_equal(found.hands.left.joints, whole.hands.left.joints[12:27], equal_nan=True)
        assert [(row["start"], row["stop"]) for row in found.segments] == [(0, 4), (0, 14), (8, 15)]
        seen = whole.tracks.visible[12:27].any(0)
        assert 0 < seen.sum() < seen.size and np.array_equal(
            found.tracks.visible[:], whole.tracks.visible[12:27][:, seen]
        )
        assert np.array_equal(found.tracks.xyz[:], whole.tracks.xyz[12:27][:, seen], equal_nan=True)
        query, visible, xyz = found.tracks.query, found.tracks.visible[:], found.tracks.xyz[:]
        moved = whole.tracks.query[seen, 0] < 12
        assert moved.any() and (~moved).any()
        assert np.array_equal(query[~moved, 0], whole.tracks.query[seen][~moved, 0] - 12)
        for k in np.flatnonzero(moved):
            first = int(query[k, 0])
            assert first == visible[:, k].argmax() and np.array_equal(query[k, 1:], xyz[first, k])


def test_it_is_exported_as_any_store(store: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.h5"
    cut_store(store, (12, 27), part)
    done = export_store(part, "depth", tmp_path / "depth")
    assert done.frames == 15 == len(list((tmp_path / "depth").rglob("*.npy")))


def test_frames_that_are_not_there(store: Path, tmp_path: Path) -> None:
    for frames in ((0, 41), (5, 5), (-1, 3)):
        with pytest.raises(StoreError, match="has frames 0 to 39; it cannot be cut"):
            cut_store(store, frames, tmp_path / "part.h5")
    assert not (tmp_path / "part.h5").exists()


def test_a_part_does_not_state_the_work_of_the_whole(store: Path, tmp_path: Path) -> None:
    cut_store(store, (0, 10), tmp_path / "part.h5")
    with h5py.File(store) as whole, h5py.File(tmp_path / "part.h5") as part:
        assert "work" in whole.attrs and "work" not in part.attrs
