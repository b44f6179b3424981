"""What a run will take, from what earlier runs took. Pure functions; what was never measured stays None.

Work is counted in actor-seconds: a stage's seconds per frame times the frames of all segments, those that neighbours
share counted twice. Of the GPU, a stage takes its share for as long as its calls run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_HOUR = 3600.0


@dataclass(frozen=True)
class StageCost:
    """What is known of one stage."""

    slot: str
    seconds_per_frame: float | None  # None: not known
    pixels: int  # of the frames that was measured on
    gpu_share: float | None  # 0: no GPU; None: it is found out by the first call


@dataclass(frozen=True)
class VideoWork:
    """One video as far as time depends on it."""

    frames: int  # of all segments together
    pixels: int
    seconds: float  # how long it plays


@dataclass(frozen=True)
class Estimate:
    """Work by slot and together; None where it is not known."""

    by_slot: dict[str, float | None]
    seconds: float | None
    gpu_seconds: float | None
    at_most: bool  # measured on larger frames than these

    @property
    def unknown(self) -> list[str]:
        """Slots of which no run told."""
        return [slot for slot, seconds in self.by_slot.items() if seconds is None]


def work_of(stages: Sequence[StageCost], video: VideoWork) -> Estimate:
    """What one video takes.

    What was measured on larger frames is an upper bound; what was measured on smaller ones tells nothing.

    >>> prior = StageCost("prior", 0.5, pixels=100, gpu_share=0.25)
    >>> work_of([prior], VideoWork(frames=240, pixels=100, seconds=8.0)).gpu_seconds
    30.0
    >>> work_of([prior], VideoWork(frames=240, pixels=101, seconds=8.0)).unknown
    ['prior']
    """
    by_slot = {stage.slot: _seconds(stage, video) for stage in stages}
    gpu = [_times(by_slot[stage.slot], stage.gpu_share) for stage in stages if stage.gpu_share != 0]
    at_most = any(stage.seconds_per_frame is not None and stage.pixels > video.pixels for stage in stages)
    return Estimate(by_slot, total(by_slot.values()), total(gpu), at_most)


def together(estimates: Sequence[Estimate]) -> Estimate:
    """The work of several videos; unknown as soon as that of one is."""
    slots = list(dict.fromkeys(slot for row in estimates for slot in row.by_slot))
    by_slot = {slot: total(row.by_slot.get(slot) for row in estimates) for slot in slots}
    return Estimate(
        by_slot,
        total(by_slot.values()),
        total(row.gpu_seconds for row in estimates),
        any(row.at_most for row in estimates),
    )


def bottleneck(by_slot: dict[str, float | None], actors: dict[str, int]) -> tuple[str, float] | None:
    """The stage that is done last when none waits, and the seconds its actors take; None while a stage is not known.

    >>> bottleneck({"camera": 100.0, "prior": 90.0}, {"camera": 2, "prior": 1})
    ('prior', 90.0)
    """
    if not by_slot or any(seconds is None for seconds in by_slot.values()):
        return None
    each = {slot: (seconds or 0.0) / actors[slot] for slot, seconds in by_slot.items()}
    slot = max(each, key=lambda name: each[name])
    return slot, each[slot]


def price(gpu_seconds: float | None, played_seconds: float, dollars_per_hour: float) -> tuple[float, float] | None:
    """Dollars in all and per hour of video, of GPUs that never wait; None where their work is not known.

    >>> price(gpu_seconds=7200.0, played_seconds=1800.0, dollars_per_hour=2.5)
    (5.0, 10.0)
    """
    if gpu_seconds is None or played_seconds <= 0:
        return None
    dollars = gpu_seconds / _HOUR * dollars_per_hour
    return dollars, dollars * _HOUR / played_seconds


def total(values: Iterable[float | None]) -> float | None:
    """The sum, None as soon as one of them is."""
    known = list(values)
    return None if any(value is None for value in known) else sum(value or 0.0 for value in known)


def _seconds(stage: StageCost, video: VideoWork) -> float | None:
    if stage.pixels < video.pixels:
        return None
    return _times(stage.seconds_per_frame, float(video.frames))


def _times(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b
