"""The metrics: sums without Ray, and what a real run puts on the node's Prometheus port."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_runs import prober
from ledger_events import one_run

from geoflow.cluster.session import Capacity
from geoflow.engine.executor import Executor
from geoflow.engine.intake import Limits
from geoflow.observe.metric_names import COUNTERS, RUN_GAUGES, STAGE_GAUGES, all_metrics
from geoflow.observe.metrics import Metrics, StageSums
from geoflow.pipeline import Pipeline
from geoflow.video.inputs import Input


def test_events_add_up_by_stage_and_are_taken_once() -> None:
    tally = StageSums()
    for row in one_run():
        tally.observe(row)
    sums, service, levels = tally.take()
    assert sums["prior"] == {
        "busy_seconds": pytest.approx(0.5 + 0.5 + 2.0 + 0.4),
        "calls": 2,
        "bytes": 2000,
        "failures": 2,
        "retries": 2,
        "restarts": 1,
    }
    assert service == {"decode": [0.5, 0.5], "prior": [0.5, 2.0]}
    assert levels == {"decode": 0, "prior": 0}  # of the latest call
    assert tally.take() == ({}, {}, levels)


def test_a_flood_of_calls_keeps_the_sums_exact_and_samples_the_times() -> None:
    tally = StageSums()
    for index in range(10_000):
        tally.observe({"event": "stage_done", "slot": "a", "seconds": 0.5, "bytes": 2, "level": 0, "index": index})
    sums, service, _ = tally.take()
    assert sums["a"]["calls"] == 10_000 and sums["a"]["bytes"] == 20_000
    assert len(service["a"]) <= 50


def scrape(wanted: Callable[[str], Any]) -> Any:
    """What `wanted` finds on the node's metrics port; Ray brings new figures there every few seconds."""
    import ray

    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if found := wanted(answer.read().decode()):
                    return found
        except OSError:  # the agent is still coming up
            pass
        time.sleep(0.5)
    raise AssertionError(f"not found within 60 s at {url}")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_real_run_is_seen_by_prometheus(tmp_path: Path) -> None:
    folder = {"folder": str(tmp_path)}
    stages = [
        {"slot": "seen_decode", "backend": "engine_stages:Source", "num_cpus": 0.5},
        {"slot": "seen_prior", "backend": "engine_stages:Prior", "params": {**folder, "mode": "raise-once"}},
        {"slot": "seen_stitch", "backend": "engine_stages:Sum", "params": folder, "num_cpus": 0.5},
    ]
    pipe = Pipeline.from_dict({"name": "seen", "segment": {"size": 12, "overlap": 4}, "stages": stages})
    metrics, rows = Metrics(), []

    def emit(event: str, **data: Any) -> None:
        rows.append({"event": event, **data})
        metrics.observe(rows[-1])

    executor = Executor(
        pipe,
        prober(40),
        Limits(),
        Capacity(cpus=2, gpus=0, budget_bytes=1 << 28),
        emit=emit,
    )
    idle = executor.load()
    assert not any(idle.queued.values()) and not any(idle.running.values()) and idle.segments_in_flight == 0
    with metrics.export(executor.load, emit):
        (video,) = executor.run([Input("a", "/videos/a.mp4")])
        busy = executor.load()
    assert video.status == "complete"
    assert (busy.segments_in_flight, busy.bytes_in_flight) == (0, 0)
    seconds = sum(row["seconds"] for row in rows if row["event"] == "stage_done" and row["slot"] == "seen_decode")
    assert executor.measured["seen_decode"].seconds_per_frame == pytest.approx(seconds / (4 * 12 + 8))
    calls = video.num_segments
    memory = [row for row in rows if row["event"] == "memory"]
    assert memory and 0 <= memory[0]["store_bytes"] <= memory[0]["store_size"] and memory[0]["driver_bytes"] > 1e6
    assert any(row.get("private_bytes", 0) > 1e6 for row in rows if row["event"] == "stage_done")

    def counted(page: str) -> bool:
        return bool(re.search(rf'geoflow_stage_calls_total{{[^}}]*slot="seen_prior"[^}}]*}} {calls}\.0', page))

    page = scrape(lambda page: page if counted(page) and "geoflow_stage_retries_total" in page else "")
    for name in ("calls", "busy_seconds", "bytes", "retries"):
        assert name in COUNTERS and f"ray_geoflow_stage_{name}_total" in page
    for name in (*(f"stage_{name}" for name in STAGE_GAUGES), *RUN_GAUGES):
        assert f"ray_geoflow_{name}{{" in page
    assert re.search(rf'geoflow_stage_service_seconds_count{{[^}}]*slot="seen_prior"[^}}]*}} {calls}\.0', page)
    rows = re.findall(r"^(ray_geoflow_\w+){([^}]*)}", page, re.MULTILINE)
    assert {name for name, _ in rows} <= {series for metric in all_metrics() for series in metric.series}
    assert all("SessionName=" in labels for _, labels in rows), "the dashboard tells sessions apart by it"
