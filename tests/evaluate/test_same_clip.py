"""A truth of another clip is refused: by the checksum of its file, the number of its frames, the shape of its
picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import pytest
from synthetic_store import write_store, write_truth

from geoflow.errors import InputError
from geoflow.evaluate import evaluate_store
from geoflow.synth import Clip, render, render_clip
from geoflow.synth.groundtruth import load_ground_truth
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe


@pytest.fixture
def files(tmp_path: Path, small_clip: Clip) -> tuple[Path, Path]:
    write_store(tmp_path / "store.h5", small_clip)
    write_truth(tmp_path / "gt.h5", small_clip)
    return tmp_path / "store.h5", tmp_path / "gt.h5"


def state(store: Path, truth: Path, *, of_store: str = "", of_truth: str = "", **reading: Any) -> None:
    """Write checksums, and how the store says that it was read."""
    with h5py.File(store, "a") as file:
        file.attrs["source_sha256"] = of_store
        file.attrs["work"] = json.dumps({"reading": {"fps": None, "limit": None, "pattern": None, **reading}})
    with h5py.File(truth, "a") as file:
        file.attrs["source_sha256"] = of_truth


def test_a_rendered_truth_has_the_checksum_that_a_store_of_its_clip_gets(tmp_path: Path) -> None:
    render_clip(tmp_path / "a.mp4", tmp_path / "a.gt.h5", num_frames=4, width=32, height=24)
    info, _ = probe(str(tmp_path / "a.mp4"), "a", ReadOptions())
    with load_ground_truth(tmp_path / "a.gt.h5") as truth:
        assert truth.source_sha256 == info.source_sha256 != ""


def test_another_file_is_refused_unless_the_user_vouches_for_it(files: tuple[Path, Path]) -> None:
    state(*files, of_store="a" * 64, of_truth="b" * 64)
    with pytest.raises(InputError, match=r"gt\.h5 is the ground truth of another clip than .*aaaaaa.*--same-frames"):
        evaluate_store(*files)
    assert evaluate_store(*files, same_frames=True).num_frames == 8
    state(*files, of_store="b" * 64, of_truth="b" * 64)
    assert evaluate_store(*files).num_frames == 8


def test_a_longer_truth_is_refused_for_a_store_of_the_whole_clip(files: tuple[Path, Path], tmp_path: Path) -> None:
    write_truth(longer := tmp_path / "longer.h5", render(num_frames=9, width=64, height=48, fps=4.0))
    state(files[0], longer)
    with pytest.raises(InputError, match=r"holds all 8 frames of its clip, but .*longer\.h5 covers 9"):
        evaluate_store(files[0], longer)
    for reading in ({"limit": 8}, {"fps": 4.0}, {"pattern": "*.png"}):
        state(files[0], longer, **reading)
        assert evaluate_store(files[0], longer).num_frames == 8
    state(files[0], longer, of_store="c" * 64, of_truth="c" * 64)
    assert evaluate_store(files[0], longer).num_frames == 8, "the same file, whose last frames were damaged"


def test_a_shorter_truth_and_one_of_another_shape_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    write_truth(shorter := tmp_path / "shorter.h5", render(num_frames=7, width=64, height=48, fps=4.0))
    write_truth(wider := tmp_path / "wider.h5", render(num_frames=8, width=64, height=36, fps=4.0))
    for truth, message in ((shorter, "covers frames 0 to 6"), (wider, "64x48, the truth 64x36: the shapes differ")):
        for vouched in (False, True):
            with pytest.raises(InputError, match=f"{message}.*; give the ground truth of the same clip"):
                evaluate_store(files[0], truth, same_frames=vouched)
