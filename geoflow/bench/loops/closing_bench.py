"""The path's error before and after loops are closed, through the stages that a run has, without Ray."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from actors.embedded.places import Places
from geoflow.bench.loops.drifting_cameras import OVERLAP, DriftingCameras
from geoflow.bench.loops.ring_walk import LAP, RingWalk
from geoflow.geometry.rigid import invert, umeyama
from geoflow.segments import Segment
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.paths import RunPaths
from geoflow.store.schema import LOOPS

CHAPTERS = 4
# Name -> frames, and whether all sides of the corridor look alike.
WALKS = {
    "returns": (LAP + 80, False),
    "no return": (280, False),
    "alike": (280, True),
    "alike returns": (LAP + 80, True),
}


class _Pictures:
    """A segment's frames, drawn when they are looked at."""

    def __init__(self, walk: RingWalk, segment: Segment, drawn: dict[int, np.ndarray]) -> None:
        self._walk, self._start, self._drawn = walk, segment.start, drawn

    def __getitem__(self, t: int) -> np.ndarray:
        frame = self._start + t
        if frame not in self._drawn:
            self._drawn[frame] = self._walk.picture(frame)
        return self._drawn[frame]


def put_together(
    out: Path, cameras: DriftingCameras, *, places: bool, drawn: dict[int, np.ndarray] | None = None
) -> tuple[Path, np.ndarray]:
    """Take a walk through `places`, `stitch` and `write`. Return its store, and the poses (T, 4, 4) as stitched.

    `drawn` keeps pictures from walk to walk.
    """
    stitch, write = Stitch(), Write(Write.Params(out=str(out), compression=0))
    poses = []
    for segment in cameras.segments:
        fields = cameras.fields(segment)
        if places:
            pictures: Any = _Pictures(cameras.walk, segment, {} if drawn is None else drawn)
            fields |= Places().process(segment, {**fields, "frames.rgb": pictures})
        stitched = stitch.process(segment, fields)
        poses.append(stitched["camera.cam_from_world"])
        write.process(segment, stitched)
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in cameras.segments]
    write.finish(cameras.video, records)
    return RunPaths(out).video(cameras.video.name), np.concatenate(poses)


def path_error(cam_from_world: np.ndarray, truth: np.ndarray) -> float:
    """Return the root mean square error of the camera's place (ATE) after a similarity, in the truth's unit."""
    own, true = (invert(poses.astype(np.float64))[:, :3, 3] for poses in (cam_from_world, truth))
    aligned = umeyama(own, true).apply(own)
    return float(np.sqrt(((aligned - true) ** 2).sum(1).mean()))


def joint_error(cam_from_world: np.ndarray, cameras: DriftingCameras) -> tuple[float, float]:
    """Return how wrong the motion over twice a joint's length is, the joint in the middle: m, and degrees; RMS."""
    own, true = cam_from_world.astype(np.float64), cameras.truth
    shift, turn = [], []
    metres = umeyama(invert(own)[:, :3, 3], invert(true)[:, :3, 3]).scale
    for span in cameras.spans[1:]:
        a, b = span.start - OVERLAP // 2, span.start + OVERLAP + OVERLAP // 2
        one, other = own[b] @ invert(own[a]), true[b] @ invert(true[a])
        shift.append(np.linalg.norm(metres * one[:3, 3] - other[:3, 3]))
        turn.append(Rotation.from_matrix(one[:3, :3] @ other[:3, :3].T).magnitude())
    return float(np.sqrt(np.mean(np.square(shift)))), float(np.degrees(np.sqrt(np.mean(np.square(turn)))))


def scores(path: Path, cameras: DriftingCameras) -> dict[str, float]:
    """Return how far a store's path is off in m, how far units of depth spread over frames (a factor), and how far
    points lie from where they were seen, in px."""
    with h5py.File(path) as file:
        poses, depth = file["camera/cam_from_world"][()], file["camera/depth"]
        units = [np.median(depth[t] / cameras.walk.depth(t)) for t in range(0, len(depth), 8)]
        xyz, uv = file["tracks/xyz"][()], file["tracks/uv"][()]
        lens = cameras.walk.intrinsics
        moved = np.einsum("tij,tnj->tni", poses[:, :3, :3], xyz) + poses[:, None, :3, 3]
        seen = moved @ lens.T
        gap = np.linalg.norm(seen[..., :2] / seen[..., 2:] - uv, axis=2)
        return {
            "ate_m": path_error(poses, cameras.truth),
            "unit_spread": float(np.exp(np.std(np.log(units)))),
            "points_px": float(np.nanmedian(gap)),
            **dict(zip(("joint_m", "joint_deg"), joint_error(poses, cameras))),
            "loops": len(json.loads(file.attrs.get(LOOPS, "[]"))),
        }


def bench_loops(seeds: Sequence[int], walks: Sequence[str]) -> dict[str, Any]:
    """Return for each walk and seed the scores as stitched, with chapters adjusted at their joints, and with loops."""
    rows = []
    for name in walks:
        frames, alike = WALKS[name]
        walk = RingWalk(alike=alike)
        drawn: dict[int, np.ndarray] = {}
        for seed in seeds:
            cameras = DriftingCameras(walk, frames, CHAPTERS, seed)
            with tempfile.TemporaryDirectory() as folder:
                joined, poses = put_together(Path(folder, "joined"), cameras, places=False)
                closed, _ = put_together(Path(folder, "closed"), cameras, places=True, drawn=drawn)
                rows.append(
                    {
                        "walk": name,
                        "seed": seed,
                        "chapters": len(cameras.spans),
                        "stitched": {
                            "ate_m": path_error(poses, cameras.truth),
                            **dict(zip(("joint_m", "joint_deg"), joint_error(poses, cameras))),
                        },
                        "joined": scores(joined, cameras),
                        "closed": scores(closed, cameras),
                    }
                )
    return {"rows": rows}
