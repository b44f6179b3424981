"""Cameras as a tracker of chapters gives them: each chapter in a world and a unit of its own, and drifting in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geoflow.bench.loops.ring_walk import HEIGHT, WIDTH, RingWalk
from geoflow.geometry.cameras import project
from geoflow.geometry.rigid import Sim3, invert
from geoflow.segments import Segment, Span, VideoInfo, plan_chapters, plan_segments

SIZE, OVERLAP = 48, 12
_TURN, _UNIT = 0.02, 0.0003  # drift of a frame: degrees about each axis, log of the unit; constant over a chapter
_JITTER_DEG, _JITTER_M = 0.02, 0.002  # of each frame
_DEPTH = 0.02  # relative error of depth, smooth over the picture
_POINTS = 40  # tracks of a segment

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Chapter:
    cam_from_world: np.ndarray  # (T, 4, 4)
    units: np.ndarray  # (T,) depth is the true depth times this


class DriftingCameras:
    """A walk of `frames` frames, cut into `chapters`, with the noise of a seed."""

    def __init__(self, walk: RingWalk, frames: int, chapters: int, seed: int, *, drift: float = 1.0) -> None:
        self.walk, self._drift, self._seed = walk, drift, seed
        self.video = VideoInfo("walk", "/nowhere/walk.mp4", "ab" * 32, frames, 15.0, HEIGHT, WIDTH, HEIGHT, WIDTH)
        self.segments = list(plan_segments(self.video, SIZE, OVERLAP))
        length = (frames - 2 * OVERLAP) // chapters
        self.spans = list(plan_chapters(self.video, SIZE, OVERLAP, length=length, reach=2 * OVERLAP))
        self.truth = np.stack([walk.cam_from_world(t) for t in range(frames)])
        self._chapters = [self._track(span) for span in self.spans]

    def _track(self, span: Span) -> _Chapter:
        rng = np.random.default_rng([self._seed, span.index])
        turn, unit = self._drift * _TURN * rng.normal(size=3), self._drift * _UNIT * rng.normal()
        units = np.exp(unit * np.arange(len(span)))
        true = self.truth[span.start : span.stop]
        poses = [np.eye(4)]
        for t in range(1, len(span)):
            step = true[t] @ invert(true[t - 1])
            step[:3, :3] = Rotation.from_rotvec(np.radians(turn)).as_matrix() @ step[:3, :3]
            step[:3, 3] *= units[t]
            poses.append(step @ poses[-1])
        found = np.stack(poses)
        jitter = Rotation.from_rotvec(np.radians(_JITTER_DEG) * rng.normal(size=(len(span), 3))).as_matrix()
        found[:, :3, :3] = jitter @ found[:, :3, :3]
        found[:, :3, 3] += _JITTER_M * rng.normal(size=(len(span), 3))
        world = Sim3(
            float(rng.uniform(0.5, 2)), Rotation.random(random_state=span.index).as_matrix(), rng.normal(size=3)
        )
        return _Chapter(world.apply_to_cameras(found), units * world.scale)

    def fields(self, segment: Segment) -> Fields:
        """Return what the stages before `stitch` give: cameras, depth, and points followed from the first frame."""
        span = next(span for span in self.spans if span.first <= segment.index <= span.last)
        chapter, numbers = self._chapters[span.index], np.arange(segment.start, segment.stop)
        poses, units = (rows[numbers - span.start] for rows in (chapter.cam_from_world, chapter.units))
        depth = np.stack([self._depth(int(t)) * unit for t, unit in zip(numbers, units)]).astype(np.float16)
        count = len(segment)
        return {
            "frames.index": numbers,
            "frames.time": numbers / self.video.fps,
            "camera.intrinsics": np.tile(self.walk.intrinsics, (count, 1, 1)).astype(np.float32),
            "camera.cam_from_world": poses.astype(np.float32),
            "camera.depth": depth,
            "camera.valid": np.ones(count, bool),
            "camera.motion": np.ones(count, np.uint8),
            **self._tracks(segment, poses, units),
        }

    def _depth(self, frame: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, 7, frame])
        down, across = np.mgrid[:HEIGHT, :WIDTH] / WIDTH
        a, b, c = _DEPTH * rng.normal(size=3)
        found: np.ndarray = self.walk.depth(frame) * (1 + a + b * (down - 0.4) + c * (across - 0.5))
        return found

    def _tracks(self, segment: Segment, poses: np.ndarray, units: np.ndarray) -> Fields:
        """Return points of the first frame as each frame's own camera places them; a point is seen where it is ahead
        and inside the picture."""
        rng = np.random.default_rng([self._seed, 8, segment.index])
        start, lens = segment.start, self.walk.intrinsics
        u, v = rng.integers(0, WIDTH, _POINTS), rng.integers(0, HEIGHT, _POINTS)
        z = self.walk.depth(start)[v, u].astype(np.float64)
        rays = np.stack((u, v, np.ones(_POINTS)), 1) @ np.linalg.inv(lens).T
        true = (rays * z[:, None] - self.truth[start, :3, 3]) @ self.truth[start, :3, :3]
        xyz = np.full((len(poses), _POINTS, 3), np.nan, np.float32)
        uv = np.full((len(poses), _POINTS, 2), np.nan, np.float32)
        for t, (pose, unit) in enumerate(zip(poses, units)):
            seen = true @ self.truth[start + t, :3, :3].T + self.truth[start + t, :3, 3]
            pixel = project(seen, lens)
            inside = (seen[:, 2] > 0.2) & (pixel >= 0).all(1) & (pixel < (WIDTH, HEIGHT)).all(1)
            xyz[t, inside] = (unit * seen[inside] - pose[:3, 3]) @ pose[:3, :3]
            uv[t, inside] = pixel[inside]
        query = np.concatenate((np.full((_POINTS, 1), start), xyz[0]), 1).astype(np.float32)
        visible = np.isfinite(uv[..., 0])
        return {"tracks.xyz": xyz, "tracks.visible": visible, "tracks.uv": uv, "tracks.query": query}
