"""The Grafana dashboard of GeoFlow's metrics, `configs/grafana/geoflow.json`.

`python -m geoflow.observe.dashboard > configs/grafana/geoflow.json` writes it again. A test fails if the file is
out of date, leaves a metric out or queries a metric that is not exported.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from geoflow.observe.metric_names import run_metric, stage_metric

_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8  # Grafana's grid, and a panel in it
_WINDOW = "$__rate_interval"  # Grafana's own: at least four scrapes
# One Prometheus may hold several Ray sessions: each session, and each of its stages, can be shown alone.
_SESSION = 'SessionName=~"$session"'
_STAGE = f'{_SESSION}, slot=~"$slot"'


class Panel(NamedTuple):
    """A panel: its queries with the names of their lines, and the unit as Grafana names it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    text: str


def _gauge(key: str) -> str:
    return f"sum by (slot) ({stage_metric(key).series[0]}{{{_STAGE}}})"


def _rate(key: str, series: int = 0) -> str:
    return f"sum by (slot) (rate({stage_metric(key).series[series]}{{{_STAGE}}}[{_WINDOW}]))"


def _increase(key: str) -> str:
    return f"sum by (slot) (increase({stage_metric(key).series[0]}{{{_STAGE}}}[{_WINDOW}]))"


def _quantile(share: float) -> str:
    bucket = stage_metric("service_seconds").series[0]
    return f"histogram_quantile({share}, sum by (slot, le) (rate({bucket}{{{_STAGE}}}[{_WINDOW}])))"


def _of_run(key: str) -> str:
    return f"sum({run_metric(key).series[0]}{{{_SESSION}}})"


def panels() -> list[Panel]:
    """Every panel, from the whole run to single stages."""
    slot = "{{slot}}"
    return [
        Panel("Segments in flight", "short", ((_of_run("segments_in_flight"), "segments"),), "admitted, not finished"),
        Panel("Bytes in flight", "bytes", ((_of_run("bytes_in_flight"), "promised"),), "of the object store"),
        Panel("Bytes given", "Bps", ((_rate("bytes"), slot),), "fields that stages hand on"),
        Panel("Calls per second", "ops", ((_rate("calls"), slot),), "segments that stages finish"),
        Panel("Actors at work", "short", ((_gauge("running"), slot),), "at this moment"),
        Panel("Segments that wait", "short", ((_gauge("queued"), slot),), "the longest queue is before the limit"),
        Panel(
            "Busy actors", "short", ((_rate("busy_seconds"), slot),), "seconds of work per second, of failed calls too"
        ),
        Panel(
            "Seconds per call",
            "s",
            ((f"{_rate('busy_seconds')} / {_rate('calls')}", slot),),
            "busy seconds over calls that succeeded",
        ),
        Panel(
            "Seconds per call, spread",
            "s",
            ((_quantile(0.5), f"{slot} half"), (_quantile(0.95), f"{slot} 95 %")),
            "of a sample where calls are many",
        ),
        Panel("Calls tried again", "short", ((_increase("retries"), slot),), "failed calls"),
        Panel("Actors that died", "short", ((_increase("restarts"), slot),), "and were replaced"),
        Panel("Ladder level", "short", ((_gauge("ladder_level"), slot),), "0: full settings; more: memory ran out"),
    ]


def dashboard() -> dict[str, Any]:
    """Return the dashboard, for Grafana to import or to read from a configured folder of dashboards."""
    rows = [_panel(index, panel) for index, panel in enumerate(panels())]
    series = stage_metric("calls").series[0]
    variables = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        _variable("session", "Ray session", f"label_values({series}, SessionName)"),
        _variable("slot", "stage", f"label_values({series}{{{_SESSION}}}, slot)"),
    ]
    return {
        "uid": "geoflow",
        "title": "GeoFlow",
        "tags": ["geoflow", "ray"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair in all panels
        "refresh": "10s",  # as often as Ray exports new figures
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": variables},
        "panels": rows,
    }


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    per_row = _COLUMNS // _WIDTH
    place = {"x": index % per_row * _WIDTH, "y": index // per_row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": source, "expr": query, "legendFormat": name}
            for n, (query, name) in enumerate(panel.queries)
        ],
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes (Grafana's code)
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
