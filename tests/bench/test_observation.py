"""`geoflow bench observation`: the made-up run is one that the ledger and every observer take."""

from __future__ import annotations

from geoflow.bench.observation import observation


def test_what_watching_costs_is_measured() -> None:
    found = observation(segments=20)
    assert found.pop("events") == 80
    costs = [cost for row in found.values() for cost in (row.values() if isinstance(row, dict) else [row])]
    assert len(costs) == 2 * 4 + 3 and all(cost > 0 for cost in costs)
