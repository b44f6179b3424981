"""The networks in Jittor against the original ones, with the tolerances of the PyTorch networks; one process for all.

Jittor is compiled where it has not been yet: minutes of all cores, once on a machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import golden
import golden_geometrycrafter_jittor as runners
import golden_run
import pytest
from kept_jittor import CACHE, needs_compiler

MODEL = "geometrycrafter"

pytestmark = [pytest.mark.slow, pytest.mark.env, needs_compiler]


@pytest.fixture(scope="module", autouse=True)
def prepared() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOFLOW_CACHE", str(CACHE))
        try:
            runners.prepare()
        except golden.Unusable as error:
            if "package index" in str(error) or "has no Python" in str(error):
                pytest.skip(str(error))
            raise
        yield


@pytest.mark.parametrize(
    "name",
    [
        *("scheduler", "priors", "clip"),
        *("unet_in12_tiny", "unet_in8_tiny", "unet_in12_mid", "unet_in12_eps"),
        *("point_map_vae_tiny", "point_map_vae_mid", "codec", "codec_eps"),
        *("pipeline_determ", "pipeline_determ_resize", "pipeline_diff", "pipeline_diff_cfg_resize"),
    ],
)
def test_the_networks_in_jittor_have_the_originals_numbers(name: str) -> None:
    case = golden.Strict(MODEL, name)
    runners.run(case)
    assert set(case.not_compared()) <= {"encode.logvar"}, "which passes through and is not used"


def test_low_memory_changes_nothing_but_rounding() -> None:
    runners.run(golden.Strict(MODEL, "pipeline_diff_cfg_resize"), low_memory_usage=True)


@pytest.mark.parametrize("name", ["unet_in12_tiny", "point_map_vae_tiny", "clip"])
def test_a_few_frames_and_queries_at_a_time_give_the_same_numbers(name: str) -> None:
    """As for large videos, whose maps would not fit at once."""
    runners.run(golden.Strict(MODEL, name), in_parts=True)


def test_full_size_networks_have_the_published_keys_and_shapes() -> None:
    rows = golden.listed(MODEL, "keys_full.json", runners.LISTS)
    assert {row.output for row in rows} == {"unet_diff", "unet_determ", "point_map_vae", "vae", "image_encoder"}
    assert all(row.right for row in rows), rows


def test_other_sizes_options_and_weights_are_those_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The results to meet are the PyTorch networks' own; for depths the reference data allows 1e-4 and more."""
    pytest.importorskip("torch", reason="torch is not installed")
    import other_golden

    other_golden.make(tmp_path, atol=1e-4)
    status = golden_run.main(["geometrycrafter_jittor", str(tmp_path)])
    assert "1 cases, 4 results compared" in capsys.readouterr().out and status == 0
