"""Points that live on from one segment of a video to the next: what a segment hands over, and the next takes up.

Neighbouring segments share frames. Where a point was seen in these, the next segment goes on with it. Segments may have
different worlds; the cameras and depths of the shared frames tell how one lies in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geoflow.geometry.alignment import connect, same_world
from geoflow.geometry.motion.lifting import CamerasWithDepth, sample_depth
from geoflow.geometry.rigid import Sim3, invert
from geoflow.segments import Segment

FORGOTTEN = 3  # segments after which a point that was not seen ends
_LEAST_DEPTHS = 10  # shared depths that tell the scale between two worlds
_EXTRA = "extra."


@dataclass(frozen=True)
class CarriedTracks:
    """N points of the segment before, in the K frames that it shares with this one."""

    ids: np.ndarray  # (N,) int32, unique in the video, from 1
    born: np.ndarray  # (N,) int32: query frame, counted in the video
    objects: np.ndarray  # (N,) uint8: `objects.label` where it was picked
    rows: np.ndarray  # (N,) int32: row of the user's file of queries, -1 for other points
    uv: np.ndarray  # (K, N, 2) float32 px; NaN where the point was not seen
    xyz: np.ndarray  # (K, N, 3) float32, in the world of this segment; NaN where unknown
    world: Sim3 | None  # from the world of the segment before to that of this one; None if unknown
    next_id: int = 1  # the first number that is free
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)  # the backend's own arrays (N, ...), as handed over

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def seen(self) -> np.ndarray:
        """Return where the points were seen: (K, N) bool."""
        return np.isfinite(self.uv).all(-1)

    @classmethod
    def none(cls, next_id: int = 1) -> CarriedTracks:
        """Return no points: for the first segment of a video, and after a gap."""
        numbers, nowhere = np.zeros(0, np.int32), np.zeros((0, 0, 3), np.float32)
        return cls(numbers, numbers, np.zeros(0, np.uint8), numbers, nowhere[..., :2], nowhere, None, next_id)


def take_over(state: Mapping[str, Any], segment: Segment, cameras: CamerasWithDepth) -> CarriedTracks:
    """Return the points that the segment before handed over, with their places in the world of this segment's cameras.

    `state` is what `hand_over` returned for the segment before, {} before the first. Points of a segment that shares no
    frames with this one are not taken over; numbers go on nevertheless.
    """
    next_id = 1 if segment.is_first else int(state.get("next_id", 1))
    shared = segment.overlap_before
    if segment.is_first or not shared or state.get("start") != segment.start or len(state["uv"]) != shared:
        return CarriedTracks.none(next_id)
    uv, xyz = state["uv"], state["xyz"]
    world = _world(state["poses"], uv, xyz, cameras, shared)
    moved = np.full_like(xyz, np.nan) if world is None else world.apply(xyz.astype(np.float64)).astype(np.float32)
    extra = {name.removeprefix(_EXTRA): value for name, value in state.items() if name.startswith(_EXTRA)}
    return CarriedTracks(state["ids"], state["born"], state["objects"], state["rows"], uv, moved, world, next_id, extra)


def hand_over(
    segment: Segment,
    cameras: CamerasWithDepth,
    alive: np.ndarray,
    *,
    ids: np.ndarray,
    born: np.ndarray,
    objects: np.ndarray,
    rows: np.ndarray,
    uv: np.ndarray,
    xyz: np.ndarray,
    next_id: int,
    extra: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return what the next segment needs of a segment's points, as a stage's `state`.

    Only the points `alive` (N,) go on. `uv` (T, N, 2) is NaN where a point was not seen; `xyz` (T, N, 3) is NaN where
    its place is unknown. The other arguments are as in CarriedTracks.
    """
    shared = segment.overlap_after
    if not shared:
        return {"next_id": next_id}
    first = len(segment) - shared
    poses = np.where(cameras.valid[first:, None, None], cameras.cam_from_world[first:], np.nan)
    state: dict[str, Any] = {
        "next_id": next_id,
        "start": segment.start + first,
        "ids": ids[alive].astype(np.int32),
        "born": born[alive].astype(np.int32),
        "objects": objects[alive].astype(np.uint8),
        "rows": rows[alive].astype(np.int32),
        "uv": uv[first:, alive].astype(np.float32),
        "xyz": xyz[first:, alive].astype(np.float32),
        "poses": poses.astype(np.float32),
    }
    return state | {_EXTRA + name: np.ascontiguousarray(array[alive]) for name, array in (extra or {}).items()}


def _world(poses: np.ndarray, uv: np.ndarray, xyz: np.ndarray, cameras: CamerasWithDepth, shared: int) -> Sim3 | None:
    """Return the similarity from the world of `poses` (K, 4, 4) and `xyz` to that of this segment's cameras.

    Two copies of the same cameras tell it exactly. Otherwise the shared orientations and centres tell it, and the
    depths of the points in both segments tell the scale. None if these are too few, or contradict each other.
    """
    both = np.flatnonzero(np.isfinite(poses).all((1, 2)) & cameras.valid[:shared])
    if not len(both):
        return None
    before, now = poses[both].astype(np.float64), cameras.cam_from_world[both].astype(np.float64)
    if (exact := same_world(now, before)) is not None:
        return exact
    if np.array_equal(now, before) and now[:, :3, 3].any():  # the very same cameras, at rest away from the origin
        return Sim3.identity()
    here = (xyz[both].astype(np.float64) - invert(before)[:, None, :3, 3]) @ np.swapaxes(before[:, :3, :3], -1, -2)
    old, new = here[..., 2], sample_depth(cameras.depth[both], uv[both])
    with np.errstate(invalid="ignore"):
        known = np.isfinite(old) & (old > 0) & (new > 0)
    if known.sum() < _LEAST_DEPTHS:
        return None
    scale = float(np.exp(np.median(np.log(new[known].astype(np.float64)) - np.log(old[known]))))
    return connect(now, before, scale)
