"""`sam2` in a run: in an environment that Ray builds, with small made-up weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from killed_actor import deaths, killed
from small_sam2 import publish, publish_detector

import geoflow
from geoflow.pipeline import Pipeline
from geoflow.results import RunResult
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.env, pytest.mark.usefixtures("ray_session")]

FRAMES, HEIGHT, WIDTH = 34, 48, 64
PROMPTS = """
c:
  - {object: 5, frame: 0, box: [10, 12, 29, 30]}
  - {object: 9, frame: 20, points: [[40, 30]]}
  - {object: 11, frame: 15, text: red disc}
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    render_clip(folder / "c.mp4", folder / "c.gt.h5", num_frames=FRAMES, width=WIDTH, height=HEIGHT)
    (folder / "prompts.yaml").write_text(PROMPTS)
    return folder / "c.mp4"


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Weights in folders of the user's."""
    folder = tmp_path_factory.mktemp("weights")
    own = {"weights": str(publish(folder / "sam2")), "text_weights": str(publish_detector(folder / "text"))}
    return {**own, "text": True, "text_score": 0.0}


def run(clip: Path, out: Path, params: dict[str, Any]) -> RunResult:
    stages = [
        {"slot": "decode", "backend": "geoflow.stages.decode"},
        {"slot": "objects", "backend": "sam2", "env": "sam2", "num_gpus": 0, "params": params},
        {"slot": "stitch", "backend": "geoflow.stages.stitch"},
        {"slot": "write", "backend": "geoflow.stages.write", "params": {"rgb": True}},
    ]
    rows = [{"num_cpus": 0.5, **stage} for stage in stages]
    pipe = Pipeline.from_dict({"name": "p", "segment": {"size": 10, "overlap": 2}, "stages": rows})
    return geoflow.run(clip, out, pipe, objects=clip.parent / "prompts.yaml")


@pytest.fixture(scope="module")
def undisturbed(clip: Path, params: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[h5py.File]:
    out = tmp_path_factory.mktemp("undisturbed")
    result = run(clip, out, params)
    assert result.exit_status == 0, result.videos[0].reason
    assert verify_run(out) == []
    with h5py.File(result.videos[0].path) as store:
        yield store


def test_objects_are_in_all_frames_of_the_store(undisturbed: h5py.File) -> None:
    label = undisturbed["objects/label"][:]
    assert {0, 5, 9} <= set(np.unique(label)) and (label[1:] != label[:-1]).any()
    assert (label == 9).any((1, 2))[:20].any(), "first shown in frame 20, and followed back"
    with geoflow.open(undisturbed.filename) as video:
        assert video.objects is not None and {5, 9} <= set(video.objects)


def test_what_words_named_is_recorded(undisturbed: h5py.File) -> None:
    box = undisturbed["objects/box"][:]
    assert box.shape == (FRAMES, 1, 6)
    assert np.isfinite(box).all((1, 2)).tolist() == [t == 15 for t in range(FRAMES)] and box[15, 0, 0] == 11


def test_a_killed_actor_changes_no_bit(
    undisturbed: h5py.File, clip: Path, params: dict[str, Any], tmp_path: Path
) -> None:
    ledger = tmp_path / "events.jsonl"
    with killed(ledger, "objects"):
        result = run(clip, tmp_path, params)
    assert deaths(ledger, "objects") == 1 and result.exit_status == 0
    with h5py.File(result.videos[0].path) as store:
        for name in ("label", "state", "box"):
            np.testing.assert_array_equal(store["objects"][name][:], undisturbed["objects"][name][:])
