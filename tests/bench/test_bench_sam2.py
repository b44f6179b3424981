"""`geoflow bench sam2`, and the GPU step rehearsed on a CPU with a small network."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from rich.console import Console  # noqa: E402

from geoflow.bench.sam2.gpu_objects import measure_objects  # noqa: E402
from geoflow.bench.sam2.made_up_sam2 import published_network  # noqa: E402
from geoflow.bench.sam2.sam2_bench import bench_sam2  # noqa: E402

pytestmark = pytest.mark.long


def test_what_is_kept_of_every_frame_makes_the_difference() -> None:
    """Two objects at 128 px: a kept frame takes 0.2 MB for itself and 0.1 MB and more for each of them."""
    found = bench_sam2(frames=160, objects=2, size=128, every=40, console=Console(quiet=True))
    assert [row["frame"] for row in found["pruned"]] == [40, 80, 120, 160]
    assert len({row["state_mb"] for row in found["pruned"]}) == 1
    assert found["growth_mb"]["kept"] > found["growth_mb"]["pruned"] + 8


def test_the_step_of_a_visit_to_a_gpu_runs() -> None:
    job = {"device": "cpu", "model": "large", "dtype": "bfloat16", "small": True, "size": 64, "frames": 3}
    first, encode, one, two = measure_objects({**job, "objects": [1, 2]})
    assert first["device"] == "cpu" and encode["stage"] == "encode"
    assert (one["objects"], two["objects"]) == (1, 2) and one["frames_per_s"] > 0


def test_made_up_networks_are_as_large_as_the_published() -> None:
    """Numbers of weights that the authors state: 38.9 M (tiny) and 224.4 M (large)."""
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in published_network(name).parameters()) for name in ("tiny", "large")}
    assert counts["tiny"] / 1e6 == pytest.approx(38.9, abs=0.1) and counts["large"] / 1e6 == pytest.approx(
        224.4, abs=0.1
    )
