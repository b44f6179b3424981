"""`rerun`: a recording (.rrd) of everything in the store over time, for the Rerun viewer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.environments.extras import library
from geoflow.errors import StoreError
from geoflow.export.frames import Depths, has_depth, jpeg, pictures
from geoflow.export.rerun_objects import log_labels, log_objects, log_poses
from geoflow.export.track_rows import track_rows
from geoflow.fields import HAND_SIDES
from geoflow.geometry.rigid import invert
from geoflow.store.reader import Video
from geoflow.store.whole import whole_draft

_HAND_COLOURS = {"left": (80, 160, 255), "right": (255, 120, 60)}
_FLUSH = 16  # frames after which the library must write what it holds back


def export_rerun(
    video: Video, out: Path, *, stride: int = 1, images: bool = True, depth: bool = True, quality: int = 85
) -> int:
    """Write `out`, an .rrd recording; return the number of frames in it.

    Timelines: `frame`, the store's frame number, and `time`, seconds since the start of the source. Entities below
    `/world`, in OpenCV axes and scene units: `camera` is world from camera, and `camera/image` its pinhole and the
    picture (JPEG of `quality`), with the numbers of objects over it, `camera/image/labels`; `camera/depth` is the depth
    map, float32, under its own pinhole; `tracks` are the tracks that are seen; `objects/N` is the mesh of object N,
    which moves where its poses are known, and `object_paths/N` the path of its middle; `path` is the camera's whole
    path; `camera/hands/left` and `right` are the 21 joints of the main hands, and `surface` below each is its vertices
    where the store has them; `camera/hands/further/N` are the joints of other hands, by their number in the video. What
    a frame lacks is cleared there. A hand that is in metres while the scene is not has no place in the world: its
    joints are below `/hands_in_metres`, in the camera's axes. `stride` N takes every N-th frame; `images` and `depth`
    may be left out.

    Raises StoreError if pixels are wanted and cannot be read, or if there is nothing to show, ConfigError without the
    library rerun-sdk.
    """
    recording = open_recording(video, images=images)
    with whole_draft(out) as draft:
        recording.save(str(draft))
        count = sum(1 for _ in log_video(recording, video, stride=stride, images=images, depth=depth, quality=quality))
        recording.disconnect()
    return count


def open_recording(video: Video, *, images: bool = True) -> Any:
    """Return an empty recording that is not sent anywhere yet.

    Raises StoreError if there is nothing to show, ConfigError without the library.
    """
    rerun = library("rerun", "export", "to write for Rerun")
    if video.cameras is None and not has_depth(video) and not images and not video.objects:
        raise StoreError(
            f"{video.path} holds neither cameras nor depth nor objects to show; run a pipeline that has these slots"
        )
    return rerun.RecordingStream("geoflow", recording_id=f"{video.name}-{video.source_sha256[:16]}")


def log_video(
    recording: Any, video: Video, *, stride: int = 1, images: bool = True, depth: bool = True, quality: int = 85
) -> Iterator[int]:
    """Log a store frame by frame, as `export_rerun` describes; yield each frame's number after it is logged."""
    rerun = library("rerun", "export", "to write for Rerun")
    frames = range(0, len(video), stride)
    _log_static(rerun, recording, video)
    log = partial(_log, recording)
    if video.objects is not None:
        log_objects(rerun, log, video.objects)
    rows = iter(track_rows(video)) if video.tracks is not None and len(video.tracks) else None
    pixels = pictures(video, frames) if images else None
    depths = Depths(video) if depth and has_depth(video) else None
    further: set[str] = set()
    for k, i in enumerate(frames):
        recording.set_time("frame", sequence=int(i))
        recording.set_time("time", duration=float(video.frame_time[i]))
        _log_camera(rerun, recording, video, i)
        if pixels is not None:
            picture = rerun.EncodedImage(contents=jpeg(next(pixels), quality), media_type="image/jpeg")
            _log(recording, "world/camera/image", picture)
        if depths is not None:
            _log_depth(rerun, recording, video, depths, i)
        if rows is not None:
            row = next(row for row in rows if row.i == i)
            seen = rerun.Points3D(row.xyz[row.visible])
            _log(recording, "world/tracks", seen)
        _log_hands(rerun, recording, video, i)
        further = _log_further_hands(rerun, recording, video, i, further)
        if video.objects is not None:
            log_labels(rerun, log, video.objects, i)
            log_poses(rerun, log, video.objects, i)
        if k % _FLUSH == _FLUSH - 1:
            recording.flush()
        yield i
    recording.flush()


