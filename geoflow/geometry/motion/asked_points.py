"""The points that the user's file of queries asks for, in the frames of one segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoflow.errors import ConfigError
from geoflow.files.query_files import Queries, read_queries
from geoflow.geometry.motion.lifting import CamerasWithDepth, project_all
from geoflow.segments import Segment

_STOP, _LAST = "asked_stop", "asked_last"  # of the segment before: the frame after it, and its last one in the source


@dataclass(frozen=True)
class AskedPoints:
    """M points that begin in a segment."""

    frame: np.ndarray  # (M,) int64, counted in the segment
    uv: np.ndarray  # (M, 2) float32 px of processed frames; NaN if the frame's camera does not see the place
    rows: np.ndarray  # (M,) int32: their rows in the file
    xyz: np.ndarray | None = None  # (M, 3) float32 world, if the file has places and no pixels


def asked_points(
    path: str, segment: Segment, index: np.ndarray, cameras: CamerasWithDepth, state: Mapping[str, Any]
) -> AskedPoints:
    """Return the points that begin in the frames of this segment that the one before does not have.

    `index` (T,) are the segment's frames in the source, as the file counts them. A frame that is not processed asks for
    the next one that is. `state` is what the segment before handed over, with what `asked_so_far` adds to it. Raises
    ConfigError, which names the file and the row, for a frame after the video's end, a pixel outside of the picture,
    and for places in a world that is not known before the run.
    """
    asked = read_queries(path)
    _check(asked, path, segment, index)
    rows = np.flatnonzero((asked.frame > _last_before(segment, index, state)) & (asked.frame <= index[-1]))
    frame = np.searchsorted(index, asked.frame[rows])
    if asked.uv is not None:
        return AskedPoints(frame, _processed(asked.uv[rows], segment).astype(np.float32), rows.astype(np.int32))
    assert asked.xyz is not None
    uv = project_all(asked.xyz[rows], cameras)[0][frame, np.arange(len(rows))]
    last = [segment.video.width - 1, segment.video.height - 1]
    with np.errstate(invalid="ignore"):
        uv[~((uv >= 0) & (uv <= last)).all(1)] = np.nan
    return AskedPoints(frame, uv.astype(np.float32), rows.astype(np.int32), asked.xyz[rows])


def asked_so_far(segment: Segment, index: np.ndarray) -> dict[str, int]:
    """Return what a stage adds to its `state`, so that the next segment asks for no row twice and forgets none."""
    return {_STOP: segment.stop, _LAST: int(index[-1])}


def _last_before(segment: Segment, index: np.ndarray, state: Mapping[str, Any]) -> int:
    """Return the last frame of the source whose rows are not this segment's."""
    if segment.is_first:
        return -1
    if state.get(_STOP) == segment.start + segment.overlap_before:
        return int(state[_LAST])
    return int(index[segment.overlap_before - 1]) if segment.overlap_before else int(index[0]) - 1  # that one failed


def _processed(uv: np.ndarray, segment: Segment) -> np.ndarray:
    """Bring pixels of the upright source to processed frames, by the half-pixel rule."""
    video = segment.video
    scale = np.array([video.width / video.source_width, video.height / video.source_height])
    last = [video.width - 1, video.height - 1]
    return np.clip((uv + 0.5) * scale - 0.5, 0, last)


def _check(asked: Queries, path: str, segment: Segment, index: np.ndarray) -> None:
    video, problem = segment.video, ""
    wrong = np.zeros(len(asked), bool)
    if asked.xyz is not None and not video.given_world:
        wrong[:] = True
        problem = "the world of a video is known before the run only from --cameras; ask for pixels (frame, x, y)"
    elif asked.uv is not None:
        wrong |= (asked.uv > np.array([video.source_width, video.source_height]) - 0.5).any(1)
        problem = f"the pixel lies outside of {video.name}, which has {video.source_width}x{video.source_height}"
    if not wrong.any() and segment.is_last:
        wrong |= asked.frame > index[-1]
        problem = f"{video.name} has no frame after {index[-1]}"
    if wrong.any():
        row = int(wrong.argmax())
        raise ConfigError(f"queries {path}, row {row} (from 0): {problem}; correct the row or leave it out")
