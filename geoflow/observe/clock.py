"""The clock of a run: its times are times of day, and their differences are durations."""

from __future__ import annotations

import time


class SteadyClock:
    """Seconds since the epoch: read once from the system, then counted by the monotonic clock.

    The system's clock may step (by NTP, by hand, in a virtual machine that was paused). This clock never steps, so
    durations computed from a run's ledger are consistent. Its error is the sum of the system's steps since it was made.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()
