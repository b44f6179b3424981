"""The pipeline as a graph: who gives each input, who takes each output. Pure data, no Ray."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from geoflow.fields import FIELDS
from geoflow.stage import Stage

PROBE = -1  # the producer of `video.*`
PROBED = tuple(name for name, row in FIELDS.items() if row.probed)  # not every video has all of them


@dataclass(frozen=True)
class Node:
    """One stage: `sources` maps each input to the index of the stage that gives it."""

    index: int
    slot: str
    ordered: bool
    optional: bool
    sources: dict[str, int]  # required and optional inputs that some stage gives
    required: frozenset[str]
    outputs: tuple[str, ...]  # those it may return, the optional ones last
    depth: int  # longest way from the start; larger is further downstream

    @cached_property
    def parents(self) -> frozenset[int]:
        return frozenset(source for source in self.sources.values() if source != PROBE)

    @cached_property
    def needs(self) -> tuple[tuple[int, str], ...]:
        """(giver, field) of what it cannot do without and another stage gives."""
        return tuple(
            (source, name) for name, source in self.sources.items() if name in self.required and source != PROBE
        )


@dataclass(frozen=True)
class Graph:
    nodes: tuple[Node, ...]
    consumers: dict[tuple[int, str], tuple[int, ...]] = field(default_factory=dict)
    children: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def build(cls, stages: Sequence[tuple[str, Stage, bool]]) -> Graph:
        """From (slot, stage, optional) in pipeline order; each input binds to the nearest giver above."""
        giver = dict.fromkeys(PROBED, PROBE)
        nodes: list[Node] = []
        consumers: dict[tuple[int, str], list[int]] = {}
        for index, (slot, stage, optional) in enumerate(stages):
            sources = {name: giver[name] for name in (*stage.inputs, *stage.optional) if name in giver}
            depth = 1 + max((nodes[p].depth for p in sources.values() if p != PROBE), default=-1)
            outputs = (*stage.outputs, *stage.optional_outputs)
            nodes.append(Node(index, slot, stage.ordered, optional, sources, frozenset(stage.inputs), outputs, depth))
            for name, producer in sources.items():
                consumers.setdefault((producer, name), []).append(index)
            giver.update(dict.fromkeys(outputs, index))
        children = tuple(tuple(n.index for n in nodes if i in n.parents) for i in range(len(nodes)))
        return cls(tuple(nodes), {key: tuple(takers) for key, takers in consumers.items()}, children)

    def above(self, slots: Set[str]) -> dict[str, tuple[str, ...]]:
        """Of each of these slots, in the order of the pipeline, those among them whose results it waits for."""
        found: dict[str, tuple[str, ...]] = {}
        nearest: list[dict[str, None]] = []  # per node: itself if it is one of them, else the nearest above
        for row in self.nodes:
            over = {slot: None for parent in sorted(row.parents) for slot in nearest[parent]}
            nearest.append({row.slot: None} if row.slot in slots else over)
            if row.slot in slots:
                found[row.slot] = tuple(over)
        return found


def expected_bytes(graph: Graph, frames: int, height: int, width: int) -> int:
    """Upper estimate of what a segment occupies in the object store when every field of it is alive at once."""
    import numpy as np

    from geoflow.fields import field as lookup

    known = {"T": frames, "H": height, "W": width}
    total = 0
    for node in graph.nodes:
        for name in node.outputs:
            if node.ordered:  # these replace fields of the segment that die at the same moment
                continue
            row = lookup(name)
            size = np.dtype(row.dtype).itemsize
            for symbol in row.shape.split():
                size *= int(symbol) if symbol.isdigit() else known.get(symbol, 256)
            total += size
    return total
