"""Metrics of a run for Prometheus: figures per stage through `ray.util.metrics`, on every node's metrics port.

The ledger's events only change plain numbers here. A thread passes the numbers to Ray once per second. So a run with
thousands of calls per second needs only a few dozen records per second.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from geoflow.cluster import watch
from geoflow.cluster.processes import private_bytes
from geoflow.engine.load import Load
from geoflow.observe.counts import amounts
from geoflow.observe.metric_names import COUNTERS, RUN_GAUGES, STAGE_GAUGES, Metric, run_metric, stage_metric

_EXPORT_EVERY_S = 1.0
_LEFT_WITHIN_S = 5.0  # time for the exporting thread to end after the run
_TELL_EVERY_SHARE = 0.005  # of the time since the run began
# Times of each stage in one second; with more calls the histogram is a sample (the counters stay exact).
_MOST_SERVICE_TIMES = 50
_SERVICE_BOUNDS_S = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]


class StageSums:
    """Sums by stage of the events since the last `take`. One thread observes, another thread takes."""

    def __init__(self) -> None:
        self._rows: deque[dict[str, Any]] = deque()
        self._levels: dict[str, int] = {}
        self.observe = self._rows.append  # the only work in the driver's thread

    def take(self) -> tuple[dict[str, dict[str, float]], dict[str, list[float]], dict[str, int]]:
        """Return sums and service times by slot since the last call, and the latest ladder levels."""
        sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        service: dict[str, list[float]] = defaultdict(list)
        while self._rows:
            row = self._rows.popleft()
            for name, amount in amounts(row).items():
                sums[row["slot"]][name] += amount
            if row["event"] == "stage_done":
                self._levels[row["slot"]] = row["level"]
                if len(times := service[row["slot"]]) < _MOST_SERVICE_TIMES:
                    times.append(row["seconds"])
        return dict(sums), dict(service), dict(self._levels)


class Metrics:
    """Observes the ledger and exports metrics; `export` needs a running Ray."""

    def __init__(self) -> None:
        self._tally = StageSums()
        self.observe = self._tally.observe

    @contextlib.contextmanager
    def export(self, load: Callable[[], Load], emit: Callable[..., None] | None = None) -> Iterator[None]:
        """Pass the figures to Ray every second until the block ends; `load` is called as often.

        `emit("memory", ...)` records the memory in use: at first every second, later each time the run has become half
        a percent longer. So a run of days adds only a few thousand lines to its ledger.
        """
        records, ended = _Records(), threading.Event()

        def keep_exporting() -> None:
            began = due = time.monotonic()
            while True:
                now = load()
                records.update(self._tally, now)
                if emit is not None and (at := time.monotonic()) >= due and not (watch.lost() or watch.silent()):
                    due = at + _TELL_EVERY_SHARE * (at - began)
                    with contextlib.suppress(Exception):  # without an answer, a line of the ledger is lost
                        emit("memory", **_memory(now))
                if ended.wait(_EXPORT_EVERY_S):
                    return

        thread = threading.Thread(target=keep_exporting, name="geoflow-metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_LEFT_WITHIN_S)
            if not thread.is_alive():  # otherwise it waits for a control service that is gone
                final = load()
                idle = Load(queued=dict.fromkeys(final.queued, 0), running=dict.fromkeys(final.running, 0))
                records.update(self._tally, idle)


def _memory(load: Load) -> dict[str, int]:
    """Return bytes: reserved for segments in flight, held by all nodes' object stores, their capacity, the driver's
    own."""
    import ray

    size = ray.cluster_resources().get("object_store_memory", 0.0)
    free = ray.available_resources().get("object_store_memory", 0.0)
    return {
        "promised_bytes": load.bytes_in_flight,
        "store_bytes": int(size - free),
        "store_size": int(size),
        "driver_bytes": private_bytes(os.getpid()),
    }


class _Records:
    """The metrics as objects of Ray."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter, Gauge, Histogram

        def told(metric: Metric) -> tuple[str, str]:
            return metric.name, metric.text

        self._counters = {key: Counter(*told(m := stage_metric(key)), tag_keys=m.tags) for key in COUNTERS}
        self._gauges = {key: Gauge(*told(m := stage_metric(key)), tag_keys=m.tags) for key in STAGE_GAUGES}
        self._run = {key: Gauge(*told(run_metric(key))) for key in RUN_GAUGES}
        service = stage_metric("service_seconds")
        self._service = Histogram(*told(service), boundaries=_SERVICE_BOUNDS_S, tag_keys=service.tags)

    def update(self, tally: StageSums, load: Load) -> None:
        sums, service, levels = tally.take()
        for slot, row in sums.items():
            for name, value in row.items():
                if value > 0 and name in self._counters:
                    self._counters[name].inc(value, {"slot": slot})
        for slot, times in service.items():
            for seconds in times:
                self._service.observe(seconds, {"slot": slot})
        for name, by_slot in (("queued", load.queued), ("running", load.running), ("ladder_level", levels)):
            for slot, value in by_slot.items():
                self._gauges[name].set(value, {"slot": slot})
        self._run["segments_in_flight"].set(load.segments_in_flight)
        self._run["bytes_in_flight"].set(load.bytes_in_flight)
