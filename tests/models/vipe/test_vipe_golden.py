"""The tracker against the original: every piece, adjustment and whole run of the reference data."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_vipe as runners  # noqa: E402

MODEL = "vipe"
QUICK = ("geometry", "ba", "ba_near", "correlation", "depth_align", "preprocess")
LONG = ("encoder", "update", "graph", "slam_known", "slam_focal")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_a_case_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.RUNNERS[name.split("_")[0] if name.startswith(("slam", "ba")) else name](case)
    assert case.not_compared() == []


@pytest.mark.parametrize("name", runners.LISTS)
def test_a_file_has_the_originals_contents(name: str) -> None:
    rows = golden.listed(MODEL, name, runners.LISTS)
    assert rows and all(row.right for row in rows), rows
