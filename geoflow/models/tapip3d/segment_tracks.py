"""The points of one segment as rows of the pipeline's fields: those that go on first, then new ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.motion.carried_tracks import CarriedTracks
from geoflow.geometry.motion.lifting import sample_depth
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.following import Followed
from geoflow.models.tapip3d.templates import Templates

UNSEEN = "unseen"  # among the arrays that are handed over
FORGOTTEN = 3  # segments after which a point that was not seen ends; one that was never seen ends at once

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class SegmentTracks:
    """N points in the T frames of a segment, in a TrackingSpace."""

    ids: np.ndarray  # (N,) int32
    born: np.ndarray  # (N,) int32, counted in the video
    objects: np.ndarray  # (N,) uint8
    unseen: np.ndarray  # (N,) uint8, segments before this one in which it was not seen
    templates: Templates
    next_id: int  # the first number that is free
    place: np.ndarray  # (N, 3) float32, where the point was picked; NaN for points that go on
    xyz: np.ndarray  # (T, N, 3) float32; NaN in frames that the network did not get
    logits: np.ndarray  # (T, N) float32; minus infinity there
    uv: np.ndarray  # (T, N, 2) float32 px, the projection of xyz
    inside: np.ndarray  # (T, N) bool, whether it lies in the frame

    @classmethod
    def of(
        cls,
        found: Followed,
        frames: np.ndarray,
        space: TrackingSpace,
        carried: CarriedTracks,
        kept: np.ndarray,
        born: np.ndarray,
        objects: np.ndarray,
    ) -> SegmentTracks:
        """Return the rows of what the tracker found in `frames` of the segment.

        `kept` are the points of `carried` that go on; `born` and `objects` are those of the new points.
        """
        count, total = len(found.queries), len(space.poses)
        xyz, logits = np.full((total, count, 3), np.nan, np.float32), np.full((total, count), -np.inf, np.float32)
        xyz[frames], logits[frames] = found.xyz, found.logits
        new = carried.next_id + np.arange(len(born))
        unseen = carried.extra[UNSEEN][kept] if len(kept) else np.zeros(0, np.uint8)
        place = np.where(np.arange(count)[:, None] < len(kept), np.float32(np.nan), found.queries[:, 1:])
        return cls(
            np.concatenate([carried.ids[kept], new]).astype(np.int32),
            np.concatenate([carried.born[kept], born]).astype(np.int32),
            np.concatenate([carried.objects[kept], objects]).astype(np.uint8),
            np.concatenate([unseen, np.full(len(born), FORGOTTEN)]).astype(np.uint8),
            found.templates,
            carried.next_id + len(born),
            place,
            xyz,
            logits,
            *space.project(xyz, np.arange(total)),
        )

    def seen(self, believed: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Return where points are seen (T, N): believed to be, in the frame, and outside the user's mask."""
        seen = self.inside & believed
        return seen if mask is None else seen & ~(sample_depth(mask, self.uv) > 0)

    def fields(self, space: TrackingSpace, seen: np.ndarray) -> Fields:
        """Return the fields `tracks.*`, without objects.

        As cameras see them, places are given where points are seen, and in the world where the pose is known, too.
        """
        xyz, uv, visible, place, more = self.xyz, self.uv, seen, self.place, {}
        if space.in_cameras:
            local = np.where(seen[..., None], xyz, np.float32(np.nan))
            xyz, uv = space.in_world(local), np.where(seen[..., None], uv, np.float32(np.nan))
            visible, place = np.isfinite(xyz).all(-1), np.full_like(place, np.nan)
            more = {"tracks.camera_xyz": local}
        return {
            "tracks.xyz": xyz,
            "tracks.visible": visible,
            "tracks.uv": uv,
            "tracks.query": np.concatenate([self.born[:, None], place], 1).astype(np.float32),
            "tracks.id": self.ids,
            **more,
        }
