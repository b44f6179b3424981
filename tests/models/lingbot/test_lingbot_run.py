"""`--pipeline lingbot` for real: the network in the environment that Ray builds, with small made-up weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed")

from metric_depth import WALL_M
from small_lingbot import publish

import geoflow
from geoflow.fields import MOTION_MOVING, UNIT_OWN, UNIT_PRIOR
from geoflow.files import resources
from geoflow.geometry.cameras import pinhole
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES = 30
HEIGHT, WIDTH = 160, 120  # upright: the original would crop it
SETTINGS = {
    "camera.num_gpus": 0,
    "camera.side": 56,
    "camera.scale_frames": 2,
    "camera.chapter": 10,
    "segment.size": 12,
    "segment.overlap": 4,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=WIDTH, height=HEIGHT)
    return folder / "c.mp4"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    os.environ["GEOFLOW_CACHE"] = str(folder / "cache")
    publish(folder / "lingbot-map-long.pt")
    return {"camera.weights": str(folder)}


@pytest.fixture(scope="module")
def store(clip: Path, weights: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[h5py.File]:
    out = tmp_path_factory.mktemp("out")
    pipeline = geoflow.Pipeline.load("lingbot").without(["hands"])
    result = geoflow.run(clip, out, pipeline, settings={**SETTINGS, **weights})
    assert result.exit_status == 0 and verify_run(out) == []
    with h5py.File(result.videos[0].path) as found:
        yield found


def test_a_clip_goes_through_the_network_and_is_stitched(store: h5py.File) -> None:
    depth, valid = store["camera/depth"][:], store["camera/valid"][:]
    assert depth.shape == (FRAMES, HEIGHT, WIDTH) and np.isfinite(depth).all()
    assert valid.all() and (depth > 0).mean() > 0.99, "every pixel of an upright frame"
    assert (store["geometry/depth"][:] > 0).mean() > 0.99
    poses = store["camera/cam_from_world"][:]
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (FRAMES, 1, 1)), atol=1e-4)
    assert np.ptp(poses[:, :3, 3], axis=0).max() > 0, "a made-up network, but one that answers"
    assert (store["camera/intrinsics"][:, 0, 0] > 5).all()
    assert store.attrs["metric"] == np.False_ and (store["camera/unit"][:] == UNIT_OWN).all()


def test_what_cannot_be_believed_is_said(store: h5py.File) -> None:
    """The clip's camera moves, which a made-up network does not know."""
    assert (store["camera/motion"][:] == MOTION_MOVING).mean() > 0.5
    assert store["camera/quality"][:].min() < 0.3


def test_the_video_has_several_chapters(store: h5py.File) -> None:
    events = [json.loads(line) for line in _ledger(store).read_text().splitlines()]
    surveys = {tuple(event["span"]) for event in events if event.get("slot") == "camera" and event.get("span")}
    assert len(surveys) >= 2, surveys
    assert (store["segments"][:]["status"] == b"complete").all()


def test_the_network_ran_in_an_environment_of_its_own(store: h5py.File) -> None:
    events = [json.loads(line) for line in _ledger(store).read_text().splitlines()]
    pids = {event["slot"]: event["pid"] for event in events if event["event"] == "actor_ready"}
    assert len(set(pids.values())) == len(pids) >= 4
    stages = {stage["slot"]: stage for stage in json.loads(store.attrs["pipeline"])["stages"]}
    assert (stages["camera"]["env"], stages["decode"]["env"]) == ("lingbot", None)
    assert "not documented" in stages["camera"]["licence"]


def test_with_a_metric_prior_the_store_is_in_metres(
    clip: Path, weights: dict[str, str], tmp_path: Path, store: h5py.File
) -> None:
    raw = yaml.safe_load((resources.folder("configs") / "pipelines" / "lingbot.yaml").read_text(encoding="utf-8"))
    raw["stages"] = [row for row in raw["stages"] if row["slot"] not in ("hands", "tracks")]
    raw["stages"].insert(1, {"slot": "prior", "backend": "metric_depth:MetricPrior", "num_cpus": 0.5})
    result = geoflow.run(clip, tmp_path, geoflow.Pipeline.from_dict(raw), settings={**SETTINGS, **weights})
    assert result.exit_status == 0 and verify_run(tmp_path) == []
    with h5py.File(result.videos[0].path) as found:
        assert found.attrs["metric"] == np.True_ and (found["camera/unit"][:] == UNIT_PRIOR).all()
        # Depth lies about the wall that the prior sees, for the network's own lens.
        focal = found["camera/intrinsics"][:, 0, 0] / pinhole(60.0, HEIGHT, WIDTH)[0, 0]
        near = np.median(found["camera/depth"][:].astype(float), axis=(1, 2)) / (WALL_M * focal)
        assert abs(np.median(near) - 1) < 0.1 and np.median(store["camera/depth"][:]) < 0.9 * WALL_M
        np.testing.assert_array_equal(found["geometry/depth"][:], found["camera/depth"][:])


def _ledger(store: h5py.File) -> Path:
    return Path(store.filename).parent.parent / "events.jsonl"
