"""The engine's decisions, as pure functions: what runs next, what may start, what a failure means, pool sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

COALESCE_BELOW_S = 0.002  # a call to an actor costs about this much
BATCH_S = 0.02  # a coalesced call should not last longer: nothing else runs on that worker meanwhile
MAX_BATCH = 256
PROBE_BELOW_S = 0.1  # longer probes would hold up the actor they run in
LEAD_S, LEAD_FRACTION = 0.04, 0.1
SETTLED_AFTER = 5  # measurements of a worker's memory; its memory then counts as what it needs
LEAK_FACTOR, LEAK_BYTES = 2, 1 << 30
HUNG_FACTOR = 20.0  # times the longest call so far
UNMEASURED_FACTOR = 12.0  # times the least deadline, for a stage's very first calls
MIN_MEASURED = 3  # calls of each stage before the plan of the GPUs is compared with measurements
MAX_DEATHS_IN_A_ROW = 3  # without a finished call in between: then the stage itself is the cause
MAX_RECOVERIES = 8  # of one call's arguments: each time a node was lost, which is not the segment's fault
WELL_FED = 2.0  # segments waiting per worker; a stage with more is fed after the others
LAST_STAGE_HUNGER = 0.5  # stages without children come before stages whose children have half a call or more each


def priority(video_order: int, segment_index: int, depth: int) -> tuple[int, int, int]:
    """Return the sort key of a ready task: the oldest segment first, then the stage furthest downstream."""
    return (video_order, segment_index, -depth)


def may_admit(*, in_flight_bytes: int, expected_bytes: int, budget: int, segments_in_flight: int, limit: int) -> bool:
    """Return whether another segment may start.

    One segment may always start; otherwise a segment larger than the budget would never run. Further segments must fit.

    >>> may_admit(in_flight_bytes=0, expected_bytes=99, budget=10, segments_in_flight=0, limit=4)
    True
    >>> may_admit(in_flight_bytes=5, expected_bytes=6, budget=10, segments_in_flight=1, limit=4)
    False
    """
    if segments_in_flight == 0:
        return True
    return segments_in_flight < limit and in_flight_bytes + expected_bytes <= budget


def queue_depth(backlog: int, workers: int, *, loading: bool) -> int:
    """Return the number of calls to keep queued on one worker.

    Two, so that the next call's arguments are local before the present call ends. One if the backlog is so short that
    another worker would have no work. None while the worker is still loading its model.

    >>> queue_depth(backlog=10, workers=2, loading=False), queue_depth(backlog=2, workers=2, loading=False)
    (2, 1)
    """
    if loading:
        return 0
    return 2 if backlog > workers else 1


def probes_in_actors(longest: float | None) -> bool:
    """Return whether videos are probed in the actors of a stage: if probes are quick, or not measured yet.

    >>> probes_in_actors(None), probes_in_actors(0.01), probes_in_actors(3.0)
    (True, True, False)
    """
    return longest is None or longest < PROBE_BELOW_S


def lead_time(longest: float) -> float:
    """Return how many seconds before a GPU is free its next call is sent, so that the arguments arrive in time.

    If it were sent earlier, it might take the place of a call that is more urgent by then. Longer calls usually have
    larger arguments. The stage with the longest calls decides, and the time is the same for all stages; otherwise that
    stage would always come first.

    >>> lead_time(0.1), lead_time(30.0)
    (0.04, 3.0)
    """
    return max(LEAD_S, LEAD_FRACTION * longest)


def start_order(copies: Sequence[tuple[int, float]]) -> list[int]:
    """Return the order in which to start actors, each given as (stage, seconds of a call). Every stage gets one actor
    before any gets a second, the first stage first, since it can work while others load. Then the slowest comes first.

    >>> start_order([(2, 3.0), (2, 3.0), (0, 1.0), (1, 1.0), (0, 1.0)])
    [2, 3, 0, 1, 4]
    """
    turns = [sum(other == node for other, _ in copies[:i]) for i, (node, _) in enumerate(copies)]

    def key(i: int) -> tuple[bool, float, int]:
        node, seconds = copies[i]
        return turns[i] > 0, -seconds / turns[i] if turns[i] else 0.0, node

    return sorted(range(len(copies)), key=key)


class Kind(str, Enum):
    """Why a call failed."""

    INPUT = "input"  # the video itself is the cause
    STORE = "store"  # the output cannot be written
    SAVED = "saved"  # saved work of an earlier run is damaged
    STAGE = "stage"  # the backend raised, or broke the field table
    MEMORY = "memory"  # out of memory, on the host or on the GPU
    CANCELLED = "cancelled"  # by the engine itself, before it began
    DIED = "died"  # the actor's process, or its node, is gone
    LOST = "lost"  # a field that it needs was lost with a node
    ENVIRONMENT = "environment"  # the actor never started


class Verdict(str, Enum):
    """What to do about a failed call."""

    RETRY = "retry"
    RECOVER = "recover"  # compute the lost fields again, then retry
    CHEAPER = "cheaper"  # retry one rung further down the stage's ladder, with less memory
    ALONE = "alone"  # retry on a GPU without other models
    LATER = "later"  # the video is tried once more when nothing else is left, with the stage's cheapest settings
    SKIP = "skip"  # an optional stage: this segment continues without its fields
    FAIL = "fail"  # the video fails with a reason; other inputs continue

    @property
    def tries_again(self) -> bool:
        return self not in (Verdict.SKIP, Verdict.FAIL)


def judge(
    kind: Kind,
    *,
    attempts: int,
    max_attempts: int,
    level: int,
    rungs: int,
    optional: bool,
    can_be_alone: bool = False,
    measured: bool = True,
    can_come_back: bool = False,
) -> Verdict:
    """Return what to do about a failure after `attempts` calls, `level` rungs down a ladder of `rungs`.

    When GPU memory runs out, quality is kept as far as possible. A stage whose needs are not `measured` yet first gets
    a GPU to itself. Any other stage goes down its ladder, and gets a GPU to itself when there are no rungs left.
    A video that `can_come_back` was not tried at the end of the run yet.

    >>> judge(Kind.INPUT, attempts=1, max_attempts=3, level=0, rungs=0, optional=False)
    <Verdict.FAIL: 'fail'>
    >>> judge(Kind.MEMORY, attempts=1, max_attempts=3, level=0, rungs=2, optional=False)
    <Verdict.CHEAPER: 'cheaper'>
    """
    give_up = Verdict.SKIP if optional else Verdict.FAIL
    if kind in (Kind.INPUT, Kind.STORE):
        return Verdict.FAIL
    if kind is Kind.ENVIRONMENT:
        return give_up
    if kind is Kind.LOST:
        return Verdict.RECOVER if attempts < MAX_RECOVERIES else give_up
    if kind is Kind.MEMORY and can_be_alone and (level >= rungs or not measured):
        return Verdict.ALONE
    if kind is Kind.MEMORY and level < rungs:
        return Verdict.CHEAPER
    if attempts < max_attempts:
        return Verdict.RETRY
    return Verdict.LATER if can_come_back and not optional else give_up


def is_tiny(seconds: float | None) -> bool:
    """Return whether calls are so short that several segments should go into one call."""
    return seconds is not None and seconds < COALESCE_BELOW_S


def batch_size(seconds: float | None, backlog: int, workers: int, *, running: bool = False) -> int:
    """Return how many waiting segments go into one call: more than one only if a call is shorter than Ray's overhead.

    The segments are divided among the workers, but not into calls shorter than the overhead. 0 means to wait for more
    segments, while another call of the stage is `running`: when it ends, this function is called again.

    >>> batch_size(0.5, backlog=100, workers=2), batch_size(0.0001, backlog=100, workers=2), batch_size(None, 9, 1)
    (1, 50, 1)
    >>> batch_size(0.0001, backlog=5, workers=2), batch_size(0.0001, backlog=5, workers=2, running=True)
    (5, 0)
    """
    if seconds is None or not is_tiny(seconds):
        return 1
    most = min(MAX_BATCH, max(1, int(BATCH_S / max(seconds, 1e-6))))
    if running and backlog < most // 2:
        return 0
    least = most // 2 if running else min(backlog, int(COALESCE_BELOW_S / max(seconds, 1e-6)))
    return min(most, max(1, least, backlog // max(1, workers)))


def deadline(longest: float, *, least: float) -> float:
    """Return the seconds after which a call counts as hung: far beyond the `longest` it should take (0 if not known).

    >>> deadline(3.0, least=60.0), deadline(30.0, least=60.0), deadline(0.0, least=60.0)
    (60.0, 600.0, 720.0)
    """
    return max(least, HUNG_FACTOR * longest) if longest > 0 else UNMEASURED_FACTOR * least


def leaks(private_bytes: int, settled: int) -> bool:
    """Return whether a worker's memory has grown far beyond its first calls, so that it should be replaced.

    >>> leaks(3 << 30, settled=1 << 30), leaks(4 << 30, settled=1 << 30)
    (False, True)
    """
    return private_bytes > LEAK_FACTOR * settled + LEAK_BYTES


def backoff(deaths: int) -> float:
    """Return the seconds to wait before an actor is replaced, after this number of deaths in a row.

    >>> [backoff(n) for n in (1, 2, 3, 9)]
    [0.0, 1.0, 2.0, 30.0]
    """
    return 0.0 if deaths <= 1 else min(30.0, 2.0 ** (deaths - 2))


def urgency(depth: int, downstream_queued: Sequence[float]) -> tuple[float, int]:
    """Return the sort key of a stage that has work and could run: the stage that helps the pipeline most comes first.

    First come stages that feed a stage with little work left. `downstream_queued` are, for each stage below, the
    segments from this stage that wait there, per worker. So where branches join, the branch that is ahead can wait.
    Otherwise the stage furthest downstream comes first, so that segments end and free their memory.

    >>> urgency(2, [3.0]) > urgency(1, [0.2])
    True
    """
    hunger = min([min(WELL_FED, queued) for queued in downstream_queued], default=LAST_STAGE_HUNGER)
    return (hunger, -depth)


@dataclass(frozen=True)
class PoolNeed:
    """What one stage needs. `fixed` is the number of actors, if it is set."""

    slot: str
    num_cpus: float
    weight: float
    most: float = math.inf  # actors it can use
    fixed: int | None = None


@dataclass(frozen=True)
class PoolSize:
    """What one stage gets. `cpu_share` is the CPUs that each actor books with Ray, `threads` the threads it may use."""

    actors: int
    cpu_share: float
    threads: int


def size_pools(needs: Sequence[PoolNeed], *, cpus: float) -> dict[str, PoolSize]:
    """Size every pool so that all of them fit at once: a pool that waits for resources would block the pipeline.

    Each pool gets one actor, GPU stages as many as `fixed` says. Further CPUs go, one actor at a time, to the stage
    with the most weight per actor that can use more actors. Stages without weight keep one actor. If even one actor
    each does not fit, all booked shares shrink together (Ray's CPUs are bookkeeping), and the operating system divides
    the cores.
    """
    count = {need.slot: need.fixed or 1 for need in needs}

    def booked() -> float:
        return sum(need.num_cpus * count[need.slot] for need in needs)

    while True:
        growable = [
            need
            for need in needs
            if need.fixed is None
            and count[need.slot] < need.most
            and need.weight > 0
            and booked() + need.num_cpus <= cpus
        ]
        if not growable:
            break
        neediest = max(growable, key=lambda need: need.weight / count[need.slot])
        count[neediest.slot] += 1
    shrink = min(1.0, cpus / max(booked(), 1e-9))
    return {
        need.slot: PoolSize(
            actors=count[need.slot],
            cpu_share=max(0.001, int(need.num_cpus * shrink * 1000) / 1000),
            threads=max(1, int(min(need.num_cpus, cpus))),
        )
        for need in needs
    }
