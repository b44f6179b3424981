"""The points of one segment as rows of the pipeline's fields: those that go on first, then new ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.motion.carried_tracks import FORGOTTEN, CarriedTracks
from geoflow.geometry.motion.lifting import sample_depth
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.following import Followed
from geoflow.models.tapip3d.new_points import Begun
from geoflow.models.tapip3d.templates import Templates

UNSEEN = "unseen"  # among the arrays that are handed over

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class SegmentTracks:
    """N points in the T frames of a segment, in a TrackingSpace."""

    ids: np.ndarray  # (N,) int32
    born: np.ndarray  # (N,) int32, counted in the video
    objects: np.ndarray  # (N,) uint8
    rows: np.ndarray  # (N,) int32, of the user's file; -1 for other points
    unseen: np.ndarray  # (N,) uint8, segments before this one in which it was not seen
    templates: Templates  # of the points that the tracker follows, which come first
    next_id: int  # the first number that is free
    place: np.ndarray  # (N, 3) float32, where the point was picked; NaN for points that go on
    xyz: np.ndarray  # (T, N, 3) float32; NaN in frames that the network did not get
    logits: np.ndarray  # (T, N) float32; minus infinity there
    uv: np.ndarray  # (T, N, 2) float32 px, the projection of xyz; where the user asked for a point without a place
    inside: np.ndarray  # (T, N) bool, whether it lies in the frame

    @classmethod
    def of(
        cls,
        found: Followed,
        frames: np.ndarray,
        space: TrackingSpace,
        carried: CarriedTracks,
        kept: np.ndarray,
        begun: Begun,
        lost: Begun,
        start: int,
    ) -> SegmentTracks:
        """Return the rows of what the tracker found in `frames` of the segment, which begins in frame `start`.

        `kept` are the points of `carried` that go on, and `begun` the new ones. Of those that are `lost`, which the
        user asked for, nothing but the pixel is known.
        """
        followed, total = len(found.queries), len(space.poses)
        new = Begun.together([begun, lost])
        count = len(kept) + len(new.frame)
        xyz, logits = np.full((total, count, 3), np.nan, np.float32), np.full((total, count), -np.inf, np.float32)
        xyz[frames, :followed], logits[frames, :followed] = found.xyz, found.logits
        place = np.full((count, 3), np.nan, np.float32)
        place[len(kept) : followed] = found.queries[len(kept) :, 1:]
        uv, inside = space.project(xyz, np.arange(total))
        uv[lost.frame, np.arange(followed, count)] = lost.uv
        unseen = carried.extra[UNSEEN][kept] if len(kept) else np.zeros(0, np.uint8)
        ids = carried.next_id + np.arange(len(new.frame))
        return cls(
            np.concatenate([carried.ids[kept], ids]).astype(np.int32),
            np.concatenate([carried.born[kept], start + new.frame]).astype(np.int32),
            np.concatenate([carried.objects[kept], new.objects]).astype(np.uint8),
            np.concatenate([carried.rows[kept], new.rows]).astype(np.int32),
            np.concatenate([unseen, np.full(len(ids), FORGOTTEN)]).astype(np.uint8),  # one never seen ends at once
            found.templates,
            carried.next_id + len(ids),
            place,
            xyz,
            logits,
            uv,
            inside,
        )

    def seen(self, believed: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Return where points are seen (T, N): believed to be, in the frame, and outside the user's mask."""
        seen = self.inside & believed
        return seen if mask is None else seen & ~(sample_depth(mask, self.uv) > 0)

    def fields(self, space: TrackingSpace, seen: np.ndarray) -> Fields:
        """Return the fields `tracks.*`.

        As cameras see them, places are given where points are seen, and in the world where the pose is known, too.
        """
        xyz, uv, visible, place, more = self.xyz, self.uv, seen, self.place, {}
        if space.in_cameras:
            local = np.where(seen[..., None], xyz, np.float32(np.nan))
            xyz = space.in_world(local)
            uv = np.where((seen | np.isnan(self.xyz[..., 0]))[..., None], uv, np.float32(np.nan))
            visible, place = np.isfinite(xyz).all(-1), np.full_like(place, np.nan)
            more = {"tracks.camera_xyz": local}
        return {
            "tracks.xyz": xyz,
            "tracks.visible": visible,
            "tracks.uv": uv,
            "tracks.query": np.concatenate([self.born[:, None], place], 1).astype(np.float32),
            "tracks.id": self.ids,
            "tracks.object": self.objects,
            "tracks.row": self.rows,
            **more,
        }
