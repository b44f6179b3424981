"""Which spans a video has for each step that surveys some, and in which of them a segment lies. No Ray."""

from __future__ import annotations

from bisect import bisect_right

from geoflow.engine.graph import Graph
from geoflow.segments import Span, VideoInfo, count_segments, plan_chapters, whole_video


def plan_spans(graph: Graph, video: VideoInfo, size: int, overlap: int) -> dict[int, list[Span]]:
    """For each step that surveys spans, those of a video cut into segments of `size` frames, in order."""
    found = {}
    for row in graph.steps:
        if row.span == "chapter":
            length, reach = row.chapter
            found[row.index] = list(plan_chapters(video, size, overlap, length=length, reach=reach))
        elif row.span == "video":
            found[row.index] = [whole_video(video, size, overlap)]
    return found


def find_span(spans: list[Span], segment: int) -> Span:
    """The span that segment number `segment` lies in."""
    return spans[bisect_right(spans, segment, key=lambda span: span.first) - 1]


def shown_in(span: Span, size: int, overlap: int) -> range:
    """The numbers of the segments that show frames of the span; the video's last one may be among them without."""
    count = count_segments(span.video.num_frames, size, overlap)
    last = min(count - 1, (span.stop - 1) // (size - overlap))
    return range(span.first, count if last == count - 2 else last + 1)  # the last segment may start earlier
