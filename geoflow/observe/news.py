"""News of a run: what did not go as planned, in the words that console and notebook show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from geoflow.engine.schedule import Verdict
from geoflow.observe.events import EVENTS
from geoflow.values.words import counted

_THEN = {
    Verdict.RETRY: "is tried again",
    Verdict.RECOVER: "is tried again when its inputs are computed again",
    Verdict.CHEAPER: "is tried with a cheaper setting",
    Verdict.ALONE: "is tried on a GPU without other models",
    Verdict.SKIP: "is left out for these frames",
}


@dataclass(frozen=True)
class News:
    """A remark: what happened, and the details. Texts are plain, not yet escaped for display."""

    head: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.head}: {self.details}" if self.details else self.head


def news_of(row: dict[str, Any]) -> tuple[News, ...]:
    """Return the remarks for an event; () for most events.

    >>> [str(news) for news in news_of({"event": "stage_disabled", "slot": "hands", "reason": "no pip"})]
    ['going on without hands: no pip']
    """
    tell = _TOLD.get(row["event"])
    return () if tell is None else tuple(tell(row))


def _inputs_left_out(row: dict[str, Any]) -> Iterator[News]:
    yield News(row["folder"], row["reason"])


def _video_unfit(row: dict[str, Any]) -> Iterator[News]:
    yield News(f"{row['video']} is left out", row["reason"])


def _video_noted(row: dict[str, Any]) -> Iterator[News]:
    yield from (News(row["video"], note) for note in row["notes"])


def _video_rewound(row: dict[str, Any]) -> Iterator[News]:
    yield News(f"{row['video']} goes back to the complete work on disk", row["reason"])


def _video_postponed(row: dict[str, Any]) -> Iterator[News]:
    yield News(f"{row['video']} is tried again at the end, with cheaper settings", row["reason"].splitlines()[0])


def _stage_disabled(row: dict[str, Any]) -> Iterator[News]:
    yield News(f"going on without {row['slot']}", row["reason"])


def _stage_failed(row: dict[str, Any]) -> Iterator[News]:
    """Yield a failure after which the video continues. One that ends or postpones it is reported with the video."""
    if (verdict := Verdict(row["verdict"])) not in (Verdict.FAIL, Verdict.LATER):
        message, *more = row["message"].splitlines() or [""]  # Ray's messages have many lines; the ledger has all
        first, stop = row.get("span", (0, 0))
        where = f"frames {first} to {stop - 1}" if stop else f"segment {row['index']}"
        where = f"object {row['object']}" if "object" in row else where
        head = f"{row['slot']} failed on {row['video']} {where}, {_THEN[verdict]}"
        yield News(head, message + (" …" if more else ""))


def _work_unsaved(row: dict[str, Any]) -> Iterator[News]:
    yield News("not saved for resuming", f"{row['slot']}: {row['reason']}")


def _actor_died(row: dict[str, Any]) -> Iterator[News]:
    yield News(f"an actor of {row['slot']} died and is replaced")


def _run_stopping(row: dict[str, Any]) -> Iterator[News]:
    calls = counted(row["running"], "running call")
    yield News("stopping", f"waiting for {calls} to end; interrupt once more to stop at once")


_TOLD: dict[str, Callable[[dict[str, Any]], Iterator[News]]] = {
    EVENTS[tell.__name__.removeprefix("_")].name: tell
    for tell in (
        _inputs_left_out,
        _video_unfit,
        _video_noted,
        _video_rewound,
        _video_postponed,
        _stage_disabled,
        _stage_failed,
        _work_unsaved,
        _actor_died,
        _run_stopping,
    )
}