def _log(recording: Any, name: str, entry: Any, static: bool = False) -> None:
    """Log an entry. What the library cannot take is an error; by itself it would warn and leave the entry out."""
    recording.log(name, entry, static=static, strict=True)


def _log_static(rerun: Any, recording: Any, video: Video) -> None:
    _log(recording, "world", rerun.ViewCoordinates.RDF, static=True)
    if video.cameras is not None:
        centers = video.cameras.centers
        whole = np.isfinite(centers).all(1)
        runs = np.split(np.flatnonzero(whole), np.flatnonzero(np.diff(np.flatnonzero(whole)) > 1) + 1)
        strips = [centers[run] for run in runs if len(run) > 1]
        if strips:
            _log(recording, "world/path", rerun.LineStrips3D(strips), static=True)


def _log_camera(rerun: Any, recording: Any, video: Video, i: int) -> None:
    cameras = video.cameras
    if cameras is None or not (cameras.valid[i] and np.isfinite(cameras.cam_from_world[i]).all()):
        _log(recording, "world/camera", rerun.Clear(recursive=False))
        return
    pose = invert(cameras.cam_from_world[i])
    _log(recording, "world/camera", rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    _log_pinhole(rerun, recording, "world/camera/image", cameras.intrinsics[i], video)


def _log_pinhole(rerun: Any, recording: Any, name: str, intrinsics: np.ndarray, video: Video) -> None:
    if np.isfinite(intrinsics).all():
        size = [video.width, video.height]
        _log(recording, name, rerun.Pinhole(image_from_camera=intrinsics, resolution=size))


def _log_depth(rerun: Any, recording: Any, video: Video, depths: Depths, i: int) -> None:
    depth, intrinsics = depths[i]
    _log_pinhole(rerun, recording, "world/camera/depth", intrinsics, video)
    _log(recording, "world/camera/depth", rerun.DepthImage(depth, meter=1.0))


def _log_hands(rerun: Any, recording: Any, video: Video, i: int) -> None:
    for side, colour in _HAND_COLOURS.items():
        hand = getattr(video.hands, side, None)
        if hand is None:
            continue
        placed = hand.in_scene_units(video.metric)
        apart = hand.valid & ~placed
        for name, there in ((f"world/camera/hands/{side}", placed), (f"hands_in_metres/{side}", apart)):
            if there[i]:
                _log(recording, name, rerun.Points3D(hand.joints[i], colors=[colour]))
                if hand.vertices is not None:
                    _log(recording, f"{name}/surface", rerun.Points3D(hand.vertices[i], colors=[colour]))
            elif there is placed or apart.any():
                _log(recording, name, rerun.Clear(recursive=True))


def _log_further_hands(rerun: Any, recording: Any, video: Video, i: int, before: set[str]) -> set[str]:
    """Log the hands of a frame that are not the main hand of their side; return their names.

    `before` are the names in the frame before: those that are gone are cleared.
    """
    shown = set()
    if video.hands is not None and (hands := video.hands.all) is not None:
        placed = hands.in_scene_units(video.metric)
        for row in video.hands.further(i):
            home = "world/camera/hands" if placed[i, row] else "hands_in_metres"
            name = f"{home}/further/{hands.id[i, row]}"
            colour = _HAND_COLOURS[HAND_SIDES[hands.side[i, row]]]
            _log(recording, name, rerun.Points3D(hands.joints[i, row], colors=[colour]))
            shown.add(name)
    for name in sorted(before - shown):
        _log(recording, name, rerun.Clear(recursive=False))
    return shown
