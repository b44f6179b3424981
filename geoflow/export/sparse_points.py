"""A sparse cloud of a video, with the pictures that saw it: what trainers of radiance fields start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.export.frames import Depths, cameras_of, frames_with_depth, has_depth, jpeg, lifted, pictures
from geoflow.export.track_rows import spread_out, track_rows
from geoflow.store.reader import Video

_GREY = np.array([160, 160, 160], np.uint8)


@dataclass(frozen=True)
class SparsePoints:
    """The model's points; `column` are the tracks that gave them; it is empty for points of depth maps."""

    xyz: np.ndarray  # (P, 3) float64 world
    column: np.ndarray  # (P,) int64
    rgb: np.ndarray  # (P, 3) uint8


def image_name(i: int) -> str:
    """Return the name of the image of frame `i` of the store.

    >>> image_name(7)
    '000007.jpg'
    """
    return f"{i:06d}.jpg"


def sparse_points(
    video: Video, frames: np.ndarray, max_points: int, max_spread: float, *, coloured: bool
) -> SparsePoints:
    """Return at most `max_points` points of the world.

    They are the tracks that rest in it (their positions spread less than `max_spread` of their distance, root mean
    square) and are seen in two or more of `frames`, at their mean; in a store without such tracks, points drawn from
    the depth maps of `frames`, which are posed. Tracks are grey until `write_images` colours them; points of depth maps
    are grey unless `coloured`.
    """
    points = _resting_tracks(video, frames, max_points, max_spread)
    return _depth_points(video, frames, max_points, coloured) if points is None else points


def sights(video: Video, frames: np.ndarray, column: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each frame its number, the points that it sees (K,), and their pixels (K, 2)."""
    if not len(column):
        for i in frames:
            yield int(i), np.zeros(0, np.int64), np.zeros((0, 2))
        return
    for row in track_rows(video, column, frames):
        seen = np.flatnonzero(row.seen)
        yield row.i, seen, row.uv[seen]


def _resting_tracks(video: Video, frames: np.ndarray, max_points: int, max_spread: float) -> SparsePoints | None:
    """Return tracks that rest in the world and are seen in two or more of the frames; None if there is none."""
    if video.tracks is None or not len(video.tracks):
        return None
    count = len(video.tracks)
    times, total, squares, away = np.zeros(count), np.zeros((count, 3)), np.zeros(count), np.zeros(count)
    centers = cameras_of(video).centers
    origin = video.tracks.query[:, 1:].astype(np.float64)  # differences keep sums exact far from the world's origin
    for row in track_rows(video, frames=frames):
        seen = np.flatnonzero(row.seen)
        offset = row.xyz[seen].astype(np.float64) - origin[seen]
        times[seen] += 1
        total[seen] += offset
        squares[seen] += (offset**2).sum(-1)
        away[seen] += np.linalg.norm(row.xyz[seen] - centers[row.i], axis=-1)
    often = np.maximum(times, 1)
    mean = total / often[:, None]
    spread = np.sqrt(np.maximum(squares / often - (mean**2).sum(-1), 0))
    column = np.flatnonzero((times >= 2) & (spread <= max_spread * away / often))
    column = column[spread_out(len(column), max_points)]
    return SparsePoints((origin + mean)[column], column, np.tile(_GREY, (len(column), 1))) if len(column) else None


def _depth_points(video: Video, frames: np.ndarray, max_points: int, coloured: bool) -> SparsePoints:
    """Return points of the depth maps, equally many from each frame; none if there is no depth."""
    nothing = SparsePoints(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((0, 3), np.uint8))
    if not has_depth(video):
        return nothing
    depths = Depths(video)
    frames, _ = frames_with_depth(video, depths, frames)
    frames = frames[spread_out(len(frames), min(max_points, 100))]
    xyz, rgb = [], []
    images = pictures(video, frames) if coloured else None
    for i in frames:
        points, where = lifted(video, depths, i)
        drawn = spread_out(len(points), max_points // len(frames))
        xyz.append(points[drawn].astype(np.float64))
        rgb.append(np.tile(_GREY, (len(drawn), 1)) if images is None else next(images)[where][drawn])
    return SparsePoints(np.concatenate(xyz), nothing.column, np.concatenate(rgb))


def write_images(video: Video, frames: np.ndarray, folder: Path, quality: int, points: SparsePoints) -> None:
    """Write the pictures of `frames` as JPEG files; tracks get their colours where they are first seen."""
    folder.mkdir()
    waiting = np.ones(len(points.column), bool)
    for rgb, (i, seen, uv) in zip(pictures(video, frames), sights(video, frames, points.column)):
        (folder / image_name(i)).write_bytes(jpeg(rgb, quality))
        new = waiting[seen]
        u, v = np.rint(uv[new]).astype(int).T
        points.rgb[seen[new]] = rgb[np.clip(v, 0, video.height - 1), np.clip(u, 0, video.width - 1)]
        waiting[seen] = False
