"""One segment of a video: the points of the segment before, and new ones where the picture holds none."""

from __future__ import annotations

import numpy as np

from geoflow.geometry.motion.carried_tracks import CarriedTracks
from geoflow.geometry.motion.track_queries import query_frames
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.following import Followed, follow
from geoflow.models.tapip3d.handing_over import going_on
from geoflow.models.tapip3d.new_points import NewPoints
from geoflow.models.tapip3d.options import TrackOptions
from geoflow.models.tapip3d.segment_tracks import SegmentTracks
from geoflow.models.tapip3d.tracker import Tracker
from geoflow.models.tapip3d.windows import asked_frames
from geoflow.segments import Segment


def follow_segment(
    tracker: Tracker,
    segment: Segment,
    rgb: np.ndarray,
    space: TrackingSpace,
    carried: CarriedTracks,
    options: TrackOptions,
    *,
    query_every: int = 0,
    objects_only: bool = False,
    mask: np.ndarray | None = None,
    label: np.ndarray | None = None,
) -> SegmentTracks:
    """Return the points that the tracker follows through a segment.

    The tracker gets only the frames in which `space.cameras` is valid, as if no frame were missing between them. A
    grid's points are picked in the segment's first usable frame that the segment before does not have, or, from
    `query_every` above 0, as `query_frames` says; outside `mask` (T, H, W), and only on objects of `label` if wanted.
    """
    cameras, frames = space.cameras, np.flatnonzero(space.cameras.valid)
    going, kept = going_on(carried, cameras.valid[: len(carried.xyz)])
    found = Followed.nothing(len(frames))
    if not len(frames):
        return SegmentTracks.of(found, frames, space, carried, kept, frames, frames)
    usable = slice(None) if len(frames) == len(segment) else frames
    poses = cameras.cam_from_world[usable]
    clip = tracker.prepare(rgb[usable], cameras.depth[usable], cameras.intrinsics[usable], poses, options)
    picks = query_frames(segment, cameras.valid, query_every, segment.overlap_before)
    new = NewPoints(clip, space, frames, picks, options.grid_size, mask=mask, label=label, objects_only=objects_only)

    def believed(logits: np.ndarray) -> np.ndarray:
        return tracker.believed(logits, options)

    queries = new.before(asked_frames(len(clip), tracker.network.config.seq_len), going, believed)
    if going is not None or len(queries) or new.left:
        found = follow(
            tracker,
            clip,
            queries,
            options,
            carried=going,
            more=lambda first, xyz, logits: new.on_the_way(first, xyz, believed(logits)),
            support_grid=options.support_grid_size if objects_only else 0,
        )
    return SegmentTracks.of(found, frames, space, carried, kept, new.born + segment.start, new.objects)
