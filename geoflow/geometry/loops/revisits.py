"""Where a walk sees a place again: found by look, checked place by place, and believed only where several agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.loops.place_check import PlaceSight, check
from geoflow.geometry.loops.place_search import look_alikes
from geoflow.geometry.loops.places import SeenPlace
from geoflow.geometry.loops.similarity import Similarities

_APART = 16  # places between two visits, which are neighbours otherwise
_TRIED = 4  # places that look most like one
_DRIFT = 0.12  # of the path between two visits, by which they may miss each other
_TURN = np.radians(40)  # by which they may
_SCALE = np.log(2.0)  # by which a unit may have changed
_NEAR = 8  # places between two revisits that support each other
_SUPPORT = 2  # others that support one
_SAME_SHIFT = 0.15  # of the depth, within which two revisits say the same
_SAME_TURN, _SAME_SCALE = np.radians(4), np.log(1.15)


@dataclass(frozen=True)
class Revisit:
    """SeenPlace j is place i again; both count the places that were given."""

    i: int
    j: int
    sight: PlaceSight


def find_revisits(places: Sequence[SeenPlace], cam_from_world: np.ndarray, intrinsics: np.ndarray) -> list[Revisit]:
    """Return what is believed: pairs of one place that the path allows, and that others nearby support.

    cam_from_world (P, 4, 4) and intrinsics (P, 3, 3) are those of the places. Two places that look alike in all they
    show, and lie within the drift of the path, cannot be told from one.
    """
    poses = cam_from_world.astype(np.float64)
    depths = np.array([np.median(place.xyz[:, 2]) for place in places])
    path = _Path(poses, depths)
    found = []
    for i, j in look_alikes(places, apart=_APART, most=_TRIED):
        sight = check(places[i], places[j], intrinsics[j])
        if sight is not None and path.allows(i, j, sight):
            found.append(Revisit(i, j, sight))
    while found:
        believed = [one for one in found if _supported(one, found, path)]
        if len(believed) == len(found):
            break
        found = believed
    return found


class _Path:
    """The walk, as it is before anything is closed."""

    def __init__(self, poses: np.ndarray, depths: np.ndarray) -> None:
        self.cameras, self.depths = Similarities.rigid(poses), depths
        centres = self.cameras.inverse().translation
        self._passed = np.concatenate(([0.0], np.linalg.norm(np.diff(centres, axis=0), axis=1).cumsum()))

    def between(self, i: int, j: int) -> Similarities:
        """Return the motion from camera i to camera j by the path."""
        return self.cameras[j : j + 1].after(self.cameras[i : i + 1].inverse())

    def allows(self, i: int, j: int, sight: PlaceSight) -> bool:
        """Return whether the path may have drifted so far that both places are one."""
        shift, turn, scale = gap(seen(sight), self.between(i, j))
        limit = _DRIFT * (self._passed[j] - self._passed[i]) + 0.25 * self.depths[i]
        return shift < limit and turn < _TURN and scale < _SCALE


def seen(sight: PlaceSight) -> Similarities:
    """Return what a sight says, as the motion from the first camera to the second in the unit of each."""
    motion = Similarities.rigid(sight.motion[None])
    return Similarities(motion.scale / sight.unit, motion.rotation, motion.translation / sight.unit)


def gap(one: Similarities, other: Similarities) -> tuple[float, float, float]:
    """Return how far two motions of one camera differ: length, angle in rad, log of the scale.

    The length is that between the two places of the second camera, as the first sees them.
    """
    apart = one.inverse().translation - other.inverse().translation
    turned = one.rotation[0] @ other.rotation[0].T
    angle = float(np.arccos(np.clip((np.trace(turned) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(apart)), angle, float(abs(np.log(one.scale[0] / other.scale[0])))


def _supported(one: Revisit, all_: Sequence[Revisit], path: _Path) -> bool:
    """Return whether enough other revisits nearby, of other places, say the same."""
    others = {(row.i, row.j) for row in all_ if row is not one and _say_the_same(one, row, path)}
    return min(len({i for i, _ in others} | {one.i}), len({j for _, j in others} | {one.j})) > 1 and (
        len(others) >= _SUPPORT
    )


def _say_the_same(one: Revisit, other: Revisit, path: _Path) -> bool:
    if max(abs(one.i - other.i), abs(one.j - other.j)) > _NEAR:
        return False
    carried = path.between(one.j, other.j).after(seen(one.sight)).after(path.between(one.i, other.i).inverse())
    shift, turn, scale = gap(carried, seen(other.sight))
    return shift < _SAME_SHIFT * path.depths[other.i] and turn < _SAME_TURN and scale < _SAME_SCALE
