"""The results that the driver waits for, and what it does with each when it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Then = Callable[[Any], None]  # gets the ref


class Mailbox:
    """Refs that are awaited. Each is delivered once, to the latest `then` given for it."""

    def __init__(self) -> None:
        self._then: dict[Any, Then] = {}

    def on(self, ref: Any, then: Then) -> None:
        """Call `then` with `ref` when the object behind it is there, or has failed."""
        self._then[ref] = then

    @property
    def refs(self) -> list[Any]:
        """Return all awaited refs, the oldest first."""
        return list(self._then)

    def deliver(self, ref: Any) -> None:
        """Call what waits for `ref`: the object behind it is there."""
        if (then := self._then.pop(ref, None)) is not None:
            then(ref)
