"""InstantMesh against the original: cameras, network, field and meshes of the reference data, and full-size keys."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_instantmesh as runners  # noqa: E402

MODEL = "instantmesh"


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    ["cameras", "lrm_tiny", "lrm_mid", "lrm_eps", "flexicubes_16", "flexicubes_24", "empty_repair", "extract_mesh"],
)
def test_a_case_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.RUNNERS[case.kind](case)
    left = [row for row in case.not_compared() if not row.endswith("_deviation")]  # a loss of the training
    assert left == []


@pytest.mark.parametrize("name", runners.LISTS)
def test_a_list_has_the_originals_names(name: str) -> None:
    rows = golden.listed(MODEL, name, runners.LISTS)
    assert len(rows) == 4 and all(row.right for row in rows), rows
