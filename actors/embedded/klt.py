"""Embedded tracks: a grid of points, followed both ways and lifted into the world by depth and pose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

if TYPE_CHECKING:
    from geoflow.geometry.motion.lifting import CamerasWithDepth


class Klt(Stage):
    """Pyramidal Lucas-Kanade tracks in 3D; points whose query frame has no pose or no depth are left out."""

    slot = "tracks"
    version = "2"
    inputs = ("frames.rgb", "camera.intrinsics", "camera.cam_from_world", "camera.depth", "camera.valid")
    optional = ("frames.mask",)
    outputs = ("tracks.xyz", "tracks.visible", "tracks.uv", "tracks.query")
    honours = frozenset({"intrinsics"})  # by way of the camera's

    @dataclass(frozen=True)
    class Params(Stage.Params):
        grid: int = param(20, "points along the longer side of the picture, per query frame", at_least=1, at_most=1000)
        queries: int = param(1, "frames of a segment at which points are picked, evenly spread", at_least=1)
        min_likeness: float = param(
            0.6, "least correlation (0..1) with the first look of a point to call it visible", at_least=0, at_most=1
        )

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.motion.lifting import CamerasWithDepth

        cv2.setNumThreads(self.threads)
        valid = fields["camera.valid"]
        cameras = CamerasWithDepth(
            fields["camera.intrinsics"], fields["camera.cam_from_world"], fields["camera.depth"], valid
        )
        usable = np.flatnonzero(valid)
        count = min(self.params.queries, len(usable))
        picks = usable[((np.arange(count) + 0.5) * len(usable) / max(count, 1)).astype(int)]
        grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in fields["frames.rgb"]] if count else []
        found = [self._from_query(int(query), grays, cameras, fields.get("frames.mask"), segment) for query in picks]
        num_frames = len(segment)
        none = {
            "tracks.xyz": np.zeros((num_frames, 0, 3), np.float32),
            "tracks.visible": np.zeros((num_frames, 0), bool),
            "tracks.uv": np.zeros((num_frames, 0, 2), np.float32),
            "tracks.query": np.zeros((0, 4), np.float32),
        }
        parts = [none, *(tracks for tracks in found if tracks)]
        return {name: np.concatenate([p[name] for p in parts], int(name != "tracks.query")) for name in none}

    def _from_query(
        self, query: int, grays: list[np.ndarray], cameras: CamerasWithDepth, mask: np.ndarray | None, segment: Segment
    ) -> Fields:
        """Return the tracks of the points picked in one frame of the segment; {} if none has depth."""
        from geoflow.geometry.motion.lifting import lift_points, lift_tracks, project_all, sample_depth
        from geoflow.geometry.motion.point_tracks import snapped_grid, track_both_ways

        points = snapped_grid(grays[query], self.params.grid, None if mask is None else mask[query])
        everywhere = np.broadcast_to(points, (len(grays), *points.shape))
        points = points[sample_depth(cameras.depth, everywhere)[query] > 0]
        if not len(points):
            return {}
        everywhere = np.broadcast_to(points, (len(grays), *points.shape))
        hints, _ = project_all(lift_points(everywhere, cameras)[query], cameras)
        uv, visible = track_both_ways(grays, query, points, hints=hints, min_likeness=self.params.min_likeness)
        if mask is not None:
            visible &= ~(sample_depth(mask, uv) > 0)
        lifted = lift_tracks(uv, visible, cameras)
        start = lifted.xyz[query]
        keep = np.isfinite(start).all(1)
        frame = np.full((int(keep.sum()), 1), segment.start + query, np.float32)
        return {
            "tracks.xyz": lifted.xyz[:, keep],
            "tracks.visible": lifted.visible[:, keep],
            "tracks.uv": lifted.uv[:, keep],
            "tracks.query": np.concatenate([frame, start[keep]], 1),
        }
