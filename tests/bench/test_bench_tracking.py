"""`geoflow bench tracking`: both ways in processes of their own, and the ratios that the table shows."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from rich.console import Console

from geoflow.bench.tracking.tracking_bench import bench_tracking


@pytest.mark.slow
def test_both_ways_are_measured_and_memory_over_the_length() -> None:
    found = bench_tracking(
        queries=(4,), frames=16, size=(256, 192), iterations=1, lengths=(16, 32), console=Console(file=io.StringIO())
    )
    assert [(run["way"], run["frames"]) for run in found["runs"]] == [
        ("ours", 16),
        ("plain", 16),
        ("ours", 16),
        ("ours", 32),
    ]
    assert all(run["cpu_seconds"] > 0 and run["peak_mb"] > run["loaded_mb"] > 100 for run in found["runs"])
    assert 0.9 < found["ratios"]["peak_growth"] < 1.2 and found["ratios"]["cpu_seconds_4"] > 0
