"""The pipeline as a graph: which step gives each input, which steps take each output. Pure data, no Ray.

A stage that works on segments is one step of the graph. One that works on spans is two: the first surveys a span as a
whole, and the second processes each segment of it with what the survey found. If the survey takes fields of its frames,
a step before both condenses these, segment by segment. One that works on objects is a step after all others, which no
segment goes through.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from geoflow.fields import FIELDS
from geoflow.segments import OBJECT
from geoflow.stage import Stage, closes

PROBE = -1  # the producer of `video.*`
PROBED = tuple(name for name, row in FIELDS.items() if row.probed)  # not every video has all of these
SURVEY = "survey"  # the one output of a step that surveys spans: a dict of arrays
CONDENSE = "condense"  # the one output of a step that condenses fields for a survey: likewise


@dataclass(frozen=True)
class Step:
    """One step of the graph. `sources` maps each input to the index of the step that gives it."""

    index: int
    slot: str
    ordered: bool
    optional: bool
    sources: dict[str, int]  # required and optional inputs that a step gives
    required: frozenset[str]
    outputs: tuple[str, ...]  # all it may return, optional outputs last
    depth: int  # longest way from the start; larger is further downstream
    stage: int = -1  # the number of its stage in the pipeline, and of the stage's pool
    span: str = "segment"  # the unit that it works on
    chapter: tuple[int, int] = (0, 0)  # frames of a chapter, and frames of the next chapter that it also reads
    closes: bool = False  # it only brings to disk what others made, and so works on when the run stops
    finishes: bool = False  # it is called once more after the last segment of a video
    frames_from: tuple[int, ...] = ()  # if it reads the frames of its spans: the steps that give frames to segments
    condensed: int | None = None  # if it surveys spans with condensed fields: the step that condenses them
    rests_on: tuple[int, ...] = ()  # the steps that these fields come from
    condenses: bool = False  # it condenses fields; segments pass it ahead of their turn, and not in their turn

    @property
    def name(self) -> str:
        """Return the step's name in a list of finished segments. It is unique in the graph."""
        return f"{self.slot}.{SURVEY if self.surveys else CONDENSE}" if self.prepares else self.slot

    @property
    def surveys(self) -> bool:
        """Return whether the step works on spans, not on segments."""
        return self.span != "segment"

    @property
    def prepares(self) -> bool:
        """Return whether the step only prepares the work of its stage on segments."""
        return self.surveys or self.condenses

    @cached_property
    def parents(self) -> frozenset[int]:
        return frozenset(source for source in self.sources.values() if source != PROBE)

    @cached_property
    def needs(self) -> tuple[tuple[int, str], ...]:
        """Return (giving step, field) of every required input that another step gives."""
        return tuple(
            (source, name) for name, source in self.sources.items() if name in self.required and source != PROBE
        )


