"""Writes stores of a known quality from a rendered clip, for the tests of scores and report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from geoflow.store.index import write_index, write_segments
from geoflow.store.paths import RunPaths
from geoflow.synth import Clip
from geoflow.synth.groundtruth import GroundTruthWriter


@dataclass
class Flaws:
    """How far a store is from the truth; the default is a perfect one at scale 1."""

    scale: float = 1.0  # stored = scale * true
    depth_gain: dict[int, float] = field(default_factory=dict)  # frame -> factor on its depth
    drop: int = 0  # leave out every pixel in the first `drop` columns
    pose_noise: float = 0.0
    segments: tuple[tuple[int, int], ...] = ()  # frame ranges; () is one over the whole clip
    leave_out: tuple[str, ...] = ()  # groups
    source: str = "clip.mp4"


def write_truth(
    path: Path,
    clip: Clip,
    *,
    posed: Collection[int] | None = None,
    deep: Collection[int] | None = None,
    intrinsics: bool = True,
    metric: bool = True,
    motion: str | None = None,
) -> None:
    """The clip's ground-truth file, without rendering it a second time.

    `posed` and `deep` are the frames whose pose and depth are known, by default all.
    """
    num, height, width = clip.depth.shape
    writer = GroundTruthWriter(
        path, num_frames=num, height=height, width=width, fps=clip.fps, metric=metric, motion=motion
    )
    for i in range(num):
        writer.frame(
            i,
            clip.intrinsics[i] if intrinsics else None,
            clip.cam_from_world[i] if posed is None or i in posed else None,
            clip.depth[i] if deep is None or i in deep else None,
            clip.moving[i],
        )
    writer.tracks(clip.tracks)
    writer.close()


def write_store(path: Path, clip: Clip, flaws: Flaws | None = None) -> None:
    """A `videos/*.h5` in the layout of schema 1."""
    flaws = flaws or Flaws()
    num, height, width = clip.depth.shape
    gain = np.array([flaws.scale * flaws.depth_gain.get(i, 1.0) for i in range(num)])
    depth = clip.depth * gain[:, None, None]
    depth[..., : flaws.drop] = 0
    poses = clip.cam_from_world.copy()
    poses[:, :3, 3] *= flaws.scale
    poses[:, :3, 3] += flaws.pose_noise * np.random.default_rng(0).standard_normal((num, 3))
    arrays: dict[str, np.ndarray] = {
        "frames/index": np.arange(num),
        "frames/time": np.arange(num) / clip.fps,
        "camera/intrinsics": clip.intrinsics,
        "camera/cam_from_world": poses,
        "camera/depth": depth.astype(np.float16),
        "camera/valid": np.ones(num, bool),
        "geometry/depth": depth.astype(np.float16),
        "geometry/mask": depth > 0,
        "geometry/intrinsics": clip.intrinsics,
        "prior/depth": depth.astype(np.float16),
        "prior/mask": depth > 0,
        **_tracks(clip, flaws.scale),
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if name.split("/")[0] not in flaws.leave_out:
                file[name] = array
        file["segments"] = segment_table(flaws.segments or ((0, num),))
        file.attrs.update(
            geoflow_schema=1,
            geoflow_version="test",
            source=flaws.source,
            source_sha256="",
            fps=clip.fps,
            num_frames=num,
            height=height,
            width=width,
            metric=False,
            status="complete",
            pipeline='{"stages": {"prior": {"step": 4}}}',
        )


def segment_table(segments: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The store's `segments` table for these frame ranges."""
    text = h5py.string_dtype()
    columns = [("index", "i8"), ("start", "i8"), ("stop", "i8"), ("status", text), ("seconds_prior", "f4")]
    columns += [("seconds_camera", "f4"), ("scale", "f4"), ("seam_residual", "f4"), ("ladder", text), ("notes", text)]
    table = np.zeros(len(segments), columns)
    for k, (start, stop) in enumerate(segments):
        table[k] = (k, start, stop, "complete", 2.5, 4.0, 1.0, np.nan if k == 0 else 0.01, "{}", "[]")
    return table


def write_run(out: Path, videos: dict[str, tuple[Clip, Flaws]], failures: dict[str, str]) -> None:
    """A whole run's folder: a store per video, and failed inputs with their reasons."""
    paths = RunPaths(out)
    paths.videos.mkdir(parents=True)
    rows: list[dict] = [
        {"name": name, "source": f"/in/{name}", "status": "failed", "reason": reason}
        for name, reason in failures.items()
    ]
    for name, (clip, flaws) in videos.items():
        write_store(paths.video(name), clip, flaws)
        rows.append(
            {
                "name": name,
                "source": flaws.source,
                "status": "complete",
                "path": paths.relative(paths.video(name)),
                "num_frames": len(clip.frames),
                "fps": clip.fps,
                "height": clip.frames.shape[1],
                "width": clip.frames.shape[2],
                "segments": len(flaws.segments),
                "frames_posed": len(clip.frames),
                "geometry_coverage": 1.0,
                "motion": "moving",
                "seconds": 13.0,
            }
        )
    write_index(paths, rows)
    write_segments(paths, {name: segment_table(flaws.segments) for name, (_, flaws) in videos.items()})
    paths.run.write_text('{"pipeline": "embedded", "command": "geoflow run <in>"}')


def _tracks(clip: Clip, scale: float) -> dict[str, np.ndarray]:
    """The clip's own tracks that are seen in frame 0, as if queried there."""
    seen = clip.tracks.visible[0]
    xyz = (scale * clip.tracks.xyz[:, seen]).astype(np.float32)
    query = np.column_stack([np.zeros(seen.sum()), xyz[0]]).astype(np.float32)
    return {
        "tracks/xyz": xyz,
        "tracks/uv": clip.tracks.uv[:, seen],
        "tracks/visible": clip.tracks.visible[:, seen],
        "tracks/query": query,
    }
