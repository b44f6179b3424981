"""The hand model against the original: body, crops, networks and whole runs of the reference data."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_wilor as runners  # noqa: E402

MODEL = "wilor"


@pytest.mark.parametrize(
    "name", ["mano", "preprocess", "model_small", "end_to_end", pytest.param("model_wide", marks=pytest.mark.long)]
)
def test_a_case_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.RUNNERS["model" if name.startswith("model") else name](case)
    assert case.not_compared() == []


@pytest.mark.parametrize("name", runners.LISTS)
def test_a_list_has_the_originals_names_and_weights(name: str) -> None:
    rows = golden.listed(MODEL, name, runners.LISTS)
    assert rows and all(row.right for row in rows), rows


def test_crops_are_the_originals_to_the_grey_level() -> None:
    """The tolerance of the reference data is for other resamplers; this one is the same."""
    case = golden.Strict(MODEL, "preprocess")
    runners.preprocess(case)
    (patch,) = [row for row in case.compared if row.output == "patch_rgb_u16"]
    assert patch.error <= 1, "in 1/256 grey level"
