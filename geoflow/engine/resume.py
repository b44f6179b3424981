"""Decisions of a resumed run, as pure functions: where each video continues, and which stages run on each segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from enum import Enum
from typing import TypeVar

from geoflow.engine.graph import Graph

Row = TypeVar("Row")


class Action(str, Enum):
    """What to do with a stage on a segment."""

    RUN = "run"
    RESTORE = "restore"  # its result is on disk and needed
    UNNEEDED = "unneeded"  # no stage needs its result any more


def choose_actions(
    graph: Graph, saved: Set[int], absent: Set[int] = frozenset(), *, ahead: bool = False
) -> tuple[Action, ...]:
    """Return the action for each step, going backwards from the final steps.

    Stages whose results no other stage reads run, since they write files. Ordered stages also run, since they carry
    their state to the next segment, unless result and state are saved. A result is needed if a stage that runs reads
    it. It is restored if it is saved; otherwise its stage runs, and the inputs of that stage are needed, too.
    Stages in `absent` are known to give nothing, so they need no inputs.

    With `ahead`, the final steps are those that condense fields for surveys; otherwise they are not needed.
    """
    actions = [Action.UNNEEDED] * len(graph.steps)
    for row in reversed(graph.steps):
        children = graph.children[row.index]
        readers = [child for child in children if actions[child] is Action.RUN and child not in absent]
        final = row.condenses if ahead else not row.condenses and (row.ordered or not children or row.index in absent)
        if final or readers:
            can_restore = row.index in saved and (children or row.condenses)
            actions[row.index] = Action.RESTORE if can_restore else Action.RUN
    return tuple(actions)


def below_order(graph: Graph) -> frozenset[int]:
    """Return ordered steps and all steps downstream of one: their results depend on all earlier segments."""
    found: set[int] = set()
    for row in graph.steps:
        if row.ordered or row.parents & found:
            found.add(row.index)
    return frozenset(found)


def finished_prefix(rows: Iterable[Row], valid: Callable[[Row], bool], can_go_on: Callable[[Row], bool]) -> list[Row]:
    """Return the finished segments to keep: valid segments from the first on without a gap, up to the last segment
    after which the ordered stages can continue.

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
