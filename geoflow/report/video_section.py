"""One video's part of the report: frames beside depth, the camera's path, tracks, scores and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoflow.errors import StoreError
from geoflow.report import markup
from geoflow.report.figures import path_figure, tracks_figure
from geoflow.report.markup import number, text
from geoflow.report.pictures import colour_depth, data_uri, inverse_range, turbo_gradient
from geoflow.report.score_section import score_section
from geoflow.store.reader import Video
from geoflow.store.schema import SECONDS_PREFIX

_SAMPLES = 4  # frames shown
_TRAIL = 20  # frames a track's trail goes back
_MOST_TRACKS = 300
_BRANCHES = (("prior", "prior_depth"), ("geometry", "depth"), ("camera", "camera_depth"))


def video_section(video: Video, row: Mapping[str, Any], scores: Mapping[str, Any] | None) -> str:
    """Everything the report says of a complete video; `row` is its row of index.parquet."""
    samples = (
        np.unique(np.linspace(0, len(video) - 1, _SAMPLES).round().astype(int)) if len(video) else np.zeros(0, int)
    )
    colour = {int(i): picture for i in samples if (picture := _rgb(video, int(i))) is not None}
    parts = [f"<h2>{text(video.name)}</h2>", _facts(video, row), _frames(video, samples, colour)]
    parts += [_path(video), _tracks(video), score_section(scores) if scores else "", _times(video)]
    parts.append(markup.details("Parameters", video.pipeline))
    return f"<section>{''.join(parts)}</section>"


def _facts(video: Video, row: Mapping[str, Any]) -> str:
    posed, coverage = row.get("frames_posed"), row.get("geometry_coverage")
    facts = [
        f"{len(video)} frames, {video.width} by {video.height}, {number(video.fps, 2)} fps",
        "depth in metres" if video.metric else "depth up to one scale",
    ]
    if posed is not None and len(video):
        facts.append(f"{posed} frames with a pose ({100 * posed / len(video):.0f} %)")
    if coverage is not None and np.isfinite(coverage):
        facts.append(f"depth on {100 * coverage:.0f} % of pixels")
    if row.get("motion"):
        facts.append(f"camera: {row['motion']}")
    incomplete = [
        f"frames {segment['start']} to {segment['stop'] - 1}: {segment.get('notes') or 'no remark'}"
        for segment in video.segments
        if segment.get("status") == "incomplete"
    ]
    warning = "".join(f'<p class="warn">Incomplete, {text(line)}</p>' for line in incomplete)
    remarks = "".join(f'<p class="warn">{text(line)}</p>' for line in video.remarks)
    return f'<p class="soft">{text(video.source)}</p><p class="soft">{text(" · ".join(facts))}</p>{warning}{remarks}'


def _rgb(video: Video, i: int) -> np.ndarray | None:
    try:
        return video.rgb(i)
    except StoreError:
        return None  # the source is gone; the page says so


def _frames(video: Video, samples: np.ndarray, colour: Mapping[int, np.ndarray]) -> str:
    depths = {name: [getattr(video, attribute)[int(i)] for i in samples] for name, attribute in _held(video)}
    if not len(samples) or not (depths or colour):
        return ""
    ends = {name: inverse_range(maps) for name, maps in depths.items()}
    rows = []
    for k, i in enumerate(samples):
        cells = []
        if int(i) in colour:
            cells.append(_figure(colour[int(i)], f"frame {int(video.frame_index[i])}"))
        for name, maps in depths.items():
            # The prior has a scale of its own in each frame, so only its own range can colour it.
            span = inverse_range([maps[k]]) if name == "prior" else ends[name]
            share = float((maps[k] > 0).mean())
            cells.append(_figure(colour_depth(maps[k], span), f"{name} {100 * share:.0f} %"))
        rows.append(f'<div class="strip" style="--columns:{len(cells)}">{"".join(cells)}</div>')
    gone = "" if colour else "<p>The source is no longer there, so its frames are left out.</p>"
    legend = (
        f'<p class="soft">far<span class="ramp" style="background:{turbo_gradient()}"></span>near'
        '<span class="masked" style="background:var(--grey)"></span>no depth. Percentages: pixels with depth. '
        "Colours mean the same in all frames of a branch, but not of the prior: its scale is free in each frame.</p>"
    )
    return f"<h3>Depth</h3>{gone}{''.join(rows)}{legend}"


def _held(video: Video) -> list[tuple[str, str]]:
    return [
        (name, attribute)
        for name, attribute in _BRANCHES
        if f"{name}/depth" in video.file and (name == "camera" or f"{name}/mask" in video.file)
    ]


def _figure(picture: np.ndarray, caption: str) -> str:
    image = f'<img src="{data_uri(picture)}" alt="{text(caption)}">'
    return f"<figure>{image}<figcaption>{text(caption)}</figcaption></figure>"


def _path(video: Video) -> str:
    cameras = video.cameras
    if cameras is None:
        return ""
    centers = np.where(cameras.valid[:, None], cameras.centers, np.nan)
    known = np.isfinite(centers).all(1)
    if not known.any():
        return "<h3>Camera path</h3><p>No frame has a pose: the camera branch could not tell how the camera moved.</p>"
    looks = cameras.cam_from_world[:, 2, :3]  # the camera's z axis in the world
    unit = "m" if video.metric else "units"
    missing = int((~known).sum())
    gap = f" {missing} frames have no pose." if missing else ""
    return (
        '<h3>Camera path</h3><div class="plots">'
        + path_figure(centers, looks, (0, 2), flip=False, unit=unit, label="from above")
        + path_figure(centers, looks, (2, 1), flip=True, unit=unit, label="from the side")
        + f'</div><p class="soft">Green start, red end; short lines show where the camera looks.{gap}</p>'
    )


def _tracks(video: Video) -> str:
    tracks = video.tracks
    if tracks is None or not len(tracks):
        return ""
    figures = []
    for i in np.unique([len(video) // 3, 2 * len(video) // 3]):
        picture = _rgb(video, int(i))
        (seen,) = np.nonzero(tracks.visible[int(i)])
        if not len(seen):
            continue
        chosen = seen[:: max(1, -(-len(seen) // _MOST_TRACKS))]
        first = max(0, int(i) - _TRAIL)
        uv, visible = tracks.uv[first : i + 1, chosen], tracks.visible[first : i + 1, chosen]
        if picture is None:
            picture = np.full((video.height, video.width, 3), 40, np.uint8)
        drawing = tracks_figure(data_uri(picture), (video.width, video.height), uv, visible)
        caption = f"frame {int(video.frame_index[i])}: {len(chosen)} of {len(seen)} tracks seen in it"
        figures.append(f'<figure class="overlay">{drawing}<figcaption>{text(caption)}</figcaption></figure>')
    body = f'<div class="plots">{"".join(figures)}</div>' if figures else "<p>None is seen in the frames sampled.</p>"
    return f'<h3>Tracks</h3><p class="soft">{len(tracks)} in all; trails show the last {_TRAIL} frames.</p>{body}'


def _times(video: Video) -> str:
    totals = stage_seconds(video.segments)
    return f"<h3>Work per stage</h3>{markup.bars(totals)}" if totals else ""


def stage_seconds(segments: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds of work per slot over rows of the segments table."""
    totals: dict[str, float] = {}
    for segment in segments:
        for name, value in segment.items():
            if name.startswith(SECONDS_PREFIX) and value is not None and np.isfinite(value):
                slot = name.removeprefix(SECONDS_PREFIX)
                totals[slot] = totals.get(slot, 0.0) + float(value)
    return totals
