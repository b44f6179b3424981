"""Keys that identify a stage's work on a segment: content, configuration and weights; never where or how it ran."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from geoflow.engine.graph import PROBE, Graph
from geoflow.segments import Segment, Span, VideoInfo

_LENGTH = 20  # hexadecimal digits; 80 bits, and short enough for a file name


class Keys:
    """Keys of the steps of one graph.

    `signatures` hold each stage's backend, version, parameters and weights; `reading` is what the user asked of the
    decoder. Besides these, a key depends only on the video's content, the segment's range and the keys of the stages
    whose fields are read. So a change affects exactly the stages downstream of it. The key of an ordered stage also
    depends on its key for the previous segment, and so on all earlier segments. A step that surveys spans reads frames
    from the source. So its key depends on the span's range and on the signatures of the stages that give the frames;
    and on those of the stages that its condensed fields come from, unless they cannot run at all.
    """

    def __init__(self, graph: Graph, signatures: Sequence[Mapping[str, Any]], reading: str = "") -> None:
        self._graph, self._reading = graph, reading
        self._signatures = [_text(signature) for signature in signatures]

    def of_span(self, step: int, span: Span, disabled: Set[int] = frozenset()) -> str:
        """Return the key of a step that surveys spans, while the steps `disabled` cannot run."""
        row = self._graph.steps[step]
        frames_from = [self._signatures[self._graph.steps[giver].stage] for giver in row.frames_from]
        extent = (span.kind, span.start, span.stop)
        parts = [_video_key(span.video), self._reading, self._signatures[row.stage], extent, frames_from]
        if row.condensed is not None:
            parts.append([self._signatures[self._graph.steps[n].stage] for n in row.rests_on if n not in disabled])
        return _digest(_text(parts))

    def of(self, step: int, segment: Segment, given: Mapping[int, str], before: str | None = None) -> str:
        """Return the key of a step that works on segments.

        `given` maps the steps above to their keys, without absent steps. `before` is the key of an ordered step for the
        previous segment.
        """
        row = self._graph.steps[step]
        sources = sorted((name, given.get(source)) for name, source in row.sources.items() if source != PROBE)
        extent = (segment.index, segment.start, segment.stop, segment.overlap_before, segment.overlap_after)
        parts = (_video_key(segment.video), self._reading, self._signatures[row.stage], extent, sources)
        return _digest(_text((*parts, before if row.ordered else None)))

    def of_all(
        self,
        segment: Segment,
        absent: frozenset[int] | set[int],
        before: Mapping[int, str],
        spans: Mapping[int, Span],
        disabled: Set[int] = frozenset(),
    ) -> dict[int, str]:
        """Return the keys of every step, without the steps in `absent` and the optional steps that need them.

        `before` holds the keys of ordered steps for the previous segment. `spans` holds the spans that the segment lies
        in, by the step that surveys them. `disabled` are those of the absent steps that cannot run at all.
        """
        keys: dict[int, str] = {}
        for row in self._graph.steps:
            lacking = any(row.sources.get(n, PROBE) not in (PROBE, *keys) for n in row.required)
            if row.index in absent or (lacking and row.optional):
                continue
            if row.surveys:
                keys[row.index] = self.of_span(row.index, spans[row.index], disabled)
            else:
                keys[row.index] = self.of(row.index, segment, keys, before.get(row.index))
        return keys


@functools.lru_cache(maxsize=64)
def _video_key(info: VideoInfo) -> str:
    return _digest(_text(info.content()))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
