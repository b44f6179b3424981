"""The network and its stream against the original: every case of the reference data."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_lingbot as runners  # noqa: E402

MODEL = "lingbot"
CASES = [
    "pieces",
    "encoder",
    "aggregator",
    "camera_head",
    "depth_head",
    "stream_tiny",
    "stream_mid",
    "eps",
    "windowed",
    "flow",
    "align",
    "convert",
    "preprocess",
]


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_case_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    if name == "preprocess":
        pytest.importorskip("PIL", reason="Pillow is not installed")
    runners.RUNNERS[case.kind](case)
    assert case.compared and case.not_compared() == []


@pytest.mark.parametrize("name", runners.LISTS)
def test_a_list_has_the_originals_names(name: str) -> None:
    rows = golden.listed(MODEL, name, runners.LISTS)
    assert rows and all(row.right for row in rows), rows
