"""Masks are held against true labels: by the body that each object first shows, frame by frame."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console
from synthetic_store import write_store, write_truth

from geoflow.evaluate import Scores, evaluate_store, render_table
from geoflow.fields import OBJECT_AWAITED, OBJECT_LOST, OBJECT_SEEN
from geoflow.report.score_section import score_section
from geoflow.synth import Clip


@pytest.fixture
def truth(small_clip: Clip, tmp_path: Path) -> Path:
    write_truth(tmp_path / "gt.h5", small_clip)
    with h5py.File(tmp_path / "gt.h5", "a") as file:
        file["label"] = small_clip.label
    return tmp_path / "gt.h5"


def score(clip: Clip, truth: Path, label: np.ndarray | None, state: np.ndarray | None = None) -> Scores:
    store = truth.parent / "store.h5"
    write_store(store, clip)
    with h5py.File(store, "a") as file:
        for name, array in (("objects/label", label), ("objects/state", state)):
            if array is not None:
                file[name] = array
    return evaluate_store(store, truth)


def test_an_object_is_scored_against_the_body_that_it_first_shows(small_clip: Clip, truth: Path) -> None:
    areas = {n: (small_clip.label == n).sum((1, 2)) for n in range(1, int(small_clip.label.max()) + 1)}
    body = max(areas, key=lambda n: areas[n].min())
    label = np.where(small_clip.label == body, 77, 0).astype(np.uint8)
    found = score(small_clip, truth, label).objects
    assert found is not None and found.mean_iou == found.worst_iou == 1
    assert found.by_number[77].body == body and found.by_number[77].missed == 0
    label[3] = 0
    label[5, ::2] = 0
    found = score(small_clip, truth, label).objects
    assert found is not None
    kept = label[5] > 0
    expected = (6 + kept.sum() / (small_clip.label[5] == body).sum()) / 8
    assert found.mean_iou == pytest.approx(expected) and found.by_number[77].missed == pytest.approx(1 / 8)


def test_frames_before_a_prompt_do_not_count_and_a_lost_object_does(small_clip: Clip, truth: Path) -> None:
    body = int(np.bincount(small_clip.label[3:].ravel())[1:].argmax()) + 1
    label = np.where(small_clip.label == body, 5, 0).astype(np.uint8)
    label[:3] = 0
    state = np.zeros((8, 256), np.uint8)
    state[:3, 5], state[3:, 5], state[:, 6] = OBJECT_AWAITED, OBJECT_SEEN, OBJECT_LOST
    scores = score(small_clip, truth, label, state)
    assert scores.objects is not None
    rows = scores.objects.by_number
    assert rows[5].iou == 1 and rows[5].frames == 5
    assert rows[6].body == 0 and rows[6].iou == 0  # it was asked for, and is never found
    assert scores.objects.mean_iou == 0.5
    console = Console(file=io.StringIO(), width=120)
    console.print(render_table(scores))
    assert "masks of objects, mean IoU 0.500" in console.file.getvalue()
    assert "object 5" in score_section(scores.to_dict())


def test_what_cannot_be_scored_has_its_reason(small_clip: Clip, truth: Path) -> None:
    scores = score(small_clip, truth, None)
    assert scores.objects is None and scores.unscored["objects"] == "the store holds no labels of objects"
    nothing = score(small_clip, truth, np.zeros_like(small_clip.label))
    assert nothing.unscored["objects"] == "no object is seen in any frame of the store"
    with h5py.File(truth, "a") as file:
        del file["label"]
    unknown = score(small_clip, truth, np.ones_like(small_clip.label))
    assert unknown.unscored["objects"] == "the truth knows no objects"
