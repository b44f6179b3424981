"""The formula: what makes quality fall, what it is without some of its ingredients, and when it says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.quality.formula import INGREDIENTS, score, used

GOOD = {"coverage": 0.9, "depth_gap": 0.002, "photometric": 0.97, "focal_error": 0.01, "seam_residual": 0.01}
WORSE = {"coverage": 0.3, "depth_gap": 0.02, "photometric": 0.6, "focal_error": 0.08, "seam_residual": 0.06}


def of(**facts: float) -> float:
    return float(score({name: np.array([value]) for name, value in facts.items()})[0])


def test_it_is_the_geometric_mean_of_what_its_page_says() -> None:
    by_hand = 0.9 / (1 + 0.002 / 0.005) * 0.97 / (1 + 0.01 / 0.03) / (1 + 0.01 / 0.02)
    assert of(**GOOD, posed=1) == pytest.approx(by_hand ** (1 / 5), rel=1e-6)
    assert of(coverage=1, depth_gap=0, photometric=1, focal_error=0, seam_residual=0, posed=1) == pytest.approx(1)


@pytest.mark.parametrize("name", list(INGREDIENTS))
def test_each_ingredient_lowers_it(name: str) -> None:
    assert set(GOOD) == set(WORSE) == set(INGREDIENTS)
    assert of(**{**GOOD, name: WORSE[name]}) < of(**GOOD) - 0.05


def test_an_unknown_ingredient_is_left_out_and_not_guessed() -> None:
    some = {"depth_gap": 0.005, "focal_error": float("nan"), "photometric": 1.0}
    assert of(**some) == pytest.approx(0.5**0.5)
    assert used({name: np.array([value]) for name, value in some.items()}) == ["depth_gap", "photometric"]


def test_what_was_held_against_no_neighbour_has_no_quality() -> None:
    assert np.isnan(of(coverage=1.0, focal_error=0.01, posed=1)), "depth everywhere says nothing about its error"
    assert np.isnan(of(blur=0.3))


def test_nothing_recovered_is_zero_whatever_else_is_known() -> None:
    assert of(coverage=0.8, posed=0) == 0 == of(coverage=0.0)
    assert of(**{**GOOD, "coverage": 0.0}, posed=1) == 0
