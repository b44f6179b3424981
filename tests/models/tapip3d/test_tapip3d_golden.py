"""The tracker against the original: every piece, network and whole run of the reference data."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_tapip3d as runners  # noqa: E402

from geoflow.bench.tracking.plain_tracker import PlainTracker  # noqa: E402

MODEL = "tapip3d"


@pytest.mark.long
@pytest.mark.parametrize("name", ["pieces", "knn", "encoder", "tracker_small", "tracker_full", "inference"])
def test_a_case_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.RUNNERS[name.split("_")[0]](case)
    assert case.not_compared() == []


@pytest.mark.parametrize("name", runners.LISTS)
def test_a_list_has_the_originals_names(name: str) -> None:
    rows = golden.listed(MODEL, name, runners.LISTS)
    assert rows and all(row.right for row in rows), rows


@pytest.mark.long
def test_the_plain_version_that_the_bench_has_is_right_as_well() -> None:
    case = golden.Strict(MODEL, "tracker_small")
    cameras = case.given("intrinsics"), case.given("extrinsics")
    found = PlainTracker(runners.network_of(case)).track(
        case.given("rgb_u8"), case.given("depth"), cameras, case.given("queries"), case.spec["options"]["num_iters"]
    )
    case.check("coords", found[0])
    case.check("visib_logits", found[1])


def test_norms_have_the_eps_that_no_number_shows() -> None:
    """The reference cannot tell 1e-6 from 1e-5 in the norms without parameters."""
    from geoflow.models.tapip3d import attention

    x = torch.full((1, 4), 1.0) + torch.tensor([1e-3, -1e-3, 1e-3, -1e-3])
    expected = (x - 1) / np.sqrt(1e-6 + 1e-6)
    assert torch.allclose(attention.plain_norm(x), expected, rtol=1e-3)
    assert runners.TrackerNetwork(runners.TrackerConfig()).corr_processor.in_norm.eps == 1e-5
