"""`geoflow bench bridge`: both ways are measured, give the same bytes, and the other Python is named."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from geoflow.bench.bridge_bench import bench_bridge


@pytest.mark.long
def test_both_ways_are_measured() -> None:
    found = bench_bridge(megabytes=2, seconds=0.05, calls=2, console=Console(file=io.StringIO()))
    assert [(run["way"], run["seconds"]) for run in found["runs"]] == [
        ("actor", 0.05), ("bridge", 0.05), ("actor", 0.0), ("bridge", 0.0)
    ]  # fmt: skip
    assert all(run["wall_seconds"] >= run["seconds"] and run["cpu_seconds"] >= 0 for run in found["runs"])
    assert found["python"].endswith(sys.executable) and set(found["ratios"]) >= {"wall_0.05", "cpu_0.05"}
    assert found["ratios"]["wall_0"] > 1, "two copies more take some time"
