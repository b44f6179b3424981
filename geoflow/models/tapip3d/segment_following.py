"""One segment of a video: the points of the segment before, and new ones where the picture holds none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.motion.asked_points import AskedPoints
from geoflow.geometry.motion.carried_tracks import CarriedTracks
from geoflow.geometry.motion.track_queries import query_frames
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.following import Followed, follow
from geoflow.models.tapip3d.handing_over import going_on
from geoflow.models.tapip3d.new_points import Begun, NewPoints
from geoflow.models.tapip3d.options import TrackOptions
from geoflow.models.tapip3d.segment_tracks import SegmentTracks
from geoflow.models.tapip3d.templates import Carried
from geoflow.models.tapip3d.tracker import Tracker
from geoflow.models.tapip3d.windows import asked_frames
from geoflow.segments import Segment


@dataclass(frozen=True)
class Wanted:
    """Which new points are wanted: as the parameters of a stage say, in the pictures of a segment."""

    query_every: int = 0
    grid: bool = True
    objects_only: bool = False
    asked: AskedPoints | None = None  # the user's points
    mask: np.ndarray | None = None  # (T, H, W) bool, where none is picked
    label: np.ndarray | None = None  # (T, H, W) uint8, the objects


def follow_segment(
    tracker: Tracker,
    segment: Segment,
    rgb: np.ndarray,
    space: TrackingSpace,
    carried: CarriedTracks,
    options: TrackOptions,
    wanted: Wanted,
) -> SegmentTracks:
    """Return the points that the tracker follows through a segment.

    The tracker gets only the frames in which `space.cameras` is valid, as if no frame were missing between them. A
    grid's points are picked in the segment's first usable frame that the segment before does not have, or, from
    `query_every` above 0, as `query_frames` says. A grid helps where only some points are followed.
    """
    cameras, frames = space.cameras, np.flatnonzero(space.cameras.valid)
    going, kept = going_on(carried, cameras.valid[: len(carried.xyz)])
    asked = Begun.together([]) if wanted.asked is None else Begun.asked(wanted.asked, wanted.label)
    places = None if wanted.asked is None else space.places(wanted.asked)
    found, begun = Followed.nothing(len(frames)), Begun.together([])
    if len(frames):
        usable = slice(None) if len(frames) == len(segment) else frames
        poses = cameras.cam_from_world[usable]
        clip = tracker.prepare(rgb[usable], cameras.depth[usable], cameras.intrinsics[usable], poses, options)
        picks = query_frames(segment, cameras.valid, wanted.query_every, segment.overlap_before) if wanted.grid else []
        new = NewPoints(
            clip,
            space,
            frames,
            picks,
            options.grid_size,
            mask=wanted.mask,
            label=wanted.label,
            objects_only=wanted.objects_only,
        )
        asked = new.ask(asked, places)
        found = _follow(tracker, clip, new, options, going, helped=wanted.objects_only or not wanted.grid)
        begun = new.begun
    return SegmentTracks.of(found, frames, space, carried, kept, begun, asked, segment.start)


def _follow(
    tracker: Tracker, clip: Clip, new: NewPoints, options: TrackOptions, going: Carried | None, helped: bool
) -> Followed:
    def believed(logits: np.ndarray) -> np.ndarray:
        return tracker.believed(logits, options)

    queries = new.before(asked_frames(len(clip), tracker.network.config.seq_len), going, believed)
    if going is None and not len(queries) and not new.left:
        return Followed.nothing(len(clip))
    return follow(
        tracker,
        clip,
        queries,
        options,
        carried=going,
        more=lambda first, xyz, logits: new.on_the_way(first, xyz, believed(logits)),
        support_grid=options.support_grid_size if helped else 0,
    )
