"""Probing: a video's metadata comes back to the driver, its frame tables stay in the object store.

A separate process takes half a second to start, and 60 MB. So a video is probed in an existing actor, as long as
probing is quick enough not to delay the actor's own work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from geoflow.engine.actor.wire import pack
from geoflow.engine.graph import PROBED
from geoflow.engine.outcome import Outcome
from geoflow.engine.schedule import probes_in_actors
from geoflow.segments import VideoInfo
from geoflow.video.inputs import Input

Probe = Callable[[Input], tuple[VideoInfo, dict[str, Any]]]


class Probes:
    """Starts probes. `host()` returns whether there are actors with the driver's own environment, and a free one."""

    def __init__(self, probe: Probe, host: Callable[[], tuple[bool, Any]]) -> None:
        self._probe, self._host = probe, host
        self._seconds: float | None = None  # the longest so far
        self._running = 0

    def start(self, item: Input, *, again: bool = False) -> list[Any] | None:
        """Start a probe. Return the refs of the outcome and of each array of `PROBED`; None if the probe must wait.

        The value of the outcome is (VideoInfo, names of its arrays).

        `again`: the actor of the first try has died.
        """
        there, handle = self._host()
        if again or not there or not probes_in_actors(self._seconds):
            refs = self._submit_task(item)
        elif handle is None or (self._running and self._seconds is None):  # the first shows how long probing takes
            return None
        else:
            refs = handle.probe.options(num_returns=1 + len(PROBED)).remote(self._probe, item)
        self._running += 1
        return refs

    def ended(self, outcome: Outcome) -> None:
        self._running -= 1
        if outcome.began is not None:
            self._seconds = max(self._seconds or 0.0, outcome.seconds)

    def _submit_task(self, item: Input) -> list[Any]:
        import ray

        # No CPU is booked: the pools may hold all CPUs, and few probes run at a time.
        task = ray.remote(run_probe).options(num_cpus=0, num_returns=1 + len(PROBED), max_retries=2)
        refs: list[Any] = task.remote(self._probe, item)
        return refs


def run_probe(probe: Probe, item: Input) -> tuple[Any, ...]:
    """Probe, in an actor or a task. Return the outcome and the arrays of `PROBED`, packed."""
    from geoflow.engine.actor.worker import describe

    began, clock = time.time(), time.monotonic()
    try:
        info, arrays = probe(item)
    except Exception as error:
        failed = Outcome(describe(error), began=began, seconds=time.monotonic() - clock)
        return (failed, *([None] * len(PROBED)))
    told = Outcome(value=(info, tuple(arrays)), began=began, seconds=time.monotonic() - clock)
    return (told, *[pack(arrays[name]) if name in arrays else None for name in PROBED])
