"""Made-up films: their tracks obey the truth, and what is covered is not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoflow.geometry.rigid import apply, invert
from geoflow.synth.films import RECIPES, TrackFilm, film
from geoflow.synth.films import film_recipes as recipes
from geoflow.synth.films.flights import FLIGHTS
from geoflow.synth.films.panels import SCENES, Frame, Panels, build_panels


def projected(made: TrackFilm, t: int) -> np.ndarray:
    """Where the truth says that every point is, (M, 2) px, with the lens's distortion."""
    in_camera = apply(made.truth.cam_from_world[t], made.truth.xyz)
    xy = in_camera[:, :2] / in_camera[:, 2:]
    xy = xy * (1 + made.truth.radial * (xy**2).sum(1, keepdims=True))
    return xy * made.truth.intrinsics[0, 0] + made.truth.intrinsics[:2, 2]


def clean(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Add a recipe "clean" without noise, in which nothing sticks to what covers it."""
    still = {"noise_px": (0, 0), "drift_px": (0, 0), "wrong": (0, 0), "sticking": (0, 0)}
    monkeypatch.setitem(RECIPES, "clean", replace(RECIPES["any"], **{**still, **changes}))


@pytest.mark.parametrize("recipe", RECIPES)
def test_sound_points_lie_where_the_truth_projects_them_up_to_noise_and_drift(recipe: str) -> None:
    made = film(recipe, 1)
    chains, sound = made.chains, made.truth.sound
    assert sound.sum() > 300
    off = np.concatenate([(chains.uv[t] - projected(made, t))[sound[t]] for t in range(len(chains.uv))])
    expected = np.hypot(made.setup.noise_px, made.setup.drift_px * np.sqrt(made.setup.frames))
    assert 0.6 * made.setup.noise_px < np.sqrt((off**2).mean()) < 1.1 * expected
    assert not (sound & np.isnan(chains.uv[..., 0])).any()


def test_without_noise_the_tracks_are_exact_and_the_depth_is_the_camera_s(monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch, radial=(0.05, 0.05), field_of_view_deg=(40, 70))
    made = film("clean", 3)
    for t, pose in enumerate(made.truth.cam_from_world):
        seen = made.truth.sound[t]
        assert np.abs(made.chains.uv[t, seen] - projected(made, t)[seen]).max() < 1e-3
        assert np.allclose(made.truth.depth[t], apply(pose, made.truth.xyz)[:, 2])


def test_what_is_covered_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch, scenes=("cards",), flights=("sideways",), relief=(0.9, 0.9), travel=(0.4, 0.4), frames=(16, 16))
    made = film("clean", 0)
    covered = 0
    for t, pose in enumerate(made.truth.cam_from_world):
        center = invert(pose)[:3, 3]
        reach, _ = made.panels.cast(center, made.truth.xyz - center)
        hidden = reach < 1 - 1e-3
        assert not np.isfinite(made.chains.uv[t, hidden, 0]).any()
        born = np.isfinite(made.chains.uv[: t + 1, :, 0]).any(0)
        covered += int((hidden & born).sum())
    assert covered > 50


def test_a_covered_point_can_stick_to_what_covers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch, scenes=("cards",), flights=("sideways",), relief=(0.9, 0.9), travel=(0.4, 0.4), sticking=(1, 1))
    made = film("clean", 0)
    stuck = np.isfinite(made.chains.uv[..., 0]) & ~made.truth.sound
    assert stuck.sum() > 50
    t, m = np.argwhere(stuck)[-1]
    assert np.linalg.norm(made.chains.uv[t, m] - projected(made, t)[m]) > 0.01


def test_new_points_appear_where_something_was_uncovered(monkeypatch: pytest.MonkeyPatch) -> None:
    clean(monkeypatch, scenes=("cards",), flights=("arc",), relief=(0.9, 0.9), travel=(0.4, 0.4), frames=(16, 16))
    made = film("clean", 2)
    first = np.isfinite(made.chains.uv[..., 0]).argmax(0)
    start = invert(made.truth.cam_from_world[0])[:3, 3]
    reach, _ = made.panels.cast(start, made.truth.xyz - start)
    assert ((reach < 1 - 1e-3) & (first > 0)).sum() > 10


def test_the_same_seed_gives_the_same_film_and_another_gives_another() -> None:
    one, same, other = film("walk", 4), film("walk", 4), film("walk", 5)
    assert np.array_equal(one.chains.uv, same.chains.uv, equal_nan=True)
    assert one.setup != other.setup
    assert one.setup != film("forward", 4).setup


@pytest.mark.parametrize("recipe", RECIPES)
def test_values_are_drawn_from_the_recipe_s_ranges(recipe: str) -> None:
    ranges = RECIPES[recipe]
    for seed in range(20):
        setup = recipes.draw(ranges, np.random.default_rng(seed))
        assert setup.scene in ranges.scenes and setup.flight in ranges.flights
        for name, value in vars(setup).items():
            if not isinstance(value, str):
                low, high = getattr(ranges, name)
                assert low - 1e-9 <= value <= high + 1e-9
    assert set(ranges.scenes) <= set(SCENES) and set(ranges.flights) <= set(FLIGHTS)


def test_a_ray_hits_the_nearest_panel_or_nothing() -> None:
    square = np.array([[[-1.0, -1, 2], [-1, -1, 1]], [[2, 0, 0], [1, 0, 0]], [[0, 2, 0], [0, 2, 0]]])
    panels = Panels(*square)
    rays = np.array([[-0.2, 0, 1], [0.4, 0, 1], [0, 0, -1.0], [3, 0, 1]])
    reach, panel = panels.cast(np.zeros(3), rays)
    assert panel.tolist() == [1, 0, -1, -1]
    assert reach[:2].tolist() == [1, 2] and np.isinf(reach[2:]).all()


@pytest.mark.parametrize("kind", SCENES)
def test_a_scene_has_depth_around_its_middle(kind: str) -> None:
    panels = build_panels(kind, Frame(0.5, 0.4, 0.6), np.random.default_rng(0))
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 30), np.linspace(-0.4, 0.4, 20))
    depth, panel = panels.cast(np.zeros(3), np.stack([x.ravel(), y.ravel(), np.ones(600)], axis=1))
    assert len(set(panel[panel >= 0])) >= 4 and (panel >= 0).mean() > 0.8
    assert np.ptp(np.quantile(depth[panel >= 0], [0.02, 0.98])) > 0.2
