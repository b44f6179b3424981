"""All of the report about one video: frames, the camera's path, consistency, scores, times, parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.report import markup
from geoflow.report.consistency_section import Consistency
from geoflow.report.markup import number, text
from geoflow.report.objects_section import ObjectsSection
from geoflow.report.parameter_section import parameter_section
from geoflow.report.pictures import data_uri, depth_uri
from geoflow.report.samples import Sample, colour_range, read_samples, sampled
from geoflow.report.scene_section import SceneSection
from geoflow.report.score_section import score_section
from geoflow.report.viewer_section import Viewer
from geoflow.store.depth_colours import Ends
from geoflow.store.reader import Video
from geoflow.store.schema import SECONDS_PREFIX

SCRIPTS = ("viewer.js", "scene.js")
_THUMBNAIL = 112  # px


@dataclass(frozen=True)
class VideoPart:
    """A video's part of the report: its sections, and two small pictures for the list of all videos."""

    html: str
    thumbnails: tuple[str, ...]


def video_part(
    video: Video, row: Mapping[str, Any], scores: Mapping[str, Any] | None, timeline: str, *, frames: int
) -> VideoPart:
    """Read at most `frames` frames, one at a time.

    `row` is the video's row of index.parquet, `timeline` is HTML.
    """
    shown = sampled(len(video), frames)
    ends = colour_range(video, shown)
    viewer, scene, consistency = Viewer(video, shown, ends), SceneSection(video), Consistency(video)
    objects = ObjectsSection(video)
    thumbnails: tuple[str, ...] = ()
    for sample in read_samples(video, shown):
        for part in (viewer, scene, objects, consistency):
            part.add(sample)
        if sample.i == shown[len(shown) // 2]:
            thumbnails = _thumbnails(sample, ends)
    score = (
        f'<section id="scores"><h2>Scores against ground truth</h2>{score_section(scores)}</section>' if scores else ""
    )
    sections = [
        viewer.html(),
        scene.html(),
        objects.html(),
        consistency.html(),
        score,
        _work(video, timeline),
        parameter_section(video),
    ]
    return VideoPart(_facts(video, row) + "".join(sections), thumbnails)


def _facts(video: Video, row: Mapping[str, Any]) -> str:
    posed, coverage, seconds = row.get("frames_posed"), row.get("geometry_coverage"), len(video) / (video.fps or 1)
    posed_share = 100 * posed / len(video) if posed is not None and len(video) else None
    rows = [
        (number(len(video)), f"frames, {markup.duration(seconds)} at {video.fps:.4g}/s", ""),
        (f"{video.width} by {video.height}", "pixels", ""),
        (number(posed_share, 0, " %"), "of frames with a pose", ""),
        (number(None if coverage is None else 100 * coverage, 0, " %"), "of pixels with depth", ""),
        (text(row.get("motion") or "unknown"), "camera", ""),
        ("metres" if video.metric else "up to one scale", "depth and positions", ""),
        (markup.duration(row.get("seconds")), "of work", ""),
    ]
    incomplete = [
        f"Incomplete, frames {segment['start']} to {segment['stop'] - 1}: {segment.get('notes') or 'no remark'}"
        for segment in video.segments
        if segment.get("status") == "incomplete"
    ]
    remarks = "".join(f"<li>{text(line)}</li>" for line in [*incomplete, *video.remarks])
    warning = f'<ul class="remarks">{remarks}</ul>' if remarks else ""
    said = f"<p>{text(video.recovered)}</p>"
    return f'<p class="soft source">{text(video.source)}</p>{markup.facts(rows)}{said}{warning}'


def _thumbnails(sample: Sample, ends: Ends | None) -> tuple[str, ...]:
    depth = sample.depths.get("geometry", sample.depths.get("camera"))
    colour = [] if sample.rgb is None else [data_uri(sample.rgb, _THUMBNAIL)]
    return (*colour, *([] if depth is None else [depth_uri(depth, ends or (0.0, 1.0), _THUMBNAIL)]))


def _work(video: Video, timeline: str) -> str:
    totals = stage_seconds(video.segments)
    bars = f"<h3>Work per stage</h3>{markup.bars(totals)}" if totals else ""
    return f'<section id="work"><h2>Work</h2>{bars}{timeline}</section>' if bars or timeline else ""


def contents(html: str) -> str:
    """Return links to the sections of a page."""
    names = {
        "videos": "Videos", "frames": "Frames", "path": "Camera path", "objects": "Objects",
        "consistency": "Consistency", "scores": "Scores", "work": "Work", "parameters": "Parameters",
        "timeline": "Timeline", "record": "Run record",
    }  # fmt: skip
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name in names.items() if f'id="{key}"' in html)
    return f'<nav class="contents" aria-label="sections">{links}</nav>'


def stage_seconds(segments: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds of work per slot over rows of the segments table."""
    totals: dict[str, float] = {}
    for segment in segments:
        for name, value in segment.items():
            if name.startswith(SECONDS_PREFIX) and value is not None and np.isfinite(value):
                slot = name.removeprefix(SECONDS_PREFIX)
                totals[slot] = totals.get(slot, 0.0) + float(value)
    return totals
