"""The workloads for the engines: stages that sleep, as plain data that any interpreter can read from JSON."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from dataclasses import dataclass

from geoflow.errors import ConfigError


@dataclass(frozen=True)
class SleepStage:
    """One stage: `after` names the stages whose output it reads; without any it is the first stage."""

    name: str
    gpus: float  # share of a GPU that one worker holds
    seconds: float  # mean service time of one item
    after: tuple[str, ...] = ()
    payload_bytes: int = 0  # size of the array that it makes for each item; the last stage makes none
    memory: float = 0.1  # share of a GPU's memory for its loaded model; used only by `geoflow-resident`


@dataclass(frozen=True)
class Workload:
    """A DAG of sleeping stages, in topological order, with one first and one last stage."""

    name: str
    stages: tuple[SleepStage, ...]
    items: int
    spread: float = 1.0  # slowest item over fastest
    seed: int = 0
    load_seconds: float = 0.5  # a worker's model takes this long to load
    store_bytes: int = 4 << 30
    gpus: int = 4
    batch: int = 1  # items that batch engines take at a time
    killed_at: float = 0.0  # share of the items after which the driver is killed and restarted; 0: never

    def __post_init__(self) -> None:
        """Raise ConfigError if a stage reads something that no stage above it makes, or there are several ends."""
        names = [stage.name for stage in self.stages]
        for i, stage in enumerate(self.stages):
            if unknown := set(stage.after) - set(names[:i]):
                raise ConfigError(f"{self.name}: {stage.name} reads {sorted(unknown)}, which no stage above it makes")
        starts = [stage.name for stage in self.stages if not stage.after]
        ends = set(names) - {parent for stage in self.stages for parent in stage.after}
        if len(starts) != 1 or ends != {names[-1]}:
            raise ConfigError(f"{self.name} should start and end with one stage, found {starts} and {sorted(ends)}")

    def stage(self, name: str) -> SleepStage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def killed_items(self) -> int:
        return round(self.killed_at * self.items)

    def factor(self, item: int) -> float:
        """Return how much slower than the mean an item is, in every stage; the mean of all factors is 1."""
        return _factors(self.items, self.spread, self.seed)[item]

    def seconds(self, stage: SleepStage, item: int) -> float:
        return stage.seconds * self.factor(item)

    def read_later(self, index: int) -> tuple[str, ...]:
        """Return the stages up to `index` whose output a later stage reads: a chain of stages must carry it along."""
        made = [stage.name for stage in self.stages[: index + 1]]
        return tuple(name for name in made if any(name in later.after for later in self.stages[index + 1 :]))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Workload:
        raw = json.loads(text)
        stages = tuple(SleepStage(**{**row, "after": tuple(row["after"])}) for row in raw.pop("stages"))
        return cls(stages=stages, **raw)


@functools.lru_cache(maxsize=8)
def _factors(items: int, spread: float, seed: int) -> tuple[float, ...]:
    chance = random.Random(seed)  # its `random()` is the same in every Python version
    raw = [spread ** chance.random() for _ in range(items)]
    mean = sum(raw) / len(raw)
    return tuple(value / mean for value in raw)


def _chain(gpus: tuple[float, ...], milliseconds: tuple[float, ...], payload_bytes: int) -> tuple[SleepStage, ...]:
    """Make stages `a`, `b`, ... one after the other."""
    names = "abcdefgh"[: len(gpus)]
    last = len(gpus) - 1
    return tuple(
        SleepStage(name, share, ms / 1000, (names[i - 1],) if i else (), payload_bytes if i < last else 0)
        for i, (name, share, ms) in enumerate(zip(names, gpus, milliseconds))
    )


_MB = 1_000_000
_SHARES = (0.25, 0.5, 0.5, 0.25, 0.25)

BALANCED = Workload("balanced", _chain(_SHARES, (40, 160, 120, 60, 40), 2 * _MB), items=60)

# `c` takes six times as long as in BALANCED.
SKEWED = Workload("skewed", _chain(_SHARES, (40, 160, 720, 60, 40), 2 * _MB), items=60, spread=4, seed=1)

DAG = Workload(
    "dag",
    (
        SleepStage("decode", 0.25, 0.04, (), 2 * _MB),
        SleepStage("prior", 0.5, 0.12, ("decode",), 2 * _MB),
        SleepStage("geometry", 0.25, 0.06, ("prior",), 2 * _MB),
        SleepStage("camera", 0.5, 0.12, ("decode",), 2 * _MB),
        SleepStage("tracks", 0.25, 0.08, ("camera",), 2 * _MB),
        SleepStage("hands", 0.25, 0.12, ("tracks",), 2 * _MB),
        SleepStage("join", 0.25, 0.04, ("geometry", "hands")),
    ),
    items=60,
)

TINY = Workload("tiny", _chain((1, 1, 1), (0, 0, 0), 64), items=3000, load_seconds=0.0, batch=64)

# The arrays of all items are several times as large as the object store, so an engine that does not limit its work
# spills.
BIG = Workload("big", _chain((0.25, 0.5, 0.25), (60, 160, 60), 64 * _MB), items=40, store_bytes=1 << 30)

# The driver is killed when half of the items have come out, and the same work is started again.
RESUME = dataclasses.replace(BALANCED, name="resume", items=120, killed_at=0.5)

WORKLOADS = {workload.name: workload for workload in (BALANCED, SKEWED, DAG, TINY, BIG, RESUME)}


def workload(name: str, items: int | None = None) -> Workload:
    """Look a workload up, with another number of items if given. Raises ConfigError for an unknown name."""
    if name not in WORKLOADS:
        raise ConfigError(f"unknown workload {name!r}; the workloads are: {', '.join(WORKLOADS)}")
    found = WORKLOADS[name]
    return found if items is None else dataclasses.replace(found, items=items)
