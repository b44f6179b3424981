"""What a resumed run does again, as pure functions: per video where it goes on, per segment what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from enum import Enum
from typing import TypeVar

from geoflow.engine.graph import Graph

Row = TypeVar("Row")


class Action(str, Enum):
    """What becomes of a stage on a segment."""

    RUN = "run"
    RESTORE = "restore"  # its result is on disk and wanted
    UNNEEDED = "unneeded"  # nobody wants its result any more


def choose_actions(graph: Graph, saved: Set[int], absent: Set[int] = frozenset()) -> tuple[Action, ...]:
    """Per step, walking back from what the segment is there for.

    Stages that nobody reads from act on the world outside (they write), so they run. So do ordered stages, which
    carry their state to the next segment, unless result and state are saved. A result is wanted if a stage that
    runs reads it; it is restored where it is saved, else its stage runs, and what that one reads is wanted too.
    Stages in `absent` are known to give nothing; to find that out again they need nothing.
    """
    actions = [Action.UNNEEDED] * len(graph.steps)
    for row in reversed(graph.steps):
        children = graph.children[row.index]
        readers = [child for child in children if actions[child] is Action.RUN and child not in absent]
        if row.ordered or not children or readers or row.index in absent:
            actions[row.index] = Action.RESTORE if row.index in saved and children else Action.RUN
    return tuple(actions)


def below_order(graph: Graph) -> frozenset[int]:
    """Ordered steps and everything downstream of one: their results hang on all earlier segments."""
    found: set[int] = set()
    for row in graph.steps:
        if row.ordered or row.parents & found:
            found.add(row.index)
    return frozenset(found)


def finished_prefix(rows: Iterable[Row], valid: Callable[[Row], bool], can_go_on: Callable[[Row], bool]) -> list[Row]:
    """The finished segments that are kept: those from the first one on that are valid without a gap, up to the
    last one after which the ordered stages can go on.

    >>> finished_prefix([0, 1, 2, 3], valid=lambda k: k < 3, can_go_on=lambda k: k != 2)
    [0, 1]
    """
    kept: list[Row] = []
    for row in rows:
        if not valid(row):
            break
        kept.append(row)
    while kept and not can_go_on(kept[-1]):
        kept.pop()
    return kept
