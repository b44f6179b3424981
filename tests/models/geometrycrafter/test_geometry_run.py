"""`--pipeline geometry` for real: both models in environments that Ray builds, with small made-up weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

import small_moge
from killed_actor import deaths, killed
from small_crafter import publish, small_networks, trusting

import geoflow
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES = 20
SETTINGS = {
    "prior.num_gpus": 0,
    "geometry.num_gpus": 0,
    "geometry.model_type": "determ",
    "geometry.window_size": 6,
    "geometry.overlap": 2,
    "segment.size": 12,
    "segment.overlap": 4,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    # Neither side is a multiple of 64: the networks work at 64 x 64.
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=72, height=54)
    return folder / "c.mp4"


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Made-up weights in folders of the user's; those of MoGe as its own package writes them."""
    folder = tmp_path_factory.mktemp("weights")
    os.environ["GEOFLOW_CACHE"] = str(folder / "cache")
    publish(trusting(small_networks("determ")), folder / "crafter", folder / "base")
    small_moge.make(folder / "moge" / "model.pt")
    return {
        "prior.weights": str(folder / "moge"),
        "geometry.weights": str(folder / "crafter"),
        "geometry.base_weights": str(folder / "base"),
    }


@pytest.fixture(scope="module")
def undisturbed(
    clip: Path, own_weights: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[h5py.File]:
    out = tmp_path_factory.mktemp("undisturbed")
    result = geoflow.run(clip, out, "geometry", settings={**SETTINGS, **own_weights})
    assert result.exit_status == 0 and verify_run(out) == []
    with h5py.File(result.videos[0].path) as store:
        yield store


def test_a_clip_goes_through_both_models_and_is_stitched(undisturbed: h5py.File) -> None:
    depth, intrinsics = undisturbed["geometry/depth"][:], undisturbed["geometry/intrinsics"][:]
    assert depth.shape == (FRAMES, 54, 72)
    known = depth > 0
    assert known.mean() > 0.9 and np.isfinite(depth).all()
    assert np.ptp(depth[known]) > 0.1, "a made-up network, but not a constant"
    assert (intrinsics[:, 0, 0] > 5).all() and np.isfinite(intrinsics).all()
    rows = undisturbed["segments"][:]
    assert len(rows) == 2 and (rows["status"] == b"complete").all()
    assert rows["seam_residual"][1] < 0.5


def test_each_model_ran_in_an_environment_of_its_own(undisturbed: h5py.File) -> None:
    ledger = Path(undisturbed.filename).parent.parent / "events.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    pids = {event["slot"]: event["pid"] for event in events if event["event"] == "actor_ready"}
    assert len(set(pids.values())) == len(pids) == 5
    pipeline = json.loads(undisturbed.attrs["pipeline"])
    envs = {stage["slot"]: stage["env"] for stage in pipeline["stages"]}
    assert (envs["prior"], envs["geometry"], envs["decode"]) == ("moge", "geometrycrafter", None)


def test_a_killed_actor_changes_no_bit(
    undisturbed: h5py.File, clip: Path, own_weights: dict[str, str], tmp_path: Path
) -> None:
    ledger = tmp_path / "events.jsonl"
    with killed(ledger, "geometry"):
        result = geoflow.run(clip, tmp_path, "geometry", settings={**SETTINGS, **own_weights})
    assert deaths(ledger, "geometry") == 1
    assert result.exit_status == 0
    with h5py.File(result.videos[0].path) as store:
        for name in ("prior/depth", "geometry/depth", "geometry/mask", "geometry/intrinsics"):
            np.testing.assert_array_equal(store[name][:], undisturbed[name][:], err_msg=name)
