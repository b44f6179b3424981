"""`--pipeline vipe` for real: MoGe and the tracker in environments that Ray builds, with small and made-up weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

import small_moge
from killed_actor import deaths, killed
from small_vipe import publish_slam

import geoflow
from geoflow.fields import LENS_FROM_PRIOR, UNIT_OWN, UNIT_PRIOR
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES = 20
SETTINGS = {
    "prior.num_gpus": 0,
    "camera.num_gpus": 0,
    "camera.backend_iters": 2,
    "segment.size": 12,
    "segment.overlap": 4,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=96, height=72)
    return folder / "c.mp4"


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Made-up weights in folders of the user's; the network sees motion in every frame, so each becomes a keyframe."""
    folder = tmp_path_factory.mktemp("weights")
    os.environ["GEOFLOW_CACHE"] = str(folder / "cache")
    small_moge.make(folder / "moge" / "model.pt", "v2")
    publish_slam(folder / "droid")
    return {"prior.weights": str(folder / "moge"), "camera.weights": str(folder / "droid")}


@pytest.fixture(scope="module")
def undisturbed(
    clip: Path, own_weights: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[h5py.File]:
    out = tmp_path_factory.mktemp("undisturbed")
    result = geoflow.run(clip, out, "vipe", settings={**SETTINGS, **own_weights})
    assert result.exit_status == 0 and verify_run(out) == []
    with h5py.File(result.videos[0].path) as store:
        yield store


def test_a_clip_is_tracked_in_an_environment_of_its_own(undisturbed: h5py.File) -> None:
    valid, poses = undisturbed["camera/valid"][:], undisturbed["camera/cam_from_world"][:]
    assert valid.shape == (FRAMES,) and np.isfinite(poses[valid]).all() and np.isnan(poses[~valid]).all()
    assert valid.any(), "a made-up network, but the frames are posed"
    unit, lens = undisturbed["camera/unit"][:], undisturbed["camera/lens"][:]
    assert (unit[valid] != UNIT_OWN).all(), "the prior reached the tracking"
    assert undisturbed.attrs["metric"] == (unit[valid] == UNIT_PRIOR).all(), "metres only in the unit of MoGe v2"
    assert (lens == LENS_FROM_PRIOR).all(), "nobody states a focal length but the prior"
    pipeline = json.loads(undisturbed.attrs["pipeline"])
    assert {stage["slot"]: stage["env"] for stage in pipeline["stages"]}["camera"] == "vipe"


def test_an_actor_that_is_killed_in_its_chapter_changes_no_bit(
    undisturbed: h5py.File, clip: Path, own_weights: dict[str, str], tmp_path: Path
) -> None:
    ledger = tmp_path / "events.jsonl"
    # The actor is killed half a second after it was ready: it tracks its chapter for seconds.
    with killed(ledger, "camera", when=bool, wait=0.5):
        result = geoflow.run(clip, tmp_path, "vipe", settings={**SETTINGS, **own_weights})
    assert deaths(ledger, "camera") == 1
    assert result.exit_status == 0
    with h5py.File(result.videos[0].path) as store:
        for name in ("camera/valid", "camera/cam_from_world", "camera/intrinsics", "camera/depth", "camera/unit"):
            np.testing.assert_array_equal(store[name][:], undisturbed[name][:], err_msg=name)
