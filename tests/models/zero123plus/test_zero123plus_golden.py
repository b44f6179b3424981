"""Zero123++ against the original: steps, pictures and whole runs of the reference data; full-size networks."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_instantmesh as runners  # noqa: E402
from small_object_models import COMPONENTS  # noqa: E402

MODEL = "instantmesh"
# As the reference data's page counts them; in millions where it rounds.
COUNTS = {"unet": (865_910_724, 0), "vae": (83.7e6, 5e4), "vision_encoder": (632e6, 5e5), "text_encoder": (340e6, 5e5)}


@pytest.mark.long
@pytest.mark.parametrize("name", ["scheduler", "preprocess", "zero123plus_tiny", "zero123plus_no_guidance"])
def test_a_case_has_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.RUNNERS[case.kind](case)
    assert case.not_compared() == []


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_networks_have_as_many_parameters_as_the_published_ones(name: str) -> None:
    network_class, config = COMPONENTS[name]
    with torch.device("meta"):
        network = network_class(type(config)())
    wanted, off = COUNTS[name]
    assert abs(sum(value.numel() for value in network.parameters()) - wanted) <= off
