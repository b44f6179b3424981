"""Clips: the scene filmed along a camera path, as a video file with ground truth, or in memory."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.synth.camera_path import cam_from_world_at
from geoflow.synth.groundtruth import GroundTruthWriter, TrueBodies, TrueTracks
from geoflow.synth.render import View
from geoflow.synth.scene import Scene, build_scene
from geoflow.synth.shots import Shot, SurfacePoints, shoot
from geoflow.video.colour import BT601

_TRACK_QUERIES = 4  # frames in which points are picked
_TRACK_GRID = (8, 10)  # points picked per such frame, rows by columns


@dataclass(frozen=True)
class Clip:
    """A rendered clip in memory; see `groundtruth` for units."""

    frames: np.ndarray  # (T, H, W, 3) uint8
    fps: float
    intrinsics: np.ndarray  # (T, 3, 3) float32
    cam_from_world: np.ndarray  # (T, 4, 4) float32
    depth: np.ndarray  # (T, H, W) float32
    moving: np.ndarray  # (T, H, W) bool
    label: np.ndarray  # (T, H, W) uint8
    tracks: TrueTracks
    bodies: TrueBodies


def render(
    *,
    num_frames: int = 120,
    width: int = 320,
    height: int = 240,
    fps: float = 30.0,
    seed: int = 0,
    motion: str = "handheld",
    moving: int = 1,
) -> Clip:
    """Render a clip into memory; the same arguments give the same clip, bit for bit.

    >>> clip = render(num_frames=2, width=32, height=24)
    >>> clip.frames.shape, clip.depth.shape
    ((2, 24, 32, 3), (2, 24, 32))
    """
    _check(num_frames, width, height, fps, motion, moving)
    scene = build_scene(seed, moving)
    shots, points = [], _PointPicker(scene, num_frames, seed)
    for i, shot in enumerate(shoot(scene, num_frames, width, height, fps, seed, motion)):
        points.see(i, shot)
        shots.append(shot)
    views = [shot.view for shot in shots]
    return Clip(
        frames=np.stack([shot.rgb for shot in shots]),
        fps=fps,
        intrinsics=np.stack([view.intrinsics for view in views]).astype(np.float32),
        cam_from_world=np.stack([view.cam_from_world for view in views]).astype(np.float32),
        depth=np.stack([shot.depth for shot in shots]),
        moving=np.stack([scene.moving[shot.owner] for shot in shots]),
        label=np.stack([shot.owner for shot in shots]),
        tracks=points.follow(views, height, width),
        bodies=_bodies(scene, views),
    )


def render_clip(
    path_mp4: str | Path,
    gt_path_h5: str | Path,
    *,
    num_frames: int = 120,
    width: int = 320,
    height: int = 240,
    fps: float = 30.0,
    seed: int = 0,
    motion: str = "handheld",
    moving: int = 1,
) -> None:
    """Render a clip to a video file and its ground truth beside it, frame by frame in bounded memory.

    `motion` is one of handheld, orbit, still, rotate; `moving` counts the bodies that move.

    Folders are made where they are missing. Raises ConfigError for sizes or counts that cannot be rendered, StoreError
    if a file cannot be written.
    """
    _check(num_frames, width, height, fps, motion, moving)
    if width % 2 or height % 2:
        raise ConfigError(f"yuv420p video needs an even width and height, got {width}x{height}; add or drop a pixel")
    scene = build_scene(seed, moving)
    points, views = _PointPicker(scene, num_frames, seed), []
    for path in map(Path, (path_mp4, gt_path_h5)):
        _make_place(path)
    video = _VideoWriter(path_mp4, width, height, fps)
    with GroundTruthWriter(gt_path_h5, num_frames=num_frames, height=height, width=width, fps=fps) as truth:
        with contextlib.closing(video):
            for i, shot in enumerate(shoot(scene, num_frames, width, height, fps, seed, motion)):
                video.write(shot.rgb)
                view = shot.view
                truth.frame(
                    i, view.intrinsics, view.cam_from_world, shot.depth, scene.moving[shot.owner], label=shot.owner
                )
                points.see(i, shot)
                views.append(view)
            truth.tracks(points.follow(views, height, width))
            truth.bodies(_bodies(scene, views))
        truth.source(path_mp4)


def _make_place(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}); name another file") from None


def _check(num_frames: int, width: int, height: int, fps: float, motion: str, moving: int) -> None:
    cam_from_world_at(0.0, motion, 0)  # an unknown motion is reported before anything is painted
    if num_frames < 1 or width < 16 or height < 16 or not 0.1 <= fps <= 1000 or not 0 <= moving <= 100:
        raise ConfigError(
            "a clip needs at least 1 frame, 16x16 pixels, 0.1 to 1000 frames per second and 0 to 100 moving bodies; "
            f"got {num_frames} frames, {width}x{height}, {fps} fps, {moving} moving"
        )


def _bodies(scene: Scene, views: list[View]) -> TrueBodies:
    return TrueBodies(
        np.stack([view.world_from_body for view in views]).astype(np.float32),
        np.array([body.diameter for body in scene.bodies], np.float32),
    )


class _PointPicker:
    """Picks points on visible surfaces in a few frames, then follows them through the whole clip."""

    def __init__(self, scene: Scene, num_frames: int, seed: int) -> None:
        self._points = SurfacePoints(scene)
        self._rng = np.random.default_rng([seed, 6])
        self._queries = set(np.linspace(0, num_frames - 1, min(_TRACK_QUERIES, num_frames)).astype(int).tolist())

    def see(self, i: int, shot: Shot) -> None:
        """Pick points in frame i, if it is one of the query frames."""
        if i not in self._queries:
            return
        height, width = shot.depth.shape
        rows, cols = _TRACK_GRID
        v = ((np.arange(rows)[:, None] + self._rng.uniform(0.1, 0.9, (rows, cols))) * height / rows).astype(int)
        u = ((np.arange(cols)[None] + self._rng.uniform(0.1, 0.9, (rows, cols))) * width / cols).astype(int)
        self._points.add(shot, u.ravel(), v.ravel())

    def follow(self, views: list[View], height: int, width: int) -> TrueTracks:
        """Return the points' true tracks."""
        return self._points.follow(views, height, width)


class _VideoWriter:
    """Writes RGB frames to an .mp4: H.264 at high quality if PyAV has it, else MPEG-4 part 2."""

    def __init__(self, path: str | Path, width: int, height: int, fps: float) -> None:
        import av

        self._av = av
        self._container: Any = av.open(str(path), "w")
        has_x264 = "libx264" in av.codecs_available
        # With x264's lookahead tree or several threads, the same frames gave other bits in each run.
        x264 = {"crf": "12", "preset": "fast", "x264-params": "mbtree=0"}
        options = x264 if has_x264 else {"qscale": "2", "flags": "+qscale"}
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264" if has_x264 else "mpeg4", rate=rate, options=options)
        self._stream.codec_context.thread_count = 1
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.codec_context.colorspace = BT601  # FFmpeg's matrix for RGB; without it, players guess

    def write(self, rgb: np.ndarray) -> None:
        self._container.mux(self._stream.encode(self._av.VideoFrame.from_ndarray(rgb, format="rgb24")))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
