"""Every metric that GeoFlow exports: its name, what it counts, its labels. This is the only list of them.

`metrics` records them through Ray, `dashboard` queries them, and the tests compare both with this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_RAY = "ray_"  # what Ray puts before the name of every metric

COUNTERS = {
    "calls": "successful calls",
    "busy_seconds": "seconds that actors worked, failed calls included",
    "bytes": "bytes of fields returned",
    "retries": "failed calls that were retried",
    "restarts": "actors that died",
}
STAGE_GAUGES = {
    "queued": "segments that wait for an actor",
    "running": "actors at work",
    "ladder_level": "level of the stage's ladder in its latest call; 0 is the full setting",
}
STAGE_HISTOGRAMS = {"service_seconds": "seconds of one successful call"}
RUN_GAUGES = {
    "segments_in_flight": "segments between admission and their last stage",
    "bytes_in_flight": "bytes of the object store reserved for segments in flight",
}


@dataclass(frozen=True)
class Metric:
    """One metric, as it is defined in Ray."""

    name: str
    text: str
    kind: Literal["counter", "gauge", "histogram"]
    tags: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names of its time series in Prometheus.

        >>> stage_metric("calls").series, run_metric("bytes_in_flight").series
        (('ray_geoflow_stage_calls_total',), ('ray_geoflow_bytes_in_flight',))
        """
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[self.kind]
        return tuple(f"{_RAY}{self.name}{end}" for end in ends)


def stage_metric(key: str) -> Metric:
    """Return the metric of stages with the name `key` in this table."""
    for kind, rows in (("counter", COUNTERS), ("gauge", STAGE_GAUGES), ("histogram", STAGE_HISTOGRAMS)):
        if key in rows:
            return Metric(f"geoflow_stage_{key}", rows[key], kind, ("slot",))  # type: ignore[arg-type]
    raise KeyError(key)


def run_metric(key: str) -> Metric:
    """Return the metric of a whole run with the name `key` in this table."""
    return Metric(f"geoflow_{key}", RUN_GAUGES[key], "gauge")


def all_metrics() -> list[Metric]:
    """Return every metric, metrics of stages first."""
    return [stage_metric(key) for key in (*COUNTERS, *STAGE_GAUGES, *STAGE_HISTOGRAMS)] + [
        run_metric(key) for key in RUN_GAUGES
    ]
