"""`--pipeline tracks` for real: TAPIP3D in an environment that Ray builds, with small made-up weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from killed_actor import deaths, killed
from small_tracker import publish_tracker, standing_network

import geoflow
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES = 44
SETTINGS = {
    "tracks.num_gpus": 0,
    "tracks.num_iters": 2,
    "tracks.grid_size": 8,
    "tracks.resolution_factor": 1.0,
    "camera.depth_width": 96,
    "segment.size": 20,
    "segment.overlap": 8,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=192, height=144)
    return folder / "c.mp4"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Weights in a folder of the user's."""
    folder = publish_tracker(standing_network(), tmp_path_factory.mktemp("weights"))
    return {**SETTINGS, "tracks.weights": str(folder)}


@pytest.fixture(scope="module")
def undisturbed(
    clip: Path, settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[h5py.File]:
    out = tmp_path_factory.mktemp("undisturbed")
    result = geoflow.run(clip, out, "tracks", settings=settings)
    assert result.exit_status == 0 and verify_run(out) == []
    with h5py.File(result.videos[0].path) as store:
        yield store


def test_points_of_one_segment_are_rows_of_the_whole_video(undisturbed: h5py.File) -> None:
    rows = undisturbed["segments"][:]
    assert len(rows) == 3 and (rows["status"] == b"complete").all()
    ids, born = undisturbed["tracks/id"][:], undisturbed["tracks/query"][:, 0]
    xyz, visible = undisturbed["tracks/xyz"][:], undisturbed["tracks/visible"][:]
    assert len(np.unique(ids)) == len(ids) == xyz.shape[1] and np.isfinite(undisturbed["tracks/query"][:]).all()
    assert (born == 0).sum() > 15 and set(born.astype(int)) <= {0, *rows["start"][1:] + 8}
    throughout = np.isfinite(xyz).all((0, 2))
    assert throughout.sum() > 15, "seen from the first frame to the last, in one row"
    assert visible[:, throughout].mean() > 0.5
    spread = np.linalg.norm(xyz[:, throughout] - xyz[0, throughout], axis=-1).max(0)
    assert np.median(spread) < 0.02, "the network leaves them where they are, and segments have one world"
    uv = undisturbed["tracks/uv"][:][visible]
    assert (uv >= -0.5).all() and (uv <= (191.5, 143.5)).all()


def test_the_tracker_ran_in_an_environment_of_its_own(undisturbed: h5py.File) -> None:
    pipeline = json.loads(undisturbed.attrs["pipeline"])
    stage = {stage["slot"]: stage for stage in pipeline["stages"]}["tracks"]
    assert stage["env"] == "tapip3d" and stage["params"]["num_iters"] == 2
    ledger = Path(undisturbed.filename).parent.parent / "events.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    pids = {event["slot"]: event["pid"] for event in events if event["event"] == "actor_ready"}
    assert len(set(pids.values())) == len(pids) == 5


def test_a_killed_actor_changes_no_bit(
    undisturbed: h5py.File, clip: Path, settings: dict[str, object], tmp_path: Path
) -> None:
    ledger = tmp_path / "events.jsonl"
    with killed(ledger, "tracks"):
        result = geoflow.run(clip, tmp_path, "tracks", settings=settings)
    assert deaths(ledger, "tracks") == 1
    assert result.exit_status == 0
    with h5py.File(result.videos[0].path) as store:
        assert set(store["tracks"]) == set(undisturbed["tracks"])
        for name in store["tracks"]:
            np.testing.assert_array_equal(store["tracks"][name][:], undisturbed["tracks"][name][:], err_msg=name)
