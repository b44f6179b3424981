"""`colmap`: a sparse model, as binary and as text, with its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.export.frames import Depths, cameras_of, frames_with_depth, has_depth, jpeg, lifted, pictures, posed_frames
from geoflow.export.track_rows import spread_out, track_rows
from geoflow.store.reader import Video
from geoflow.store.whole import whole_folder

FRAMES_FILE = "frames.txt"
_CORNER = 0.5  # COLMAP's pixels: the centre of the first one is at (0.5, 0.5)
_GREY = np.array([160, 160, 160], np.uint8)


@dataclass(frozen=True)
class _Points:
    """The model's points; `column` are the tracks that gave them; it is empty for points of depth maps."""

    xyz: np.ndarray  # (P, 3) float64 world
    column: np.ndarray  # (P,) int64
    rgb: np.ndarray  # (P, 3) uint8


def export_colmap(
    video: Video,
    out: Path,
    *,
    stride: int = 1,
    max_points: int = 20_000,
    max_spread: float = 0.02,
    images: bool = True,
    quality: int = 95,
) -> int:
    """Write the folder `out`: `sparse/0/` as .bin and .txt, and `images/NNNNNN.jpg`; return the number of images.

    Images are the posed frames, named after the store's frame number; `frames.txt` has a line for each image with its
    name and the frame's number in the source, which may have more frames. Cameras are PINHOLE: one for all images if
    the intrinsics are the same, else one for each image. Points are the tracks that rest in the world (their positions
    spread less than `max_spread` of their distance, root mean square), at their mean, with their observations. In a
    store without such tracks, points are drawn from the depth maps and have no observations. There are at most
    `max_points`. World and scene units are the store's; pixels are COLMAP's, the store's plus 0.5. The whole model is
    in memory: about 100 bytes for each time a track is seen. `stride` N takes every N-th frame. JPEGs have this
    `quality`; without `images` none are written, and points are grey.

    Raises StoreError without poses, if pixels cannot be read, or if `out` exists already.
    """
    import pycolmap

    frames = posed_frames(video, stride)
    with whole_folder(out) as draft:
        points = _resting_tracks(video, frames, max_points, max_spread)
        if points is None:
            points = _depth_points(video, frames, max_points, images)
        if images:
            (draft / "images").mkdir()
            colours = _write_images(video, frames, draft / "images", quality, points.column)
            points.rgb[: len(colours)] = colours
        model = _model(pycolmap, video, frames, points)
        sparse = draft / "sparse" / "0"
        sparse.mkdir(parents=True)
        model.write_binary(str(sparse))
        model.write_text(str(sparse))
        lines = [f"{image_name(i)} {video.frame_index[i]}\n" for i in frames]
        (draft / FRAMES_FILE).write_text("".join(lines))
    return len(frames)


def image_name(i: int) -> str:
    """Return the name of the image of frame `i` of the store.

    >>> image_name(7)
    '000007.jpg'
    """
    return f"{i:06d}.jpg"


def _model(pycolmap: Any, video: Video, frames: np.ndarray, points: _Points) -> Any:
    cameras = cameras_of(video)
    intrinsics = cameras.intrinsics[frames].astype(np.float64)
    shared = np.ptp(intrinsics, axis=0).max() < 1e-3
    model = pycolmap.Reconstruction()
    for number in range(1, (1 if shared else len(frames)) + 1):
        k = intrinsics[number - 1]
        params = [k[0, 0], k[1, 1], k[0, 2] + _CORNER, k[1, 2] + _CORNER]
        camera = pycolmap.Camera(
            model="PINHOLE", width=video.width, height=video.height, params=params, camera_id=number
        )
        model.add_camera_with_trivial_rig(camera)
    seen_in: list[np.ndarray] = []
    for number, (i, seen, uv) in enumerate(_sights(video, frames, points.column), start=1):
        keypoints = uv.astype(np.float64) + _CORNER
        image = pycolmap.Image(
            name=image_name(i), keypoints=keypoints, camera_id=1 if shared else number, image_id=number
        )
        pose = cameras.cam_from_world[i].astype(np.float64)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
        seen_in.append(seen.astype(np.int32))
    for xyz, rgb, sights in zip(points.xyz, points.rgb, _by_point(seen_in, len(points.xyz))):
        track = pycolmap.Track()
        for number, k in sights:
            track.add_element(int(number), int(k))
        model.add_point3D(xyz, track, rgb)
    if len(points.column):
        model.update_point_3d_errors()
    return model


def _by_point(seen_in: list[np.ndarray], count: int) -> list[np.ndarray]:
    """From the points that each image sees, in order, to each point's observations.

    An observation is (S, 2) int32: the image, and the point's place in it.
    """
    point = np.concatenate(seen_in)
    image = np.repeat(np.arange(1, len(seen_in) + 1, dtype=np.int32), [len(seen) for seen in seen_in])
    place = np.concatenate([np.arange(len(seen), dtype=np.int32) for seen in seen_in])
    order = np.argsort(point, kind="stable")
    stops = np.cumsum(np.bincount(point, minlength=count))[:-1]
    return np.split(np.column_stack([image, place])[order], stops)


def _sights(video: Video, frames: np.ndarray, column: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield for each frame its number, the points that it sees (K,), and their pixels (K, 2)."""
    if not len(column):
        for i in frames:
            yield int(i), np.zeros(0, np.int64), np.zeros((0, 2))
        return
    for row in track_rows(video, column, frames):
        seen = np.flatnonzero(row.seen)
        yield row.i, seen, row.uv[seen]


def _resting_tracks(video: Video, frames: np.ndarray, max_points: int, max_spread: float) -> _Points | None:
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
    return _Points((origin + mean)[column], column, np.tile(_GREY, (len(column), 1))) if len(column) else None


def _depth_points(video: Video, frames: np.ndarray, max_points: int, coloured: bool) -> _Points:
    """Return points of the depth maps, equally many from each frame; none if there is no depth."""
    nothing = _Points(np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros((0, 3), np.uint8))
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
    return _Points(np.concatenate(xyz), nothing.column, np.concatenate(rgb))


def _write_images(video: Video, frames: np.ndarray, folder: Path, quality: int, column: np.ndarray) -> np.ndarray:
    """Write the pictures; return the colours of tracks where they are first seen, (P, 3) uint8."""
    colours = np.tile(_GREY, (len(column), 1))
    waiting = np.ones(len(column), bool)
    for rgb, (i, seen, uv) in zip(pictures(video, frames), _sights(video, frames, column)):
        (folder / image_name(i)).write_bytes(jpeg(rgb, quality))
        new = waiting[seen]
        u, v = np.rint(uv[new]).astype(int).T
        colours[seen[new]] = rgb[np.clip(v, 0, video.height - 1), np.clip(u, 0, video.width - 1)]
        waiting[seen] = False
    return colours
