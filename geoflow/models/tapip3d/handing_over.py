"""What TAPIP3D hands to the next segment with its points, and how these go on there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoflow.geometry.motion.carried_tracks import FORGOTTEN, CarriedTracks, hand_over, take_over
from geoflow.geometry.motion.tracking_space import TrackingSpace
from geoflow.models.tapip3d.segment_tracks import UNSEEN, SegmentTracks
from geoflow.models.tapip3d.templates import Carried, Templates
from geoflow.segments import Segment

_LOGITS, _POINTS, _FEATURES = "logits", "template_points", "template_features"
_IN_CAMERAS = "in_cameras"  # whether places are those of each frame's camera


def handed_over(segment: Segment, space: TrackingSpace, tracks: SegmentTracks, seen: np.ndarray) -> dict[str, Any]:
    """Return the state for the next segment; seen (T, N) says where points are seen.

    The network also follows hidden points. They end when they were not seen for some segments.
    """
    followed = np.arange(len(tracks.ids)) < len(tracks.templates)
    unseen = np.where(seen.any(0), 0, tracks.unseen.astype(int) + 1).astype(np.uint8)
    state = hand_over(
        segment,
        space.cameras,
        np.flatnonzero((unseen <= FORGOTTEN) & followed),
        ids=tracks.ids,
        born=tracks.born,
        objects=tracks.objects,
        rows=tracks.rows,
        uv=np.where(seen[..., None], tracks.uv, np.float32(np.nan)),
        xyz=tracks.xyz,
        next_id=tracks.next_id,
        extra={
            _LOGITS: tracks.logits[len(segment) - segment.overlap_after :].T,
            _POINTS: tracks.templates.points,
            _FEATURES: tracks.templates.features,
            UNSEEN: unseen,
        },
    )
    return state | {_IN_CAMERAS: space.in_cameras}


def taken_over(state: Mapping[str, Any], segment: Segment, space: TrackingSpace) -> CarriedTracks:
    """Return the points of the segment before, if their places are of the same kind as this segment's."""
    carried = take_over(state, segment, space.cameras)
    same = bool(state.get(_IN_CAMERAS)) == space.in_cameras
    return carried if same else CarriedTracks.none(carried.next_id)


def going_on(tracks: CarriedTracks, usable: np.ndarray) -> tuple[Carried | None, np.ndarray]:
    """Return the points that can go on, and which of `tracks` they are.

    `usable` (K,) says which of the shared frames the next clip has. Where a place is unknown, the one before stands for
    it, or else the one after. Points without any place end, as do all if the worlds do not connect.
    """
    held: Mapping[str, np.ndarray] = tracks.extra
    known = np.isfinite(tracks.xyz).all(-1)
    kept = np.flatnonzero(known.any(0)) if len(known) and usable.any() else np.zeros(0, int)
    if tracks.world is None or not len(kept) or _LOGITS not in held:
        return None, np.zeros(0, int)
    rows = _filled(known[:, kept])[usable]
    positions = tracks.xyz[:, kept][rows, np.arange(len(kept))]
    logits = held[_LOGITS].T[:, kept]
    logits = logits[_filled(np.isfinite(logits))[usable], np.arange(len(kept))]
    logits = np.where(np.isfinite(logits), logits, np.float32(0))
    templates = Templates(held[_POINTS], held[_FEATURES]).of(kept).moved(tracks.world)
    return Carried(positions.astype(np.float32), logits.astype(np.float32), templates), kept


def _filled(known: np.ndarray) -> np.ndarray:
    """Return for each of (K, N) the nearest row at or before it that is known, or else the first one after it."""
    rows = np.arange(len(known))[:, None]
    before = np.maximum.accumulate(np.where(known, rows, -1), axis=0)
    return np.where(before >= 0, before, known.argmax(0))
