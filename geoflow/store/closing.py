"""The path of a whole video, bent as its finished segments say: where chapters meet, and where a place is seen again.

It is found when the store is put together, from what the parts hold: poses, and small summaries of places. The same
parts give the same path. Memory grows with the number of frames by their poses, and holds `_MOST_PLACES` places.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from geoflow.segments import VideoInfo
from geoflow.store.parts import PartInfo, beside, open_part

if TYPE_CHECKING:
    from geoflow.geometry.loops.bending import Bend, Closed, Joint
    from geoflow.geometry.loops.places import SeenPlace

_MOST_PLACES = 2000
_POSES, _LENS, _VALID = "camera/cam_from_world", "camera/intrinsics", "camera/valid"


def find_bend(parts: Sequence[tuple[Path, PartInfo]], video: VideoInfo, *, metric: bool) -> Bend | None:
    """Return the correction of the path; None if there is none. Given poses stay as they are.

    metric: lengths are metres, and stay so. Raises StoreError if a part cannot be read.
    """
    from geoflow.geometry.loops.bending import bend
    from geoflow.geometry.loops.revisits import find_revisits

    if video.given_world:
        return None
    poses = np.full((video.num_frames, 4, 4), np.nan)
    lenses = np.full((video.num_frames, 3, 3), np.nan)
    valid = np.zeros(video.num_frames, bool)
    joints: list[Joint] = []
    for path, info in parts:
        with open_part(path) as part:
            if not {_POSES, _LENS, _VALID} <= {name for name in (_POSES, _LENS, _VALID) if name in part}:
                continue
            own = slice(info.start, info.start + info.count)
            poses[own], lenses[own], valid[own] = part[_POSES][()], part[_LENS][()], part[_VALID][()]
            joints += _joint(part, joints[-1].frames[-1] if joints else -1)
    places = _places(parts, video, valid & np.isfinite(lenses).all((1, 2)))
    frames = np.array([place.frame for place in places], np.int64)
    revisits = find_revisits(places, poses[frames], lenses[frames])
    return bend(poses, valid, joints, frames, revisits, scaled=not metric)


def sentence(closed: Sequence[Closed]) -> str:
    """Return what a store says about the loops that were closed; "" if none was."""
    if not closed:
        return ""
    far = max(closed, key=lambda one: one.gap_before)
    return (
        f"the path was bent so that places that were seen again agree, {len(closed)} pairs of frames: frame "
        f"{far.again} shows the place of frame {far.first}, from which it was off by {far.gap_before:.3g} and "
        f"{np.degrees(far.turn_before):.1f} degrees, and is by {far.gap_after:.2g} and "
        f"{np.degrees(far.turn_after):.1f} degrees"
    )


def table(closed: Sequence[Closed]) -> list[dict[str, float]]:
    """Return the loops as plain values, by the names of `Closed`."""
    return [{name: round(float(value), 6) for name, value in vars(one).items()} for one in closed]


def _joint(part: h5py.File, after: int) -> list[Joint]:
    """Return the part's joint with the chapter before, if it has one, and begins behind frame `after`."""
    from geoflow.geometry.loops.bending import Joint

    held = beside(part, "joint")
    if not held or held["joint.frame"][0] <= after:
        return []
    return [Joint(held["joint.frame"], *(held[f"joint.{side}"].astype(np.float64) for side in ("before", "after")))]


def _places(parts: Sequence[tuple[Path, PartInfo]], video: VideoInfo, posed: np.ndarray) -> list[SeenPlace]:
    """Return the places of the frames that the parts store, thinned evenly if they are too many."""
    from geoflow.geometry.loops.places import SeenPlace

    count = 0
    for path, _ in parts:
        with open_part(path) as part:
            count += len(beside(part, "places").get("places.frame", ()))
    every, number = -(-count // _MOST_PLACES) or 1, 0
    found: list[SeenPlace] = []
    for path, info in parts:
        with open_part(path) as part:
            held = beside(part, "places")
        if not held:
            continue
        for place in SeenPlace.rows_of(held, (video.height, video.width)):
            number += 1
            if number % every == 0 and posed[place.frame] and place.frame < info.start + info.count:
                found.append(place)
    return [place for place in found if place.is_rich]
