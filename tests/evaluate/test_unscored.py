"""Every figure that is missing has a sentence that says why."""

from __future__ import annotations

import dataclasses
import io

import h5py
import numpy as np
import pytest
from rich.console import Console
from synthetic_store import Flaws, write_store, write_truth

from geoflow.evaluate import evaluate_store, render_table
from geoflow.evaluate.score_table import HEADINGS
from geoflow.evaluate.unscored import sentences
from geoflow.synth import render

ROWS = (
    "prior",
    "geometry",
    "camera",
    "constant_plane",
    "poses",
    "identity_pose",
    "tracks",
    "point_tracks",
    "motion",
    "objects",
)


def silent(scores) -> set[str]:
    """The keys of what is None in the result."""
    plain = scores.to_dict()
    return {key for row in ROWS for key in missing(row, plain[row])}


def missing(key, value) -> list[str]:
    if isinstance(value, dict):
        return [inner for name, part in value.items() for inner in missing(f"{key}.{name}", part)]
    return [key] if value is None else []


@pytest.fixture
def score(small_clip, tmp_path):
    def run(flaws=None, change=None, clip=small_clip, **known):
        write_truth(tmp_path / "gt.h5", clip, **known)
        write_store(tmp_path / "store.h5", clip, flaws)
        with h5py.File(tmp_path / "store.h5", "a") as file:
            if change:
                change(file)
        return evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")

    return run


def without_depth(file):
    file["geometry/mask"][:] = False
    file["camera/depth"][:] = 0
    file["prior/depth"][:4] = 0


def without_camera(file):
    file["camera/valid"][2:] = False
    file["camera/cam_from_world"][2:] = np.nan
    file["camera/intrinsics"][:] = np.nan
    file["tracks/visible"][:] = False


def columns_apart(file):
    """Depth in the left half of the picture only."""
    file["geometry/depth"][:, :, 32:] = 0


CASES = {
    "perfect": {},
    "two segments": {"flaws": Flaws(segments=((0, 5), (3, 8)))},
    "nothing stored": {"flaws": Flaws(leave_out=("prior", "geometry", "camera", "tracks"))},
    "no depth stored": {"change": without_depth},
    "no camera stored": {"change": without_camera},
    "left half stored": {"change": columns_apart},
    "no true depth": {"deep": ()},
    "true depth in frames without any stored": {"change": without_depth, "deep": range(3)},
    "no true poses": {"posed": ()},
    "one true pose": {"posed": (3,)},
    "two true poses": {"posed": (3, 5)},
    "no true intrinsics": {"intrinsics": False},
    "no metres": {"metric": False},
    "no truth at all": {"posed": (), "deep": (), "intrinsics": False, "metric": False},
    "states only that it turns": {"posed": (), "deep": (), "intrinsics": False, "motion": "rotating"},
}


@pytest.mark.parametrize("case", CASES)
def test_all_that_is_missing_has_a_sentence_and_nothing_else_has(score, case):
    scores = score(**CASES[case])
    assert set(scores.unscored) == silent(scores) and silent(scores)
    assert all(len(reason.split()) > 4 for reason in scores.unscored.values())
    assert scores.to_dict()["unscored"] == scores.unscored


def test_a_camera_at_rest_too(score):
    still = render(width=32, height=24, num_frames=4, motion="still")
    scores = score(clip=still)
    assert set(scores.unscored) == silent(scores)
    assert "does not travel" in scores.unscored["poses.ate_percent"]
    assert "geometry.invented" not in scores.unscored


def test_the_table_says_it_below(score):
    scores = score(CASES["no true poses"].get("flaws"), posed=())
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(render_table(scores))
    text = console.export_text()
    shown = [
        name
        for key in scores.unscored
        for row, _, name in [key.partition(".")]
        if name in HEADINGS.get(row, {}) and name
    ]
    assert shown and all(HEADINGS["geometry"].get(name, HEADINGS["poses"].get(name, "")) in text for name in shown)
    notes = [line for line in text.splitlines() if line.startswith("note:")]
    assert any("flicker" in line and "no camera poses" in line for line in notes)
    assert len(notes) < 15


def test_reasons_name_the_sizes_of_a_truth_between_the_pixels(small_clip, tmp_path):
    """A store of half the size looks at every other true pixel; this truth has depth at the others only."""
    between = small_clip.depth.copy()
    between[:, 1::2], between[:, :, 1::2] = 0, 0
    write_truth(tmp_path / "gt.h5", dataclasses.replace(small_clip, depth=between))
    write_store(tmp_path / "store.h5", small_clip)
    assert evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5").geometry.abs_rel < 1e-3
    with h5py.File(tmp_path / "store.h5") as file, h5py.File(tmp_path / "small.h5", "w") as out:
        out.attrs.update(dict(file.attrs), height=24, width=32)
        out["frames/index"] = file["frames/index"][:]
        out["geometry/depth"] = file["geometry/depth"][:, 1::2, 1::2]
    scores = evaluate_store(tmp_path / "small.h5", tmp_path / "gt.h5")
    assert set(scores.unscored) == silent(scores)
    reason = scores.unscored["geometry.abs_rel"]
    assert "64x48" in reason and "32x24" in reason
    assert any("AbsRel" in note and reason in note for note in scores.notes)


def test_what_is_not_shared_is_told_apart(score, small_clip, tmp_path):
    apart = score(change=without_depth, deep=range(3))
    assert "empty" in apart.unscored["geometry.abs_rel"]
    assert "the store has 4 such frames, the truth 3" in apart.unscored["prior.abs_rel"]
    left = small_clip.depth.copy()
    left[:, :, 32:] = 0
    write_truth(tmp_path / "gt.h5", dataclasses.replace(small_clip, depth=left))
    write_store(tmp_path / "store.h5", small_clip, Flaws(drop=32))
    scores = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")
    assert "no pixel has both" in scores.unscored["geometry.abs_rel"] and scores.geometry.coverage == 0
    assert set(scores.unscored) == silent(scores)


def test_sentences_gather_figures_with_one_reason():
    reasons = {
        "geometry.flicker": "it rains",
        "camera.flicker": "it rains",
        "geometry.abs_rel": "it rains",
        "geometry.scale": "it snows",
        "tracks": "nobody walks",
    }
    headings = {"geometry": {"flicker": "flicker", "abs_rel": "AbsRel"}, "camera": {"flicker": "flicker"}, "tracks": {}}
    assert list(sentences(reasons, headings)) == [
        "no flicker (geometry, camera); no AbsRel (geometry): it rains",
        "no tracks: nobody walks",
    ]
