"""The pipeline as a graph: who gives each input, who takes each output. Pure data, no Ray.

A stage that works on segments is one step of the graph. One that works on spans is two: the first surveys a span as a
whole, and the second processes each segment of it with what the survey found. One that works on objects is a step
after all others, which no segment goes through.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from geoflow.fields import FIELDS
from geoflow.segments import OBJECT
from geoflow.stage import Stage

PROBE = -1  # the producer of `video.*`
PROBED = tuple(name for name, row in FIELDS.items() if row.probed)  # not every video has all of them
SURVEY = "survey"  # the one output of a step that surveys spans: a dict of arrays


@dataclass(frozen=True)
class Step:
    """What is done at a time: `sources` maps each input to the index of the step that gives it."""

    index: int
    slot: str
    ordered: bool
    optional: bool
    sources: dict[str, int]  # required and optional inputs that some step gives
    required: frozenset[str]
    outputs: tuple[str, ...]  # those it may return, the optional ones last
    depth: int  # longest way from the start; larger is further downstream
    stage: int = -1  # its number in the pipeline, and that of its pool
    span: str = "segment"  # what it works on at a time
    chapter: tuple[int, int] = (0, 0)  # frames of a chapter, and of the next one that it takes, too
    frames_from: tuple[int, ...] = ()  # of a step that reads the frames of its spans: who gives them to segments

    @property
    def name(self) -> str:
        """What it is called in a list of finished segments: no other step of the graph has the name."""
        return f"{self.slot}.{SURVEY}" if self.surveys else self.slot

    @property
    def surveys(self) -> bool:
        """Whether it works on spans, and not on segments."""
        return self.span != "segment"

    @cached_property
    def parents(self) -> frozenset[int]:
        return frozenset(source for source in self.sources.values() if source != PROBE)

    @cached_property
    def needs(self) -> tuple[tuple[int, str], ...]:
        """(giver, field) of what it cannot do without and another step gives."""
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
        """From (slot, stage, optional) in pipeline order; each input binds to the nearest giver above."""
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
                steps.append(_survey(len(steps), number, slot, stage, optional, tuple(sorted(frames))))
                sources[SURVEY] = steps[-1].index
                required.add(SURVEY)
            depth = 1 + max((steps[p].depth for p in sources.values() if p != PROBE), default=-1)
            outputs = (*stage.outputs, *stage.optional_outputs)
            index = len(steps)
            steps.append(
                Step(index, slot, stage.ordered, optional, sources, frozenset(required), outputs, depth, number)
            )
            giver.update(dict.fromkeys(outputs, index))
        consumers: dict[tuple[int, str], list[int]] = {}
        for row in steps:
            for name, producer in row.sources.items():
                consumers.setdefault((producer, name), []).append(row.index)
        children = tuple(tuple(n.index for n in steps if i in n.parents) for i in range(len(steps)))
        of_objects = None if objects is None else _of_objects(len(steps), *objects)
        return cls(tuple(steps), {key: tuple(takers) for key, takers in consumers.items()}, children, of_objects)

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
        """Of each of these slots, in the order of the pipeline, those among them whose results it waits for."""
        found: dict[str, tuple[str, ...]] = {}
        nearest: list[dict[str, None]] = []  # per step: itself if it is one of them, else the nearest above
        for row in self.steps:
            over = {slot: None for parent in sorted(row.parents) for slot in nearest[parent]}
            nearest.append({row.slot: None} if row.slot in slots else over)
            if row.slot in slots:
                found[row.slot] = tuple(slot for slot in over if slot != row.slot)
        if self.of_objects is not None and self.of_objects.slot in slots:  # it waits for all
            found[self.of_objects.slot] = tuple(found)
        return found


def _survey(index: int, number: int, slot: str, stage: Stage, optional: bool, frames_from: tuple[int, ...]) -> Step:
    """The step that surveys the spans of a stage: it reads their frames from the source."""
    sources = dict.fromkeys(PROBED, PROBE)
    chapter = stage.chapter_length, stage.chapter_reach
    required = frozenset(("video.index", "video.pts"))
    return Step(index, slot, False, optional, sources, required, (SURVEY,), 0, number, stage.span, chapter, frames_from)


def _of_objects(index: int, number: int, slot: str, stage: Stage, optional: bool) -> Step:
    """The step that works on objects: it reads finished segments from the disk, and frames from the source."""
    depth = index  # after all others
    sources = dict.fromkeys(PROBED, PROBE)
    return Step(index, slot, False, optional, sources, frozenset(), stage.outputs, depth, number, stage.span)


def expected_bytes(graph: Graph, frames: int, height: int, width: int) -> int:
    """Upper estimate of what a segment occupies in the object store when every field of it is alive at once."""
    import numpy as np

    from geoflow.fields import field as lookup

    known = {"T": frames, "H": height, "W": width}
    total = 0
    for step in graph.steps:
        if step.ordered or step.surveys:  # the first replace fields of the segment that die at the same moment
            continue
        for name in step.outputs:
            row = lookup(name)
            size = np.dtype(row.dtype).itemsize
            for symbol in row.shape.split():
                size *= int(symbol) if symbol.isdigit() else known.get(symbol, 256)
            total += size
    return total
