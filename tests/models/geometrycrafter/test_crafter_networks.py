"""The networks against the original ones: keys and shapes at full size, numbers at small sizes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_geometrycrafter as runners  # noqa: E402

MODEL = "geometrycrafter"


@pytest.mark.long
def test_full_size_networks_have_the_published_keys_and_shapes() -> None:
    path = golden.FOLDER / MODEL / "keys_full.json"
    if not path.is_file():
        pytest.skip(f"no reference data: {path} is absent")
    rows = runners.keys(path)
    assert {row.output for row in rows} == {"unet_diff", "unet_determ", "point_map_vae", "vae", "image_encoder"}
    assert all(row.right for row in rows), rows


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        *("unet_in12_tiny", "unet_in8_tiny", "unet_in12_mid", "unet_in12_eps"),
        *("point_map_vae_tiny", "point_map_vae_mid", "clip"),
    ],
)
def test_a_network_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.RUNNERS[case.spec["kind"]](case)
    assert set(case.not_compared()) <= {"encode.logvar"}, "which passes through and is not used"


def test_the_scheduler_has_the_originals_numbers() -> None:
    case = golden.Strict(MODEL, "scheduler")
    runners.scheduler(case)
    assert case.not_compared() == []
