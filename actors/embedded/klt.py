"""Embedded tracks: points of a grid, followed from segment to segment and lifted into the world by depth and pose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.backends.query_params import QueryParams
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

if TYPE_CHECKING:
    from geoflow.geometry.motion.followed_points import Anchors, FollowedPoints
    from geoflow.geometry.motion.lifting import CamerasWithDepth, LiftedTracks


class Klt(Stage):
    """Pyramidal Lucas-Kanade tracks in 3D. A point goes on in the next segment, and new ones begin where the picture
    holds none.

    Points of the grid whose query frame has no pose, or no depth there, are left out. Points that the user asks for are
    kept: without a place in the world only their pixels are known.
    """

    slot = "tracks"
    version = "3"
    inputs = (
        "frames.rgb",
        "frames.index",
        "camera.intrinsics",
        "camera.cam_from_world",
        "camera.depth",
        "camera.valid",
    )
    optional = ("frames.mask", "objects.label")
    outputs = ("tracks.xyz", "tracks.visible", "tracks.uv", "tracks.query", "tracks.id")
    optional_outputs = ("tracks.object", "tracks.row")
    ordered = True
    honours = frozenset({"intrinsics"})  # by way of the camera's

    @dataclass(frozen=True)
    class Params(QueryParams):
        grid_size: int = param(20, "points along the longer side of the picture", at_least=1, at_most=1000)
        min_likeness: float = param(
            0.6, "least correlation (0..1) with an earlier look of a point to call it visible", at_least=0, at_most=1
        )

    def process(self, segment: Segment, fields: Fields) -> Fields:
        import cv2

        from geoflow.geometry.motion.asked_points import asked_so_far
        from geoflow.geometry.motion.carried_tracks import take_over
        from geoflow.geometry.motion.followed_points import from_state, go_on, on_one_surface
        from geoflow.geometry.motion.lifting import CamerasWithDepth, lift_tracks

        cv2.setNumThreads(self.threads)
        cameras = CamerasWithDepth.of(fields)
        carried = take_over(self.carried, segment, cameras)
        anchors = from_state(self.carried) if len(carried) else {}
        grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in fields["frames.rgb"]]
        points = go_on(carried, anchors, grays, cameras, self.params.min_likeness)
        points = self._with_new(points, segment, grays, cameras, fields)
        if (mask := fields.get("frames.mask")) is not None:
            points = _outside(mask, points)
        anchors |= {segment.start + t: grays[t] for t in np.unique(points.born[len(carried) :] - segment.start)}
        points = on_one_surface(points, cameras, segment.start)
        lifted = lift_tracks(points.uv, np.isfinite(points.uv).all(-1), cameras)
        place = _query_places(segment, points, lifted)
        placed = np.isfinite(place).all(1)
        keep = np.flatnonzero(placed | (points.rows >= 0) | (np.arange(len(points)) < len(carried)))
        points, lifted, place = points.some(keep), lifted.some(keep), place[keep]
        new = len(points) - len(carried)
        ids = np.concatenate([carried.ids, carried.next_id + np.arange(new, dtype=np.int32)]).astype(np.int32)
        self.carried = _handed_over(segment, cameras, points, lifted, ids, carried.next_id + new, grays, anchors)
        self.carried |= asked_so_far(segment, fields["frames.index"])
        found = {
            "tracks.xyz": lifted.xyz,
            "tracks.visible": lifted.visible,
            "tracks.uv": lifted.uv,
            "tracks.query": np.concatenate([points.born[:, None], place], 1).astype(np.float32),
            "tracks.id": ids,
        }
        if "objects.label" in fields:
            found["tracks.object"] = points.objects
        return found | {"tracks.row": points.rows} if self.params.queries else found

    def _with_new(
        self,
        points: FollowedPoints,
        segment: Segment,
        grays: list[np.ndarray],
        cameras: CamerasWithDepth,
        fields: Fields,
    ) -> FollowedPoints:
        """Return the points, with those added that the user asks for, and those picked where none of them is seen."""
        from geoflow.geometry.motion.asked_points import asked_points
        from geoflow.geometry.motion.followed_points import FollowedPoints, begin
        from geoflow.geometry.motion.point_tracks import snapped_grid
        from geoflow.geometry.motion.track_queries import depth_edges, pickable, query_frames, value_at

        mask, label = fields.get("frames.mask"), fields.get("objects.label")
        follow = partial(
            begin, grays=grays, cameras=cameras, min_likeness=self.params.min_likeness, first_frame=segment.start
        )
        if self.params.queries:
            asked = asked_points(self.params.queries, segment, fields["frames.index"], cameras, self.carried)
            for t in np.unique(asked.frame):
                mine = asked.frame == t
                objects = None if label is None else value_at(label[t], asked.uv[mine])
                points = FollowedPoints.together(
                    [points, follow(int(t), asked.uv[mine], objects=objects, rows=asked.rows[mine])]
                )
        if not self.params.grid:
            return points
        spacing = max(grays[0].shape) / self.params.grid_size
        for t in query_frames(segment, cameras.valid, self.params.query_every):
            ignored = depth_edges(cameras.depth[t])
            pixels = snapped_grid(grays[t], self.params.grid_size, ignored if mask is None else ignored | mask[t])
            shown, only = None if label is None else label[t], self.params.objects_only
            pixels, objects = pickable(pixels, points.uv[t], spacing, cameras.depth[t], shown, objects_only=only)
            if len(pixels):
                points = FollowedPoints.together([points, follow(t, pixels, objects=objects)])
        return points


def _outside(mask: np.ndarray, points: FollowedPoints) -> FollowedPoints:
    """Return the points, not seen where the mask (T, H, W) says to ignore the picture."""
    from geoflow.geometry.motion.lifting import sample_depth

    ignored = sample_depth(mask, points.uv) > 0
    return replace(points, uv=np.where(ignored[..., None], np.float32(np.nan), points.uv))


def _query_places(segment: Segment, points: FollowedPoints, lifted: LiftedTracks) -> np.ndarray:
    """Return the places (N, 3) of the points in their query frames; NaN if unknown, or if the frame is not here."""
    here = (points.born >= segment.start) & (points.born < segment.stop)
    frame = np.where(here, points.born - segment.start, 0)
    return np.where(here[:, None], lifted.xyz[frame, np.arange(len(points))], np.nan)


def _handed_over(
    segment: Segment,
    cameras: CamerasWithDepth,
    points: FollowedPoints,
    lifted: LiftedTracks,
    ids: np.ndarray,
    next_id: int,
    grays: list[np.ndarray],
    anchors: Anchors,
) -> dict[str, Any]:
    """Return the state for the next segment: the points that go on, and the pictures of their anchors."""
    from geoflow.geometry.motion.carried_tracks import hand_over
    from geoflow.geometry.motion.followed_points import anchored, as_state

    shared, alive = segment.overlap_after, np.zeros(len(points), bool)
    pictures: Anchors = {}
    if shared and len(points):
        points, alive, pictures = anchored(
            points, lifted, grays, anchors, cameras, first_frame=segment.start, shared=shared
        )
    state = hand_over(
        segment,
        cameras,
        alive,
        ids=ids,
        born=points.born,
        objects=points.objects,
        rows=points.rows,
        uv=np.where(lifted.seen[..., None], points.uv, np.nan),
        xyz=np.where((points.unseen > 0)[:, None], points.place, lifted.xyz),
        next_id=next_id,
        extra={"anchor": points.anchor, "start": points.start, "unseen": points.unseen, "rests": points.rests},
    )
    return state | as_state(pictures)
