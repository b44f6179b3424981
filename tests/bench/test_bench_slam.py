"""`geoflow bench slam`: runs in processes of their own, and the figures that the tables show."""

from __future__ import annotations

import io

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from rich.console import Console  # noqa: E402

from geoflow.bench.slam import slam_bench  # noqa: E402
from geoflow.bench.slam.adjustment_child import problem  # noqa: E402
from geoflow.bench.slam.held_tensors import held_bytes  # noqa: E402
from geoflow.bench.slam.made_up_walks import KINDS, alike, returning  # noqa: E402
from geoflow.bench.slam.plain_adjustment import plain_adjust  # noqa: E402
from geoflow.models.vipe.adjustment import Adjustment, adjust  # noqa: E402


def test_the_adjustment_and_its_plain_arithmetic_agree() -> None:
    given, chosen = problem(6, 14, (8, 10)), Adjustment(1, 6, 3)
    own, plain = adjust(*given, chosen), plain_adjust(*given, chosen)
    assert (own.poses - given[0].poses).abs().max() > 0.01
    assert torch.allclose(own.poses, plain.poses, atol=1e-5) and torch.allclose(own.disps, plain.disps, atol=1e-4)


def test_tensors_that_are_held_are_counted_once() -> None:
    before = held_bytes()
    held = torch.ones(1000, 1000)
    views = [held[:10], held.flatten()]
    assert 0.9 * 4e6 < held_bytes() - before < 1.1 * 4e6 and len(views) == 2


def test_walks_come_from_their_seed_and_what_looks_alike_is_elsewhere() -> None:
    for recipe in KINDS.values():
        one, other, again = (recipe.make(seed, 30).world_from_cam for seed in (0, 1, 0))
        assert (one == again).all() and (one != other).any()
    flow, same = alike(0, 300).flow(0.0, 0), returning(0, 300).flow(0.0, 0)
    assert torch.allclose(flow.flow(0, 240)[0], flow.pixels, atol=1e-6)  # a lap later, all looks the same
    assert torch.allclose(same.flow(0, 240)[0], same.pixels, atol=1e-6)  # here it is
    gone = alike(0, 300).world_from_cam[240, :3, 3] - alike(0, 300).world_from_cam[0, :3, 3]
    assert abs(gone[0] - 2) < 1e-6


def test_a_summary_counts_what_became_worse() -> None:
    runs = [
        {"before": 0.3, "after": 0.03, "loops": 4},
        {"before": 0.1, "after": 0.1, "loops": 0},
        {"before": 0.1, "after": 0.2, "loops": 1},
    ]
    found = slam_bench.summary(runs)
    assert (found["walks"], found["with_loops"], found["worse"]) == (3, 2, 1)
    assert (found["median_before"], found["median_after"], found["worst_after"]) == (0.1, 0.1, 0.2)


@pytest.mark.slow
def test_memory_and_adjustment_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slam_bench, "_GRID", (12, 16))
    console = Console(file=io.StringIO())
    found = slam_bench.bench_slam(parts=("memory", "adjustment"), frames=(12, 16), size=(160, 120), console=console)
    assert [run["frames"] for run in found["memory"]["runs"]] == [12, 16, 12, 16]
    assert all(run["peak_mb"] > run["loaded_mb"] > 100 for run in found["memory"]["runs"])
    assert 0 < found["adjustment"]["ratios"]["cpu_seconds"] < 1
