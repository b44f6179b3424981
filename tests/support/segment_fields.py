"""Fields of a video cut into segments, each in a world and scale of its own, for the tests of stitch and store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geoflow.geometry.cameras import pinhole, unproject
from geoflow.geometry.rigid import Sim3
from geoflow.segments import Segment, VideoInfo, plan_segments

HEIGHT, WIDTH = 12, 16


@dataclass
class Truth:
    """One video in its true world: depth (T, H, W), cam_from_world (T, 4, 4) float64, tracks per segment."""

    video: VideoInfo
    segments: list[Segment]
    depth: np.ndarray
    cam_from_world: np.ndarray
    tracks: list[np.ndarray]  # (T, N, 3) world, per segment
    worlds: list[Sim3]  # true world to each segment's world
    geometry_scales: list[float]


def make_truth(num_frames: int = 40, *, size: int = 16, overlap: int = 6, seed: int = 0, metric: bool = False) -> Truth:
    """A walk through smooth random depth; worlds differ by a random Sim(3), geometry by a scale of its own."""
    rng = np.random.default_rng(seed)
    video = VideoInfo(
        "clip", "/nowhere/clip.mp4", "ab" * 32, num_frames, 25.0, HEIGHT, WIDTH, HEIGHT, WIDTH, metric=metric
    )
    segments = list(plan_segments(video, size, overlap))
    t, v, u = np.mgrid[:num_frames, :HEIGHT, :WIDTH]
    depth = 7 + 2 * np.sin(u / 4 + t / 9) + 1.5 * np.cos(v / 3 - t / 7)
    poses = np.tile(np.eye(4), (num_frames, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.03, (num_frames, 3)), 0)).as_matrix()
    poses[:, :3, 3] = np.cumsum(rng.normal(0, 0.2, (num_frames, 3)), 0) + [1, 2, 3]
    tracks = [rng.normal(0, 5, (1, 4 + s.index, 3)).repeat(len(s), 0) for s in segments]
    worlds = [
        Sim3(float(rng.uniform(0.3, 3)), Rotation.random(random_state=k).as_matrix(), rng.normal(0, 4, 3))
        for k in range(len(segments))
    ]
    return Truth(video, segments, depth, poses, tracks, worlds, list(rng.uniform(0.3, 3, len(segments))))


def fields_of(truth: Truth, segment: Segment) -> dict[str, np.ndarray]:
    """What the stages before stitch would give for one segment, all of it."""
    k, part = segment.index, slice(segment.start, segment.stop)
    world, count = truth.worlds[k], len(segment)
    index = np.arange(segment.start, segment.stop)
    intrinsics = np.tile(pinhole(20.0, HEIGHT, WIDTH), (count, 1, 1))
    points = unproject(truth.depth[part], intrinsics) * truth.geometry_scales[k]
    mask = np.ones((count, HEIGHT, WIDTH), bool)
    mask[:, :2] = False
    xyz = world.apply(truth.tracks[k]).astype(np.float32)
    query = np.concatenate([np.full((xyz.shape[1], 1), segment.start), xyz[0]], 1).astype(np.float32)
    fields = {
        "frames.index": 2 * index,  # every second frame of the source
        "frames.time": index / truth.video.fps,
        "prior.points": (points * 0.5).astype(np.float16),
        "prior.mask": mask,
        "prior.intrinsics": intrinsics,
        "geometry.points": np.where(mask[..., None], points, 0).astype(np.float16),
        "geometry.mask": mask,
        "geometry.intrinsics": intrinsics,
        "camera.intrinsics": intrinsics,
        "camera.cam_from_world": world.apply_to_cameras(truth.cam_from_world[part]).astype(np.float32),
        "camera.depth": (truth.depth[part] * world.scale).astype(np.float16),
        "camera.valid": np.ones(count, bool),
        "camera.motion": np.ones(count, np.uint8),
        "tracks.xyz": xyz,
        "tracks.visible": np.ones(xyz.shape[:2], bool),
        "tracks.uv": np.full((*xyz.shape[:2], 2), 3, np.float32),
        "tracks.query": query,
        **_hand(index, world.scale, "left"),
    }
    for array in fields.values():
        array.flags.writeable = False  # as they come from the object store
    return fields


def _hand(index: np.ndarray, scale: float, side: str) -> dict[str, np.ndarray]:
    """A hand in every third frame, two units in front of the camera."""
    valid = index % 3 == 0
    missing = ~valid

    def rows(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[missing] = np.nan
        return array

    joints = np.tile([0.1, 0.2, 2.0], (len(index), 21, 1)) * scale
    wrist = np.tile(np.eye(4), (len(index), 1, 1))
    wrist[:, :3, 3] = [0.1 * scale, 0.2 * scale, 2 * scale]
    return {
        f"hands.{side}.valid": valid,
        f"hands.{side}.joints": rows(joints),
        f"hands.{side}.wrist": rows(wrist),
        f"hands.{side}.uv": rows(np.full((len(index), 21, 2), 5.0)),
        f"hands.{side}.confidence": np.where(valid, 0.9, 0).astype(np.float32),
    }


def video_world(truth: Truth, depth: np.ndarray | None = None) -> Sim3:
    """True world to the one that stitch chooses: first camera at the origin, median depth of segment 0 two."""
    first = truth.segments[0]
    scale = 2.0 / float(np.median(truth.depth[first.start : first.stop] if depth is None else depth))
    start = truth.cam_from_world[0]
    return Sim3(scale, start[:3, :3], scale * start[:3, 3])
