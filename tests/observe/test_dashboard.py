"""The Grafana dashboard asks for what is exported, all of it, and nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from geoflow.files import resources
from geoflow.observe.dashboard import dashboard, panels
from geoflow.observe.metric_names import all_metrics


def shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((resources.folder("configs/grafana") / "geoflow.json").read_text())
    return found


def queries() -> list[str]:
    return [target["expr"] for panel in shipped()["panels"] for target in panel["targets"]]


def test_what_is_shipped_is_what_the_names_give() -> None:
    assert shipped() == dashboard(), "python -m geoflow.observe.dashboard > configs/grafana/geoflow.json"


def test_every_metric_is_asked_for_and_no_other() -> None:
    exported = {series: metric.name for metric in all_metrics() for series in metric.series}
    variables = [json.dumps(row["query"]) for row in shipped()["templating"]["list"]]
    asked = set(re.findall(r"ray_\w+", " ".join(queries() + variables)))
    assert asked <= exported.keys(), "not exported"
    assert {exported[series] for series in asked} == {metric.name for metric in all_metrics()}, "left out"


def test_queries_are_promql_and_keep_to_what_was_chosen() -> None:
    promql = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    stages = {series for metric in all_metrics() if metric.tags for series in metric.series}
    for query in queries():
        promql.parse(query.replace("$__rate_interval", "1m"))
        for series, labels in re.findall(r"(ray_\w+){([^}]*)}", query):
            assert 'SessionName=~"$session"' in labels
            assert ('slot=~"$slot"' in labels) == (series in stages)


def test_panels_lie_beside_one_another_and_are_told_apart() -> None:
    found = shipped()["panels"]
    assert len(found) == len(panels())
    cells = Counter(
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in found)
        for x in range(place["w"])
        for y in range(place["h"])
    )
    assert max(cells.values()) == 1 and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in found}) == len({panel["title"] for panel in found}) == len(found)