@dataclass(frozen=True)
class Graph:
    steps: tuple[Step, ...]
    consumers: dict[tuple[int, str], tuple[int, ...]] = field(default_factory=dict)
    children: tuple[tuple[int, ...], ...] = ()
    of_objects: Step | None = None  # the step that works on objects; its index follows those of `steps`

    @classmethod
    def build(cls, stages: Sequence[tuple[str, Stage, bool]]) -> Graph:
        """Build the graph from (slot, stage, optional) in order. Each input comes from the nearest step above."""
        giver = dict.fromkeys(PROBED, PROBE)
        steps: list[Step] = []
        objects: tuple[int, str, Stage, bool] | None = None
        for number, (slot, stage, optional) in enumerate(stages):
            if stage.span == OBJECT:
                objects = number, slot, stage, optional
                continue
            sources = {name: giver[name] for name in (*stage.inputs, *stage.optional) if name in giver}
            required = set(stage.inputs)
            if stage.span != "segment":
                frames = {source for name, source in sources.items() if name.startswith("frames.")}
                taken = {n: sources[n] for n in stage.surveyed if n in sources and _is_plain(steps, sources[n])}
                if taken:
                    steps.append(_condense(steps, number, slot, optional, taken))
                steps.append(_survey(steps, number, slot, stage, optional, tuple(sorted(frames))))
                sources[SURVEY] = steps[-1].index
                required.add(SURVEY)
            depth = 1 + max((steps[p].depth for p in sources.values() if p != PROBE), default=-1)
            outputs = (*stage.outputs, *stage.optional_outputs)
            index = len(steps)
            steps.append(
                Step(
                    index,
                    slot,
                    stage.ordered,
                    optional,
                    sources,
                    frozenset(required),
                    outputs,
                    depth,
                    number,
                    closes=closes(stage),
                    finishes=stage.ordered and type(stage).finish is not Stage.finish,
                )
            )
            giver.update(dict.fromkeys(outputs, index))
        consumers: dict[tuple[int, str], list[int]] = {}
        for row in steps:
            for name, producer in row.sources.items():
                consumers.setdefault((producer, name), []).append(row.index)
        children = tuple(tuple(n.index for n in steps if i in n.parents) for i in range(len(steps)))
        of_objects = None if objects is None else _of_objects(len(steps), *objects)
        return cls(tuple(steps), {key: tuple(takers) for key, takers in consumers.items()}, children, of_objects)

    @cached_property
    def condensing(self) -> frozenset[int]:
        """Return the steps that condense fields for surveys."""
        return frozenset(row.index for row in self.steps if row.condenses)

    def step(self, index: int) -> Step:
        """The step of that index, which may be the one that works on objects."""
        if self.of_objects is not None and index == self.of_objects.index:
            return self.of_objects
        return self.steps[index]

    def of_stage(self, stage: int) -> tuple[Step, ...]:
        """The steps of a stage, in the order of work."""
        every = self.steps if self.of_objects is None else (*self.steps, self.of_objects)
        return tuple(row for row in every if row.stage == stage)

    def above(self, slots: Set[str]) -> dict[str, tuple[str, ...]]:
        """Return for each of these slots, in pipeline order, the slots among them whose results it waits for."""
        found: dict[str, tuple[str, ...]] = {}
        nearest: list[dict[str, None]] = []  # per step: itself if it is in `slots`, else the nearest such steps above
        for row in self.steps:
            over = {slot: None for parent in sorted(row.parents) for slot in nearest[parent]}
            nearest.append({row.slot: None} if row.slot in slots else over)
            if row.slot in slots:
                found[row.slot] = tuple(slot for slot in over if slot != row.slot)
        if self.of_objects is not None and self.of_objects.slot in slots:  # it waits for all
            found[self.of_objects.slot] = tuple(found)
        return found


def _is_plain(steps: Sequence[Step], step: int) -> bool:
    """Return whether a step, and every one above it, works on each segment by itself."""
    row = None if step == PROBE else steps[step]
    return row is not None and not row.ordered and not row.surveys and all(_is_plain(steps, p) for p in row.parents)


def _above(steps: Sequence[Step], row: Step) -> frozenset[int]:
    return row.parents.union(*(_above(steps, steps[parent]) for parent in row.parents))


def _condense(steps: Sequence[Step], number: int, slot: str, optional: bool, sources: dict[str, int]) -> Step:
    """Return the step that condenses what the next one, a survey, takes of segments."""
    depth = 1 + max(steps[source].depth for source in sources.values())
    return Step(len(steps), slot, False, optional, sources, frozenset(), (CONDENSE,), depth, number, condenses=True)


def _survey(
    steps: Sequence[Step], number: int, slot: str, stage: Stage, optional: bool, frames_from: tuple[int, ...]
) -> Step:
    """Return the step that surveys the spans of a stage. It reads their frames from the source."""
    before = steps[-1] if steps and steps[-1].stage == number else None
    return Step(
        len(steps),
        slot,
        False,
        optional,
        sources=dict.fromkeys(PROBED, PROBE),
        required=frozenset(("video.index", "video.pts")),
        outputs=(SURVEY,),
        depth=0,
        stage=number,
        span=stage.span,
        chapter=(stage.chapter_length, stage.chapter_reach),
        frames_from=frames_from,
        condensed=None if before is None else before.index,
        rests_on=() if before is None else tuple(sorted(_above(steps, before))),
    )


def _of_objects(index: int, number: int, slot: str, stage: Stage, optional: bool) -> Step:
    """The step that works on objects: it reads finished segments from the disk, and frames from the source."""
    depth = index  # after all others
    sources = dict.fromkeys(PROBED, PROBE)
    return Step(index, slot, False, optional, sources, frozenset(), stage.outputs, depth, number, stage.span)


def expected_bytes(graph: Graph, frames: int, height: int, width: int) -> int:
    """Return an upper estimate of a segment's bytes in the object store, with all its fields alive at the same time."""
    import numpy as np

    from geoflow.fields import field as lookup

    known = {"T": frames, "H": height, "W": width, "R": 8, "P": 24, "h": 48, "w": 48}
    total = 0
    for step in graph.steps:
        if step.closes or step.prepares:  # what a closing step passes on replaces fields that end at that moment
            continue
        for name in step.outputs:
            row = lookup(name)
            size = np.dtype(row.dtype).itemsize
            for symbol in row.shape.split():
                size *= int(symbol) if symbol.isdigit() else known.get(symbol, 256)
            total += size
    return total
