"""Restoring saved work as Ray tasks: fields go from the disk to the object store, without a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from geoflow.engine.actor.wire import pack, pack_state
from geoflow.engine.actor.workfiles import DamagedWork, SaveTo, load, load_state
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import Failure, Outcome
from geoflow.engine.schedule import Kind

_AT_ONCE = 4  # each task holds a segment's fields in memory, for a moment twice


class Restores:
    """Restores saved results, a few at a time, in the order of the requests."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._waiting: deque[tuple[SaveTo, Sequence[str] | None, Callable[[list[Any], Any], None]]] = deque()
        self._running = 0

    def add(self, saved: SaveTo, names: Sequence[str] | None, then: Callable[[list[Any], Any], None]) -> None:
        """Request the fields `names` (None if a field was not saved) and the state of an ordered stage.

        Without `names`, all saved arrays come in one dict, as for a survey's result.

        `then` gets the refs of all of these, and the ref of the outcome.
        """
        self._waiting.append((saved, names, then))

    def start(self) -> None:
        """Start as many requests as may run."""
        import ray

        while self._waiting and self._running < _AT_ONCE:
            saved, names, then = self._waiting.popleft()
            # No CPU is booked: the pools may hold all CPUs.
            objects = 1 if names is None else 1 + len(names)
            task = ray.remote(_read).options(num_cpus=0, num_returns=1 + objects, max_retries=2)
            outcome, *refs = task.remote(saved, None if names is None else list(names))
            self._running += 1
            self._mailbox.on(outcome, self._done(refs, then))

    def _done(self, refs: list[Any], then: Callable[[list[Any], Any], None]) -> Callable[[Any], None]:
        def done(outcome: Any) -> None:
            self._running -= 1
            then(refs, outcome)

        return done


def _read(saved: SaveTo, names: list[str] | None) -> tuple[Any, ...]:
    assert saved.fields is not None
    try:
        arrays, meta = load(saved.fields)
        state = load_state(saved.state) if saved.state else {}
    except DamagedWork as error:
        return (Outcome(Failure(Kind.SAVED, str(error))), *([None] * (1 + len(names or ()))))
    outcome = Outcome(value=meta, bytes={name: array.nbytes for name, array in arrays.items()})
    if names is None:
        return (outcome, {name: pack(array) for name, array in arrays.items()})
    return (outcome, *[pack(arrays[name]) if name in arrays else None for name in names], pack_state(state))
