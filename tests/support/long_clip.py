"""A synthetic clip cut into segments with worlds of their own, and its tracks over all segments held to exact truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geoflow.geometry.rigid import Sim3
from geoflow.segments import Segment, VideoInfo, plan_segments
from geoflow.stage import Fields, Stage
from geoflow.stages.stitch import Stitch
from geoflow.synth.groundtruth import TrueTracks
from geoflow.synth.scene import Scene, build_scene
from geoflow.synth.shots import Shot, SurfacePoints, shoot

SIZE, OVERLAP = 16, 5


@dataclass(frozen=True)
class LongClip:
    """Frames with exact depth and cameras, and their segments."""

    scene: Scene
    shots: list[Shot]
    segments: list[Segment]
    worlds: list[Sim3]  # from the true world to each segment's

    @property
    def video(self) -> VideoInfo:
        return self.segments[0].video

    def fields(self, segment: Segment) -> Fields:
        """What the stages above the tracks give for one segment."""
        shots, world = self.shots[segment.start : segment.stop], self.worlds[segment.index]
        poses = world.apply_to_cameras(np.stack([shot.view.cam_from_world for shot in shots]))
        index = np.arange(segment.start, segment.stop)
        return {
            "frames.rgb": np.stack([shot.rgb for shot in shots]),
            "frames.index": index,
            "frames.time": index / self.video.fps,
            "camera.intrinsics": np.stack([shot.view.intrinsics for shot in shots]).astype(np.float32),
            "camera.cam_from_world": poses.astype(np.float32),
            "camera.depth": (np.stack([shot.depth for shot in shots]) * world.scale).astype(np.float16),
            "camera.valid": np.ones(len(shots), bool),
        }

    def truth(self, tracks: Fields) -> TrueTracks:
        """Return the true tracks of what the tracks' first pixels show."""
        points = SurfacePoints(self.scene)
        rows = []
        for frame in np.unique(tracks["born"]):
            mine = np.flatnonzero(tracks["born"] == frame)
            u, v = np.rint(tracks["uv"][frame, mine]).astype(int).T
            points.add(self.shots[frame], u, v)
            rows.append(mine)
        found = points.follow([shot.view for shot in self.shots], self.video.height, self.video.width)
        back = np.argsort(np.concatenate(rows))
        return TrueTracks(found.xyz[:, back], found.uv[:, back], found.visible[:, back], found.static[back])


def long_clip(
    seams: int, *, seed: int = 0, moving: int = 2, width: int = 192, height: int = 144, same_world: bool = False
) -> LongClip:
    """Film a room for so many frames that it has `seams` seams."""
    count = SIZE + seams * (SIZE - OVERLAP)
    scene = build_scene(seed, moving)
    shots = list(shoot(scene, count, width, height, 30.0, seed, "handheld"))
    video = VideoInfo("clip", "clip.mp4", "", count, 30.0, height, width, height, width)
    segments = list(plan_segments(video, SIZE, OVERLAP))
    rng = np.random.default_rng(seed)
    worlds = [
        Sim3(float(rng.uniform(0.5, 2)), Rotation.random(random_state=int(k)).as_matrix(), rng.normal(0, 3, 3))
        for k in (np.zeros(len(segments)) if same_world else range(len(segments)))
    ]
    return LongClip(scene, shots, segments, [worlds[0]] * len(worlds) if same_world else worlds)


def followed(
    clip: LongClip, make: Callable[[], Stage], change: Callable[[Segment, Fields], None] | None = None
) -> Fields:
    """Run a tracks stage and stitch over all segments: `xyz`, `uv`, `visible`, a column per number; `ids`, `born`.

    Each segment has a stage of its own, which takes over the state of the one before. The places are in the true world.
    `change` may change a segment's fields.
    """
    columns: dict[int, int] = {}
    born: list[int] = []
    parts = []
    stage, stitch = make(), Stitch()
    for segment in clip.segments:
        given = clip.fields(segment)
        if change is not None:
            change(segment, given)
        state, stage = stage.state(), make()
        stage.restore(state)
        wanted = {name: array for name, array in given.items() if name in (*stage.inputs, *stage.optional)}
        found = stage.process(segment, wanted)
        for number, query in zip(found["tracks.id"].tolist(), found["tracks.query"]):
            if number not in columns:
                columns[number] = len(columns)
                born.append(int(query[0]))
        parts.append((segment, stitch.process(segment, {**given, **found})))
    shape = (clip.video.num_frames, len(columns))
    whole = {
        "xyz": np.full((*shape, 3), np.nan),
        "uv": np.full((*shape, 2), np.nan),
        "visible": np.zeros(shape, bool),
    }
    for segment, fields in parts:
        column = [columns[number] for number in fields["tracks.id"].tolist()]
        for name, array in whole.items():
            array[segment.start : segment.stop, column] = fields[f"tracks.{name}"]
    first = parts[0][1]
    pose, own = clip.shots[0].view.cam_from_world, first["camera.cam_from_world"][0].astype(float)
    scale = np.median(first["camera.depth"][0].astype(float)) / np.median(clip.shots[0].depth)
    in_camera = whole["xyz"] @ own[:3, :3].T + own[:3, 3]
    whole["xyz"] = (in_camera / scale - pose[:3, 3]) @ pose[:3, :3]
    return {**whole, "born": np.array(born), "ids": np.array(list(columns))}
