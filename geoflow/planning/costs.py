"""Estimates of a run's work from what earlier runs measured. Pure functions; what was never measured stays None.

Work is counted in actor-seconds: a stage's seconds per frame times the frames of all segments; frames shared by
neighbours count twice. On the GPU a stage takes its share for as long as its calls run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_HOUR = 3600.0


@dataclass(frozen=True)
class StageCost:
    """What is known of one stage."""

    slot: str
    seconds_per_frame: float | None  # None: unknown
    pixels: int  # of the measured frames
    gpu_share: float | None  # 0: no GPU; None: measured by the first call


@dataclass(frozen=True)
class VideoWork:
    """The properties of one video that time depends on."""

    frames: int  # of all segments together
    pixels: int
    seconds: float  # the video's length


@dataclass(frozen=True)
class Estimate:
    """Work by slot and in total; None if unknown."""

    by_slot: dict[str, float | None]
    seconds: float | None
    gpu_seconds: float | None
    at_most: bool  # an upper bound: measured on larger frames than these

    @property
    def unknown(self) -> list[str]:
        """Return the slots that no run has measured."""
        return [slot for slot, seconds in self.by_slot.items() if seconds is None]


def work_of(stages: Sequence[StageCost], video: VideoWork) -> Estimate:
    """Return the work of one video.

    A measurement on larger frames is an upper bound; a measurement on smaller frames tells nothing.

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
    """Return the work of several videos; it is unknown if that of one video is."""
    slots = list(dict.fromkeys(slot for row in estimates for slot in row.by_slot))
    by_slot = {slot: total(row.by_slot.get(slot) for row in estimates) for slot in slots}
    return Estimate(
        by_slot,
        total(by_slot.values()),
        total(row.gpu_seconds for row in estimates),
        any(row.at_most for row in estimates),
    )


def bottleneck(by_slot: dict[str, float | None], actors: dict[str, int]) -> tuple[str, float] | None:
    """Return the stage that ends last if no stage waits, and its actors' seconds; None if a stage is unknown.

    >>> bottleneck({"camera": 100.0, "prior": 90.0}, {"camera": 2, "prior": 1})
    ('prior', 90.0)
    """
    if not by_slot or any(seconds is None for seconds in by_slot.values()):
        return None
    each = {slot: (seconds or 0.0) / actors[slot] for slot, seconds in by_slot.items()}
    slot = max(each, key=lambda name: each[name])
    return slot, each[slot]


def price(gpu_seconds: float | None, played_seconds: float, dollars_per_hour: float) -> tuple[float, float] | None:
    """Return dollars in total and per hour of video, for GPUs that never wait; None if their work is unknown.

    >>> price(gpu_seconds=7200.0, played_seconds=1800.0, dollars_per_hour=2.5)
    (5.0, 10.0)
    """
    if gpu_seconds is None or played_seconds <= 0:
        return None
    dollars = gpu_seconds / _HOUR * dollars_per_hour
    return dollars, dollars * _HOUR / played_seconds


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum, None if one of the values is None."""
    known = list(values)
    return None if any(value is None for value in known) else sum(value or 0.0 for value in known)


def _seconds(stage: StageCost, video: VideoWork) -> float | None:
    if stage.pixels < video.pixels:
        return None
    return _times(stage.seconds_per_frame, float(video.frames))


def _times(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b
