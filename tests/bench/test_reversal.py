"""The bench of reversals: what it calls reversed, right and refused, its rates, and that it goes on where it was."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoflow.bench.reversal.film_scores import REFUSED, REVERSED, RIGHT, UNCLEAR, FilmScore, outcome, score_film
from geoflow.bench.reversal.intervals import rate_of
from geoflow.bench.reversal.mirrored_world import World, mirrored
from geoflow.bench.reversal.reversal_bench import bench_reversal, measure_film, summarise
from geoflow.bench.reversal.reversal_table import render_reversals
from geoflow.errors import ConfigError
from geoflow.fields import DOUBT_ASSUMED, DOUBT_FOCAL, DOUBT_NONE
from geoflow.geometry.motion.structure import Structure
from geoflow.geometry.rigid import Sim3, apply
from geoflow.synth.films import TrackFilm, film


@pytest.fixture(scope="module")
def arc() -> TrackFilm:
    return film("arc", 1)


def structure_of(made: TrackFilm, cam_from_world: np.ndarray, xyz: np.ndarray) -> Structure:
    posed = np.isfinite(cam_from_world[:, 0, 0])
    doubt = np.zeros(len(posed), np.uint8)
    return Structure(made.truth.intrinsics.astype(np.float32), 0.0, cam_from_world, posed, xyz, 5.0, doubt)


def right_structure(made: TrackFilm) -> Structure:
    """The truth in another world: turned, moved and scaled."""
    c, s = np.cos(0.4), np.sin(0.4)
    world = Sim3(3.0, np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.array([0.3, -1, 2]))
    return structure_of(made, world.apply_to_cameras(made.truth.cam_from_world), world.apply(made.truth.xyz))


def reversed_structure(made: TrackFilm) -> Structure:
    """The mirror image of the truth about a plane before the middle camera, all cameras turned the other way."""
    flip, pivot = np.diag([1.0, 1.0, -1.0]), np.array([0, 0, 1.0])
    poses = made.truth.cam_from_world.copy()
    poses[:, :3, :3] = flip @ poses[:, :3, :3] @ flip
    poses[:, :3, 3] = made.truth.cam_from_world[:, :3, :3] @ pivot + made.truth.cam_from_world[:, :3, 3]
    poses[:, :3, 3] -= poses[:, :3, :3] @ pivot
    return structure_of(made, poses, (made.truth.xyz - pivot) @ flip + pivot)


def test_the_truth_in_another_world_is_right(arc: TrackFilm) -> None:
    score = score_film([right_structure(arc)], arc.chains, arc.truth)
    assert score.outcome == RIGHT and score.rank > 0.999 and score.posed == 1
    assert score.ate_percent < 1e-6 and abs(score.focal_error) < 1e-6


def test_a_mirrored_structure_is_reversed(arc: TrackFilm) -> None:
    score = score_film([reversed_structure(arc)], arc.chains, arc.truth)
    assert score.outcome == REVERSED and score.rank < -0.9


def test_one_reversed_part_makes_the_film_reversed_and_parts_without_valid_frames_do_not_count(arc: TrackFilm) -> None:
    right, wrong = right_structure(arc), reversed_structure(arc)
    assert score_film([right, wrong], arc.chains, arc.truth).outcome == REVERSED
    withdrawn = replace(wrong, valid=np.zeros_like(wrong.valid))
    assert score_film([right, withdrawn], arc.chains, arc.truth).outcome == RIGHT
    assert score_film([withdrawn], arc.chains, arc.truth).outcome == REFUSED


def test_names_of_ranks() -> None:
    assert [outcome([rank]) for rank in (-0.1, 0.5, 0.9, np.nan)] == [REVERSED, UNCLEAR, RIGHT, UNCLEAR]


def test_a_refused_film_is_a_loss_only_if_it_can_be_told_from_its_mirror_image(arc: TrackFilm) -> None:
    told = score_film([], arc.chains, arc.truth)
    assert told.outcome == REFUSED and told.tellable
    assert told.true_px < 1.5 * arc.setup.noise_px and told.mirrored_px > 1.2 * told.true_px
    assert not replace(told, mirrored_px=1.05 * told.true_px, mirrored_rank=-0.9).tellable
    assert not replace(told, angle_deg=1.0).tellable
    assert not replace(told, true_rank=0.5).tellable
    assert replace(told, mirrored_px=told.true_px, mirrored_rank=0.95).tellable  # there is no mirrored optimum


def test_a_mirrored_world_looks_the_same_to_the_middle_camera_and_nearly_so_to_the_others(arc: TrackFilm) -> None:
    truth = arc.truth
    points = np.flatnonzero(truth.sound.sum(0) >= 8)
    poses, xyz, middle = truth.cam_from_world, truth.xyz[points], len(truth.cam_from_world) // 2
    k = truth.intrinsics

    def pixels(world: World, t: int) -> np.ndarray:
        uvw = apply(world.cam_from_world[t], world.xyz) @ k.T
        return uvw[:, :2] / uvw[:, 2:]

    world = World(poses, xyz, float(k[0, 0]))
    other = mirrored(world, k, np.stack([pixels(world, t) for t in range(len(poses))]), middle)
    assert np.abs(pixels(other, middle) - pixels(world, middle)).max() < 1e-2
    assert np.abs(pixels(other, middle + 1) - pixels(world, middle + 1)).mean() < 1
    depths = [apply(w.cam_from_world[middle], w.xyz)[:, 2] for w in (world, other)]
    assert np.corrcoef(*depths)[0, 1] < -0.8


def test_rates_have_exact_intervals() -> None:
    none = rate_of(0, 100)  # (alpha / 2)^(1 / n) from the binomial formula
    assert none.low == 0 and none.high == pytest.approx(1 - 0.025 ** (1 / 100))
    some = rate_of(10, 100)  # Clopper-Pearson as tabulated
    assert (some.low, some.high) == (pytest.approx(0.0490, abs=1e-4), pytest.approx(0.1762, abs=1e-4))
    assert (rate_of(0, 0).low, rate_of(0, 0).high, str(rate_of(0, 0))) == (0, 1, "-")


def row(result: str, tellable: bool) -> dict[str, object]:
    return {"recipe": "arc", "outcome": result, "tellable": tellable, "cpu_s": 0.5}


def test_the_two_rates_have_their_own_denominators() -> None:
    rows = [row(RIGHT, True), row(REVERSED, True), row(REFUSED, True), row(REFUSED, False), row(UNCLEAR, False)]
    found = summarise(["arc", "walk"], rows)
    figures = found["recipes"]["arc"]
    assert (figures["reversed_valid"]["count"], figures["reversed_valid"]["of"]) == (1, 3)
    assert (figures["right_refused"]["count"], figures["right_refused"]["of"]) == (1, 3)
    assert found["overall"] == figures and found["recipes"]["walk"]["films"] == 0
    text = io.StringIO()
    from rich.console import Console

    Console(file=text, width=180).print(render_reversals(found))
    assert "1/3 = 33.3 % [" in text.getvalue()


def test_an_unknown_recipe_is_named(tmp_path: Path) -> None:
    from rich.console import Console

    with pytest.raises(ConfigError, match=r"unknown recipes.*nonsense.*there are: any"):
        bench_reversal(tmp_path, recipes=["nonsense"], seeds=range(1), console=Console(quiet=True))


@pytest.mark.long
def test_the_bench_measures_films_and_goes_on_where_it_was(tmp_path: Path) -> None:
    from rich.console import Console

    text = io.StringIO()
    console = Console(file=text, width=200)
    first = bench_reversal(tmp_path, recipes=["few"], seeds=range(2), workers=1, console=console)
    assert first["overall"]["films"] == 2 and first["overall"]["failed"] == 0
    assert json.loads((tmp_path / "reversal.json").read_text()) == first
    with (tmp_path / "films.jsonl").open("a") as log:
        log.write('{"code": "cut o')  # as an interruption leaves it
    more = bench_reversal(tmp_path, recipes=["few"], seeds=range(3), workers=1, console=console)
    assert "2 films measured before, 1 to do" in text.getvalue()
    assert more["overall"]["films"] == 3
    again = bench_reversal(tmp_path, recipes=["few"], seeds=range(3), workers=1, console=console)
    assert "3 films measured before, 0 to do" in text.getvalue() and again == more


def test_scores_are_plain_values(arc: TrackFilm) -> None:
    score = score_film([], arc.chains, arc.truth)
    assert isinstance(score, FilmScore) and json.loads(json.dumps(vars(score)))["outcome"] == REFUSED


@pytest.mark.slow
def test_a_drawn_film_is_measured_like_one_of_tracks() -> None:
    found = measure_film("few", 3, drawn=True)
    assert found["drawn"] and found["outcome"] in (RIGHT, UNCLEAR, REVERSED, REFUSED)
    assert found["angle_deg"] > 1 and found["true_px"] < 1


def test_the_stated_error_of_focal_lengths_is_held_against_the_truth() -> None:
    row = {"recipe": "arc", "outcome": "right", "tellable": True, "cpu_s": 1.0, "focal_deviation": 0.1}
    rows = [
        {**row, "focal_error": 0.05, "lens": DOUBT_NONE},
        {**row, "focal_error": -0.15, "lens": DOUBT_FOCAL},
        {**row, "focal_error": 0.5, "lens": DOUBT_NONE},
        {**row, "focal_error": 0.9, "lens": DOUBT_ASSUMED},  # not estimated
        {**row, "focal_error": float("nan"), "focal_deviation": float("nan"), "lens": DOUBT_NONE, "outcome": "refused"},
    ]
    figures = summarise(["arc"], rows)["overall"]
    assert [figures[name]["count"] for name in ("focal_within_one", "focal_within_two")] == [1, 2]
    assert figures["focal_within_two"]["of"] == 3
