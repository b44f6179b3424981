"""The load of an executor at one moment, for observers outside the executor."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Load:
    """The work that waits and runs in an executor at one moment."""

    segments_in_flight: int = 0
    bytes_in_flight: int = 0
    queued: dict[str, int] = field(default_factory=dict)  # by slot
    running: dict[str, int] = field(default_factory=dict)
