"""The ledger's schema: the writer keeps to it, and so does every event that the engine gives."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from ledger_events import filled, one_run

from geoflow.observe import events
from geoflow.observe.events import EVENTS, check, named, problems, reference_rows
from geoflow.observe.ledger import Ledger, read_events

LIBRARY = Path(__file__).parents[2] / "geoflow"


def test_an_unknown_event_and_a_missing_field_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "events.jsonl") as ledger:
        with pytest.raises(KeyError, match="stage_dnoe"):
            ledger.emit("stage_dnoe", video="a")
        with pytest.raises(TypeError, match="video_failed lacks reason"):
            ledger.emit("video_failed", video="a")
        ledger.emit("video_failed", video="a", reason="torn")
    assert [row["event"] for row in read_events(tmp_path / "events.jsonl")] == ["video_failed"]


def test_what_is_wrong_with_a_line_is_said() -> None:
    good = {"time": 1.0, "event": "video_failed", "video": "a", "reason": "torn", "traceback": ""}
    assert problems(good) == []
    assert problems({**good, "event": "video_gone"}) == ["there is no event 'video_gone'"]
    assert problems({**good, "reasons": ""}) == ["video_failed has no field reasons"]
    assert problems({**good, "reason": 3}) == ["video_failed.reason should be str, found 3"]
    del good["reason"]
    assert problems(good) == ["video_failed lacks reason"]
    open_end = {"event": "video_complete", "video": "a", "seconds": 3, "frames_posed": 7}
    assert problems(open_end) == [], "what `finish` returned is anybody's"


def test_the_events_of_the_tests_are_such_as_runs_give() -> None:
    assert [line for row in one_run() for line in problems(row)] == []
    for name in EVENTS:
        check(name, filled(name))


def emitted() -> dict[str, set[str]]:
    """Event -> the modules that emit it, by reading every call of `emit("name", ...)` in the library."""
    found: dict[str, set[str]] = {}
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            if ast.unparse(node.func).rpartition(".")[2].lstrip("_") == "emit":
                found.setdefault(node.args[0].value, set()).add(path.name)
    return found


def test_the_table_holds_exactly_what_the_library_emits() -> None:
    assert emitted().keys() == EVENTS.keys()


def test_readers_can_only_look_for_events_that_there_are() -> None:
    with pytest.raises(KeyError):
        named("stage_done", "stage_dnoe")


def test_the_reference_has_a_row_for_every_event_and_field() -> None:
    rows = list(reference_rows())
    assert len(rows) == sum(1 + len(row.fields) for row in EVENTS.values())
    assert all(meaning for *_, meaning in rows)
    assert ("stage_done", "private_bytes", "int?", "memory of the actor's process; not in every event") in rows


def test_checking_costs_next_to_nothing() -> None:
    """It is done for every event in the driver, thousands of times a second: 0.3 us, with room for noise."""
    import timeit

    data = filled("stage_done")
    seconds = min(timeit.repeat(lambda: events.check("stage_done", data), number=10_000, repeat=5)) / 10_000
    assert seconds < 10e-6
