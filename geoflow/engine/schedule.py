"""The engine's decisions, as pure functions: what runs next, what may start, what a failure means, pool sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

COALESCE_BELOW_S = 0.002  # a call to an actor costs about this much
BATCH_S = 0.02  # a coalesced call should not last longer: nothing else runs on that worker meanwhile
MAX_BATCH = 256
PROBE_BELOW_S = 0.1  # longer probes would hold up the actor they run in
LEAD_S, LEAD_FRACTION = 0.04, 0.1
SETTLED_AFTER = 5  # looks at a worker's memory; what it has by then it is taken to need
LEAK_FACTOR, LEAK_BYTES = 2, 1 << 30
HUNG_FACTOR = 20.0  # times the longest call so far
UNMEASURED_FACTOR = 12.0  # times the least deadline, for a stage's very first calls
MIN_MEASURED = 3  # calls of each stage before the plan of the GPUs is held against what was measured
MAX_DEATHS_IN_A_ROW = 3  # without one finished call in between: then the stage itself is at fault
MAX_RECOVERIES = 8  # of one call's arguments: each is a node lost, and none is the segment's fault
WELL_FED = 2.0  # segments waiting per worker; no stage is fed beyond that before others
LAST_STAGE_HUNGER = 0.5  # stages that feed nobody come before those whose children have half a call or more each


def priority(video_order: int, segment_index: int, depth: int) -> tuple[int, int, int]:
    """Sort key of a ready task: the oldest segment first, then the stage furthest downstream."""
    return (video_order, segment_index, -depth)


def may_admit(*, in_flight_bytes: int, expected_bytes: int, budget: int, segments_in_flight: int, limit: int) -> bool:
    """Whether another segment may start.

    One always may, else a segment larger than the budget would never run; beyond that it must fit.

    >>> may_admit(in_flight_bytes=0, expected_bytes=99, budget=10, segments_in_flight=0, limit=4)
    True
    >>> may_admit(in_flight_bytes=5, expected_bytes=6, budget=10, segments_in_flight=1, limit=4)
    False
    """
    if segments_in_flight == 0:
        return True
    return segments_in_flight < limit and in_flight_bytes + expected_bytes <= budget


def queue_depth(backlog: int, workers: int, *, loading: bool) -> int:
    """Calls to keep queued on one worker.

    Two, so that the next call's arguments are local before the current one ends; one when the backlog is so
    short that queueing would starve another worker; none while the worker is still loading its model.

    >>> queue_depth(backlog=10, workers=2, loading=False), queue_depth(backlog=2, workers=2, loading=False)
    (2, 1)
    """
    if loading:
        return 0
    return 2 if backlog > workers else 1


def probes_in_actors(longest: float | None) -> bool:
    """Whether videos are probed in the actors of a stage: while probes are quick, and to find that out.

    >>> probes_in_actors(None), probes_in_actors(0.01), probes_in_actors(3.0)
    (True, True, False)
    """
    return longest is None or longest < PROBE_BELOW_S


def lead_time(longest: float) -> float:
    """How long before a GPU is free a call for it is sent, so that it and its arguments are there by then.

    Sent any earlier, it might take the place of what by then helps more. Longer calls tend to have more to bring;
    it goes by the stage with the longest, and is the same for all, or that stage would always be the first to ask.

    >>> lead_time(0.1), lead_time(30.0)
    (0.04, 3.0)
    """
    return max(LEAD_S, LEAD_FRACTION * longest)


def start_order(copies: Sequence[tuple[int, float]]) -> list[int]:
    """In which order to start actors of these stages, of each (stage, seconds of a call): one of each before the
    second of any, the first stage first, since it can work while the others load; then whichever is furthest behind.

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

    INPUT = "input"  # the video itself is at fault
    STORE = "store"  # the output cannot be written
    SAVED = "saved"  # what an earlier run saved is damaged
    STAGE = "stage"  # the backend raised, or broke the field table
    MEMORY = "memory"  # out of memory, on the host or on the GPU
    CANCELLED = "cancelled"  # by the engine itself, before it began
    DIED = "died"  # the actor's process, or its node, is gone
    LOST = "lost"  # a field it was to read is gone with its node
    ENVIRONMENT = "environment"  # the actor never came up


