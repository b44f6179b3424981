"""The clock of a run: stamps that tell the time of day, and whose differences are durations."""

from __future__ import annotations

import time


class SteadyClock:
    """Seconds since the epoch, read once and counted on from there by the monotonic clock.

    The system's clock may step (by NTP, by hand, in a virtual machine that was paused). Stamps of this one never do, so
    what is rebuilt from a run's ledger adds up. Its error is the sum of the steps since it was made.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset + time.monotonic()
