"""What the driver waits for, and what it does when that is there. The one place that knows both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Then = Callable[[Any], None]  # gets the ref


class Mailbox:
    """Refs that are awaited. Each is delivered once, to whoever asked for it last."""

    def __init__(self) -> None:
        self._then: dict[Any, Then] = {}

    def on(self, ref: Any, then: Then) -> None:
        """Call `then` with `ref` once the object behind it is there, or has failed."""
        self._then[ref] = then

    @property
    def refs(self) -> list[Any]:
        """All that are awaited, the longest first."""
        return list(self._then)

    def deliver(self, ref: Any) -> None:
        """The object behind `ref` is there."""
        if (then := self._then.pop(ref, None)) is not None:
            then(ref)
