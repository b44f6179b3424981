"""The order of depth: what no scale and no alignment hides."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console
from synthetic_store import write_store, write_truth

from geoflow.evaluate import evaluate_store, measures, render_table
from geoflow.geometry.depth.depth_order import rank_correlation


@pytest.fixture
def score(small_clip, tmp_path):
    """Scores of a store whose depth (T, H, W) was changed by a function, per branch."""

    def run(**changed):
        write_truth(tmp_path / "gt.h5", small_clip)
        write_store(tmp_path / "store.h5", small_clip)
        with h5py.File(tmp_path / "store.h5", "a") as file:
            for branch, change in changed.items():
                file[f"{branch}/depth"][:] = change(small_clip.depth)
        return evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")

    return run


def inside_out(depth: np.ndarray) -> np.ndarray:
    """Near and far exchanged within the same range."""
    return depth.max() + depth.min() - depth


def test_a_store_inside_out_scores_minus_one(score):
    scores = score(geometry=inside_out, prior=lambda depth: 3 / depth)
    for branch in (scores.geometry, scores.prior):
        assert branch.spearman == pytest.approx(-1, abs=1e-3) and branch.spearman_worst == pytest.approx(-1, abs=1e-3)
        assert branch.reversed_frames == 1
    assert scores.camera.spearman > 0.999 and scores.camera.reversed_frames == 0


def test_no_scale_shift_or_bend_changes_the_order(score):
    scores = score(geometry=lambda depth: 0.01 * depth**2, prior=lambda depth: 20 + depth)
    assert scores.geometry.spearman_worst > 0.999 and scores.prior.spearman_worst > 0.99  # float16 makes ties
    assert scores.geometry.abs_rel > 0.2


def test_the_share_of_reversed_frames_is_counted_and_the_worst_shown(score, small_clip):
    def three_of_eight(depth):
        mixed = depth.copy()
        mixed[[1, 4, 5]] = inside_out(depth)[[1, 4, 5]]
        return mixed

    scores = score(geometry=three_of_eight)
    assert scores.geometry.reversed_frames == 3 / 8
    assert scores.geometry.spearman > 0.999 and scores.geometry.spearman_worst == pytest.approx(-1, abs=1e-3)
    curve = scores.to_dict()["curves"]["depth"]["geometry"]["spearman"]
    assert [value < 0 for value in curve] == [i in (1, 4, 5) for i in range(8)]
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(render_table(scores))
    (line,) = [line for line in console.export_text().splitlines() if "reversed frames" in line and "%" in line]
    assert "37.5 %" in line


def test_noise_on_a_flat_wall_has_no_order(small_clip, tmp_path):
    """A wall at 2 m, known to a millimetre: chance would call half of such frames reversed."""
    rng = np.random.default_rng(3)
    flat = type(small_clip)(**{**vars(small_clip), "depth": rng.normal(2, 0.001, small_clip.depth.shape).astype("f4")})
    write_truth(tmp_path / "gt.h5", flat)
    write_store(tmp_path / "store.h5", small_clip)
    scores = evaluate_store(tmp_path / "store.h5", tmp_path / "gt.h5")
    assert np.isnan(scores.geometry.spearman) and np.isnan(scores.geometry.reversed_frames)
    assert "5 percent" in scores.unscored["geometry.spearman"]


def test_rank_correlation_is_that_of_scipy():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a = rng.integers(0, 20, 500).astype(float)  # with ties
    b = a + rng.normal(0, 8, 500)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(rank_correlation(np.ones(1), np.ones(1)))
    assert measures.relief(np.array([])) != measures.relief(np.array([]))


def test_a_truth_on_even_rows_and_columns_is_found(small_clip, tmp_path: Path):
    """At 640x480 every other pixel is sampled: a grid of odd ones would see none of this truth."""
    from geoflow.evaluate.pixels import sample_grid

    known = np.zeros((480, 640), bool)
    known[::2, ::2] = True
    for most in (80_000, 20_000, 4096):
        grid = sample_grid(480, 640, most)
        assert known.ravel()[grid].mean() == pytest.approx(0.25, abs=0.03)
        assert len(np.unique(grid)) == len(grid) <= 1.1 * most and grid.max() < 480 * 640
