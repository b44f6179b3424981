"""A short view of a video's store for a notebook: facts, a few frames beside depth and mask, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoflow.errors import StoreError
from geoflow.report.markup import number, text
from geoflow.report.pictures import data_uri
from geoflow.store.depth_colours import colour_depth, inverse_range, turbo_gradient
from geoflow.store.source_frames import is_of_another_source

if TYPE_CHECKING:
    from geoflow.store.reader import Video

_SAMPLES = 3  # frames shown; each is three pictures
_WIDEST = 240  # px of a picture: about 10 kB
_MOST_REMARKS = 6
_GROUPS = ("prior", "geometry", "camera", "tracks", "hands", "objects")
_SOFT = "opacity:.7"
_WARN = "border-left:3px solid #d98e2b;padding-left:8px;margin:2px 0"  # the text keeps the theme's colour


def video_html(video: Video) -> str:
    """Return the card.

    Reads a few frames of the store, or of the source if the store holds no pixels.
    """
    facts = "".join(f'<div style="{_SOFT}">{text(" · ".join(row))}</div>' for row in _facts(video) if row)
    trouble = _trouble(video) if len(video) else ""
    remarks = [*([trouble] if trouble else []), *_remarks(video)]
    warnings = "".join(f'<div style="{_WARN}">{text(line)}</div>' for line in remarks[:_MOST_REMARKS])
    if len(remarks) > _MOST_REMARKS:
        warnings += f"<div>and {len(remarks) - _MOST_REMARKS} more such remarks</div>"
    return (
        f'<div style="font-size:13px;line-height:1.5"><div><b>{text(video.name)}</b> '
        f'<span style="{_SOFT}">{text(video.source)}</span></div>{facts}{warnings}{_strips(video)}</div>'
    )


def _facts(video: Video) -> list[list[str]]:
    seconds = f"{number(len(video) / video.fps, 1)} s at {number(video.fps, 2)} fps" if video.fps > 0 else "no time"
    size = [f"{len(video)} frames of {video.width}x{video.height}", seconds]
    size += ["depth in metres" if video.metric else "depth up to one scale", f"status {video.status}"]
    held = []
    if (cameras := video.cameras) is not None:
        held.append(f"{int(cameras.valid.sum())} frames with a pose")
    if (tracks := video.tracks) is not None:
        held.append(f"{len(tracks)} tracks")
    for side in ("left", "right"):
        if video.hands is not None and (hand := getattr(video.hands, side)) is not None:
            held.append(f"{side} hand in {int(hand.valid.sum())} frames")
    if (objects := video.objects) is not None:
        held.append(f"{len(objects)} object{'s' * (len(objects) != 1)}")
    groups = [name for name in _GROUPS if name in video.file]
    megabytes = video.file.id.get_filesize() / 1e6
    return [
        size,
        held,
        [video.recovered],
        [f"holds {', '.join(groups) or 'nothing yet'}", f"{megabytes:.1f} MB", f"{video.path}"],
    ]


def _remarks(video: Video) -> list[str]:
    """Return what could not be determined, and the segments that lack a stage."""
    incomplete = [
        f"Frames {row['start']} to {row['stop'] - 1} are incomplete: {row.get('notes') or 'no remark'}"
        for row in video.segments
        if row.get("status") == "incomplete"
    ]
    return [*video.remarks, *incomplete]


def _trouble(video: Video) -> str:
    """Return why there are no colours, if another source lies where the store's source was."""
    try:
        video.rgb(0)
    except StoreError as error:
        return str(error) if is_of_another_source(error) else ""
    return ""


def _strips(video: Video) -> str:
    """Return a row for each of a few frames: colour, depth and mask, as far as they exist."""
    if not len(video):
        return ""
    # The middles of equal thirds: first and last frames are the least typical ones.
    samples = np.unique(((np.arange(_SAMPLES) + 0.5) / _SAMPLES * len(video)).astype(int)).tolist()
    group = next((name for name in ("geometry", "camera", "prior") if f"{name}/depth" in video.file), "")
    depth = {"geometry": "depth", "camera": "camera_depth", "prior": "prior_depth"}
    maps = [getattr(video, depth[group])[i] for i in samples] if group else []
    ends = inverse_range(maps)
    cells: list[str] = []
    columns = 0
    for k, i in enumerate(samples):
        row = [_figure(_small(rgb), f"frame {i}")] if (rgb := _rgb(video, i)) is not None else []
        if group:
            # The prior's scale is free in each frame, so only its own range can colour it.
            own = inverse_range([maps[k]]) if group == "prior" else ends
            shown = _small(maps[k], nearest=True)  # shrunk before it is coloured, so that no two depths are mixed
            row.append(_figure(colour_depth(shown, own), f"{group} depth"))
            mask = np.repeat(np.where(shown > 0, 255, 40).astype(np.uint8)[..., None], 3, axis=2)
            row.append(_figure(mask, f"mask, {100 * (maps[k] > 0).mean():.0f} %"))
        columns = max(columns, len(row))
        cells += row
    if not columns:
        return f'<div style="{_SOFT}">Nothing to show: no depth, and no source to take frames from.</div>'
    ramp = f'<span style="display:inline-block;width:6em;height:9px;margin:0 6px;background:{turbo_gradient()}"></span>'
    legend = f'<div style="{_SOFT}">far{ramp}near; grey: no depth</div>' if group else ""
    grid = f"display:grid;grid-template-columns:repeat({columns},max-content);gap:6px;margin:6px 0;overflow-x:auto"
    return f'<div style="{grid}">{"".join(cells)}</div>{legend}'


def _rgb(video: Video, i: int) -> np.ndarray | None:
    try:
        return video.rgb(i)
    except StoreError:
        return None


def _small(picture: np.ndarray, *, nearest: bool = False) -> np.ndarray:
    """Shrink a picture or a map (H, W, ...) to at most `_WIDEST` px wide."""
    import cv2

    height, width = picture.shape[:2]
    if width <= _WIDEST:
        return picture
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA
    return cv2.resize(picture, (_WIDEST, max(1, round(height * _WIDEST / width))), interpolation=how)


def _figure(picture: np.ndarray, caption: str) -> str:
    image = (
        f'<img src="{data_uri(picture)}" alt="{text(caption)}" style="display:block;min-width:160px;max-width:none">'
    )
    return f'<div>{image}<span style="font-size:11px;{_SOFT}">{text(caption)}</span></div>'