class Verdict(str, Enum):
    """What to do about it."""

    RETRY = "retry"
    RECOVER = "recover"  # compute what was lost again, then retry
    CHEAPER = "cheaper"  # retry one rung further down the stage's ladder
    ALONE = "alone"  # retry on a GPU that nothing else is on
    SKIP = "skip"  # an optional stage: this segment goes on without its fields
    FAIL = "fail"  # the video is failed with a reason; other inputs go on

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
) -> Verdict:
    """What follows from a failure after `attempts` calls, `level` rungs down a ladder of `rungs`.

    Out of GPU memory, the results are kept as good as they can be: a stage whose needs are not `measured` yet first
    gets a GPU to itself, any other goes down its ladder, and gets one when there are no rungs left.

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
    return Verdict.RETRY if attempts < max_attempts else give_up


def is_tiny(seconds: float | None) -> bool:
    """Whether calls take so little that several segments should go into one."""
    return seconds is not None and seconds < COALESCE_BELOW_S


def batch_size(seconds: float | None, backlog: int, workers: int, *, running: bool = False) -> int:
    """How many waiting segments go into one call: more than one only where a call is shorter than Ray's own overhead.

    They are shared out among the workers, but not into calls shorter than that overhead. 0 says to wait for more of
    them, while another call of the stage is `running` whose end will ask again.

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
    """Seconds after which a call counts as hung: far beyond the `longest` it should take (0 where nobody knows).

    >>> deadline(3.0, least=60.0), deadline(30.0, least=60.0), deadline(0.0, least=60.0)
    (60.0, 600.0, 720.0)
    """
    return max(least, HUNG_FACTOR * longest) if longest > 0 else UNMEASURED_FACTOR * least


def leaks(private_bytes: int, settled: int) -> bool:
    """Whether a worker has grown far beyond what its first calls took, and should be replaced.

    >>> leaks(3 << 30, settled=1 << 30), leaks(4 << 30, settled=1 << 30)
    (False, True)
    """
    return private_bytes > LEAK_FACTOR * settled + LEAK_BYTES


def backoff(deaths: int) -> float:
    """Seconds to wait before an actor is replaced, after so many deaths in a row.

    >>> [backoff(n) for n in (1, 2, 3, 9)]
    [0.0, 1.0, 2.0, 30.0]
    """
    return 0.0 if deaths <= 1 else min(30.0, 2.0 ** (deaths - 2))


def urgency(depth: int, downstream_queued: Sequence[float]) -> tuple[float, int]:
    """Sort key of a stage that has work and could run: which helps the pipeline most now.

    First whoever feeds a stage that is about to run dry: `downstream_queued` are the segments that this stage has
    brought to each stage below and that wait there, per worker of that stage. Where branches meet, the one that is
    ahead is thus not in a hurry. Else the furthest downstream, so that segments leave and their memory is free.

    >>> urgency(2, [3.0]) > urgency(1, [0.2])
    True
    """
    hunger = min([min(WELL_FED, queued) for queued in downstream_queued], default=LAST_STAGE_HUNGER)
    return (hunger, -depth)


@dataclass(frozen=True)
class PoolNeed:
    """What one stage asks for; `fixed` is the number of actors where it is settled already."""

    slot: str
    num_cpus: float
    weight: float
    ordered: bool
    fixed: int | None = None


@dataclass(frozen=True)
class PoolSize:
    """What it gets: `cpu_share` is what each actor books at Ray, `threads` what it may keep busy."""

    actors: int
    cpu_share: float
    threads: int


def size_pools(needs: Sequence[PoolNeed], *, cpus: float) -> dict[str, PoolSize]:
    """Size every pool so that all of them fit at once: a pool that waits for resources would block the pipeline.

    Each pool gets one actor, GPU stages as many as `fixed` says. Further CPUs go, one actor at a time, to the stage
    with the most weight per actor. Ordered stages stay at one actor, as do stages without weight. When even one
    actor each does not fit, the booked shares shrink together (Ray's CPUs are bookkeeping) and the operating system
    shares the cores out.
    """
    count = {need.slot: need.fixed or 1 for need in needs}

    def booked() -> float:
        return sum(need.num_cpus * count[need.slot] for need in needs)

    while True:
        growable = [
            need
            for need in needs
            if need.fixed is None and not need.ordered and need.weight > 0 and booked() + need.num_cpus <= cpus
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
