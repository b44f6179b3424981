"""Points followed through the segments of a video by Lucas-Kanade. Their anchors are earlier looks at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoflow.geometry.motion.carried_tracks import FORGOTTEN, CarriedTracks
from geoflow.geometry.motion.lifting import CamerasWithDepth, LiftedTracks, lift_points, project_all, sample_depth
from geoflow.geometry.motion.point_tracks import likeness, patches, track_both_ways, track_on

_LIKE_BEFORE = 0.7  # correlation with its anchor above which a point keeps it for the next segment
_MOST_ANCHORS = 8  # pictures that are handed over
_NEAR_PX = 1.0  # distance from its reprojection, at 320 px width, within which a static point's anchor is put on it

_DEPTH_STEP = 1.2  # ratio of depths, from frame to frame, above which another surface is followed
_PER_POINT = ("born", "objects", "rows", "anchor", "start", "unseen", "rests", "place")

Anchors = Mapping[int, np.ndarray]  # frame, counted in the video -> its picture (H, W) uint8


@dataclass(frozen=True)
class FollowedPoints:
    """N points in the T frames of a segment."""

    born: np.ndarray  # (N,) int32: query frame, counted in the video
    objects: np.ndarray  # (N,) uint8
    rows: np.ndarray  # (N,) int32: row of the user's file, else -1
    anchor: np.ndarray  # (N,) int32: frame, counted in the video, of the anchor
    start: np.ndarray  # (N, 2) float32 px in the anchor's picture
    unseen: np.ndarray  # (N,) uint8: segments since it was last seen
    rests: np.ndarray  # (N,) bool: it was static then
    place: np.ndarray  # (N, 3) float64, world: where it was last; NaN if unknown
    uv: np.ndarray  # (T, N, 2) float32 px; NaN where not seen

    def __len__(self) -> int:
        return len(self.born)

    def some(self, chosen: np.ndarray) -> FollowedPoints:
        """Return the points of an index or a mask (N,)."""
        rows = {name: getattr(self, name)[chosen] for name in _PER_POINT}
        return FollowedPoints(**rows, uv=self.uv[:, chosen])

    @classmethod
    def together(cls, parts: Sequence[FollowedPoints]) -> FollowedPoints:
        """Return the points of several, in this order."""
        rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_POINT}
        return cls(**rows, uv=np.concatenate([part.uv for part in parts], axis=1))


def go_on(
    carried: CarriedTracks,
    anchors: Anchors,
    grays: Sequence[np.ndarray],
    cameras: CamerasWithDepth,
    min_likeness: float,
) -> FollowedPoints:
    """Follow the points of the segment before to the end of this one; in the shared frames they are where they were.

    `carried.extra` has their `anchor`, `start`, `unseen` and `rests`. A point that is lost is searched again
    where its last place is seen.
    """
    if not len(carried):
        return _none(len(grays))
    anchor, start, unseen, rests = (carried.extra[name] for name in ("anchor", "start", "unseen", "rests"))
    place = _last_known(carried.xyz)
    uv = np.full((len(grays), len(carried), 2), np.nan, np.float32)
    uv[: len(carried.uv)] = carried.uv
    hints, _ = project_all(place, cameras)
    for frame in np.unique(anchor):
        mine = np.flatnonzero(anchor == frame)
        part = uv[:, mine]
        ahead = range(len(carried.uv), len(grays))
        track_on(anchors[int(frame)], start[mine], grays, part, ahead, hints=hints[:, mine], min_likeness=min_likeness)
        uv[:, mine] = part
    return FollowedPoints(carried.born, carried.objects, carried.rows, anchor, start, unseen, rests, place, uv)


def _none(num_frames: int) -> FollowedPoints:
    numbers, nothing = np.zeros(0, np.int32), np.zeros(0, np.uint8)
    nowhere = np.zeros((num_frames, 0, 2), np.float32)
    place = np.zeros((0, 3))
    return FollowedPoints(numbers, nothing, numbers, numbers, nowhere[0], nothing, nothing > 0, place, nowhere)


def _last_known(xyz: np.ndarray) -> np.ndarray:
    """Return the last known place (N, 3) of each point of (K, N, 3); NaN if there is none."""
    last = np.full(xyz.shape[1:], np.nan)
    for places in xyz:
        known = np.isfinite(places).all(1)
        last[known] = places[known]
    return last


def begin(
    query: int,
    points: np.ndarray,
    grays: Sequence[np.ndarray],
    cameras: CamerasWithDepth,
    min_likeness: float,
    *,
    first_frame: int,
    objects: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> FollowedPoints:
    """Follow new points (N, 2) px of frame `query` of a segment both ways; the segment begins at `first_frame`.

    A point at NaN is seen nowhere.
    """
    count, frame = len(points), first_frame + query
    uv = np.full((len(grays), count, 2), np.nan, np.float32)
    there = np.isfinite(points).all(1)
    everywhere = np.broadcast_to(points[there], (len(grays), int(there.sum()), 2))
    hints, _ = project_all(lift_points(everywhere, cameras)[query], cameras)
    uv[:, there], _ = track_both_ways(grays, query, points[there], hints=hints, min_likeness=min_likeness)
    born = np.full(count, frame, np.int32)
    return FollowedPoints(
        born,
        np.zeros(count, np.uint8) if objects is None else objects.astype(np.uint8),
        np.full(count, -1, np.int32) if rows is None else rows.astype(np.int32),
        born,
        points.astype(np.float32),
        np.zeros(count, np.uint8),
        np.zeros(count, bool),
        np.full((count, 3), np.nan),
        uv,
    )


def on_one_surface(points: FollowedPoints, cameras: CamerasWithDepth, first_frame: int) -> FollowedPoints:
    """Return the points, not seen where their depth has jumped: something before or behind them is followed there.

    The depth at a pixel may change from frame to frame as the camera and the point move, but not by a step. It is
    followed from the point's query frame, or from the segment's first frame for a point that began before.
    """
    depth = sample_depth(cameras.depth, points.uv)
    begins = (points.born - first_frame).clip(0)
    wrong = np.zeros(depth.shape, bool)
    for ahead in (range(len(depth)), range(len(depth) - 1, -1, -1)):
        last = np.zeros(len(points), np.float32)
        for t in ahead:
            mine = (t - begins) * ahead.step >= 0
            known = mine & (depth[t] > 0)
            jumped = known & (np.maximum(depth[t], last) > _DEPTH_STEP * np.minimum(depth[t], last)) & (last > 0)
            wrong[t] |= jumped
            last = np.where(known & ~jumped, depth[t], last)
    return replace(points, uv=np.where(wrong[..., None], np.float32(np.nan), points.uv))


def anchored(
    points: FollowedPoints,
    lifted: LiftedTracks,
    grays: Sequence[np.ndarray],
    anchors: Anchors,
    cameras: CamerasWithDepth,
    *,
    first_frame: int,
    shared: int,
) -> tuple[FollowedPoints, np.ndarray, dict[int, np.ndarray]]:
    """Return the points with anchors for the next segment, which of them go on (N,) bool, and the anchors' pictures.

    A point that still looks as it did keeps its anchor, so that it does not drift. Others get one in the frame, of the
    `shared` last ones, that sees most points; a static point's lies where its place is seen, which does not drift. A
    point without an anchor ends, and so does one that was not seen in three segments, or that moves and was not seen in
    this one.
    """
    fresh = len(grays) - shared + int(lifted.seen[len(grays) - shared :].sum(1).argmax())
    here, there = _pinned(lifted, cameras, fresh), lifted.seen[fresh]
    frames, keeps = points.anchor, ~there
    for frame in np.unique(frames[there]):
        mine = np.flatnonzero(there & (frames == frame))
        looks = patches(anchors[int(frame)], points.start[mine]), patches(grays[fresh], here[mine])
        keeps[mine] = likeness(*looks) >= _LIKE_BEFORE
    seen: np.ndarray = np.asarray(lifted.seen.any(0))
    unseen = np.where(seen, 0, points.unseen + 1).astype(np.uint8)
    rests = np.where(seen, lifted.static, points.rests)
    place = np.where(seen[:, None], _last_known(lifted.xyz), points.place)
    alive = seen | (rests & (unseen <= FORGOTTEN))
    kept_frames, counts = np.unique(frames[keeps & alive], return_counts=True)
    kept_frames = kept_frames[np.argsort(-counts, kind="stable")][:_MOST_ANCHORS]
    keeps &= np.isin(frames, kept_frames)
    anchor = np.where(keeps, frames, first_frame + fresh).astype(np.int32)
    start = np.where(keeps[:, None], points.start, here).astype(np.float32)
    pictures = {int(frame): anchors[int(frame)] for frame in kept_frames}
    if (~keeps & there).any():
        pictures[first_frame + fresh] = grays[fresh]
    followed = replace(points, anchor=anchor, start=start, unseen=unseen, rests=rests, place=place)
    return followed, alive & (keeps | there), pictures


def _pinned(lifted: LiftedTracks, cameras: CamerasWithDepth, frame: int) -> np.ndarray:
    """Return where the points are in a frame (N, 2) px: static ones where their place is seen, if that is near."""
    place = np.where(lifted.static[:, None], lifted.xyz[frame], np.nan)
    where, here = project_all(place, cameras)[0][frame], lifted.uv[frame]
    with np.errstate(invalid="ignore"):
        near = np.linalg.norm(where - here, axis=1) < _NEAR_PX * max(1.0, cameras.depth.shape[2] / 320)
    return np.where(near[:, None], where, here).astype(np.float32)


def as_state(anchors: Anchors) -> dict[str, Any]:
    """Return the anchors' pictures as a stage's `state`."""
    frames = sorted(anchors)
    return {
        "anchors": np.array(frames, np.int64),
        "pictures": np.stack([anchors[frame] for frame in frames]) if frames else np.zeros((0, 0, 0), np.uint8),
    }


def from_state(state: Mapping[str, Any]) -> dict[int, np.ndarray]:
    """Return the pictures that `as_state` stored; {} before the first segment."""
    return dict(zip((int(frame) for frame in state.get("anchors", ())), state.get("pictures", ())))
