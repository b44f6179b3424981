"""A video's path, bent until chapters agree where they meet and both visits of a place agree: a graph of its poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from geoflow.geometry.alignment import fade_weights
from geoflow.geometry.loops.pose_graph import Constraints, agree, deviations, errors, off_by
from geoflow.geometry.loops.revisits import Revisit, gap, seen
from geoflow.geometry.loops.similarity import Similarities, between

_EVERY, _MOST_EVEN = 8, 1500  # frames from node to node, at least; nodes that are no revisits and joints, at most
_PER_JOINT = 5  # frames of a joint that become nodes
_WRONG = 10.0  # deviations that a revisit may be off at last
_UNLIKE = 3.0  # times the usual drift, by which the path must have drifted for a revisit that is taken for wrong
_MOST_DRIFT = 40.0  # deviations; beyond it nothing is believed
_LEAST = 3  # revisits, fewer of which close nothing


@dataclass(frozen=True)
class Joint:
    """Frames that two chapters share, with both their poses in the video's world before they are faded."""

    frames: np.ndarray  # (J,) int64, rising
    before: np.ndarray  # (J, 4, 4) cam_from_world by the earlier chapter
    after: np.ndarray  # (J, 4, 4) by the later one


@dataclass(frozen=True)
class Closed:
    """A place that was seen again, and how far its two visits miss each other, in scene units and rad."""

    first: int  # frame, counted in the video
    again: int
    points: int
    gap_before: float
    gap_after: float
    turn_before: float
    turn_after: float


@dataclass(frozen=True)
class Bend:
    """The correction of each frame (T,), from the old world to the new one; `closed` says what it rests on."""

    of_frames: Similarities
    closed: list[Closed] = field(default_factory=list)


@dataclass(frozen=True)
class _Nodes:
    """Cameras of the graph. A frame of a joint has two: one for each chapter."""

    frame: np.ndarray  # (N,) int64
    chapter: np.ndarray  # (N,) int64
    cameras: Similarities

    def last_of(self, frames: np.ndarray) -> np.ndarray:
        """Return the nodes of frames; of a joint, those of the later chapter."""
        order = np.lexsort((self.chapter, self.frame))
        found: np.ndarray = order[np.searchsorted(self.frame[order], frames, side="right") - 1]
        return found


def bend(
    cam_from_world: np.ndarray,
    valid: np.ndarray,
    joints: Sequence[Joint],
    places: np.ndarray,
    revisits: Sequence[Revisit],
    *,
    scaled: bool,
) -> Bend | None:
    """Return the correction of a path; None if there is nothing to correct, or nothing to be believed.

    cam_from_world (T, 4, 4), valid (T,) bool, places (P,) int64 the frames of the places that `revisits` count. If not
    `scaled`, lengths are known, and no frame's unit changes. Without a revisit no unit changes either: nothing tells.
    """
    if not valid.any() or not (joints or revisits):
        return None
    used = list(revisits)
    while True:
        if len(used) < _LEAST:
            used = []
        if not (used or joints):
            return None
        nodes = _nodes(cam_from_world, valid, joints, places[[end for one in used for end in (one.i, one.j)]])
        rows = _constraints(nodes, places, used)
        drifts = _drifts(nodes, rows)
        drift = max(1.0, float(np.median(drifts))) if used else 1.0
        wrong = (drifts > _UNLIKE * drift) | (drift > _MOST_DRIFT)
        if not wrong.any():
            rows = replace(rows, drift=drift)
            after = agree(nodes.cameras, rows, scaled=scaled and bool(used), sure=True)
            wrong = _at_odds(after, nodes, rows, scaled)
            if after is not None and not wrong.any():
                break
        if not used:
            return None
        used = [one for one, is_wrong in zip(used, wrong) if not is_wrong]
    bends = after.inverse().after(nodes.cameras)
    closed = [_closed(one, nodes, after, places) for one in used]
    return Bend(_spread(nodes, bends, joints, len(valid)), closed)


def _nodes(poses: np.ndarray, valid: np.ndarray, joints: Sequence[Joint], wanted: np.ndarray) -> _Nodes:
    """Return the cameras of frames at even distances, of joints, and of the frames `wanted`."""
    posed = np.flatnonzero(valid)
    plain = np.unique([*posed[:: max(_EVERY, -(-len(posed) // _MOST_EVEN))], posed[-1], *wanted])
    frame, chapter, rows = [], [], []
    starts = np.array([joint.frames[0] for joint in joints], np.int64)
    at_joint = np.unique(np.concatenate([np.zeros(0, np.int64), *(joint.frames for joint in joints)]))
    for t in np.setdiff1d(plain[valid[plain]], at_joint):
        frame.append(t)
        chapter.append(np.searchsorted(starts, t, side="right"))
        rows.append(poses[t])
    for k, joint in enumerate(joints):
        picked = np.unique(np.linspace(0, len(joint.frames) - 1, _PER_JOINT).round().astype(int))
        picked = np.union1d(picked, np.flatnonzero(np.isin(joint.frames, wanted)))
        for side, matrices in enumerate((joint.before, joint.after)):
            frame += joint.frames[picked].tolist()
            chapter += [k + side] * len(picked)
            rows += list(matrices[picked])
    order = np.lexsort((frame, chapter))
    cameras = Similarities.rigid(np.asarray(rows, np.float64)[order])
    return _Nodes(np.array(frame, np.int64)[order], np.array(chapter, np.int64)[order], cameras)


def _constraints(nodes: _Nodes, places: np.ndarray, revisits: Sequence[Revisit]) -> Constraints:
    """What neighbours of a chapter say of each other, what two chapters say of one frame, and the revisits."""
    (first,) = np.nonzero(np.diff(nodes.chapter) == 0)
    chain = nodes.cameras[first + 1].after(nodes.cameras[first].inverse())
    before, after = _twins(nodes)
    same = Similarities.rigid(np.tile(np.eye(4), (len(before), 1, 1)))
    sights = [seen(revisit.sight) for revisit in revisits]
    ends = [nodes.last_of(places[[getattr(revisit, end) for revisit in revisits]]) for end in "ij" if revisits]
    first_seen, seen_again = ends or [np.zeros(0, np.int64)] * 2
    steps = _steps(chain)
    kind = np.repeat([0, 1, 2], [len(first), len(before), len(sights)])
    return Constraints(
        np.concatenate((first, before, first_seen)),
        np.concatenate((first + 1, after, seen_again)),
        Similarities.joined([chain, same, *sights]),
        np.concatenate((steps, np.ones(len(before) + len(sights)))),
        kind == 2,
        kind == 1,
    )


def _at_odds(after: Similarities | None, nodes: _Nodes, rows: Constraints, scaled: bool) -> np.ndarray:
    """Return which revisits (R,) the bent path still contradicts: all if there is none."""
    if after is None:
        return np.ones(int(rows.loop.sum()), bool)
    inverse = 1 / deviations(nodes.cameras, rows)
    inverse[:, 6] *= scaled
    found: np.ndarray = off_by(after, rows, inverse)[rows.loop] > _WRONG
    return found


def _drifts(nodes: _Nodes, rows: Constraints) -> np.ndarray:
    """Return how many times its usual deviation the path must have drifted for each revisit to be right, (R,)."""
    chain = np.ones(len(rows.a), bool) & ~rows.loop if rows.same is None else ~rows.loop & ~rows.same
    passed = np.zeros(len(nodes.frame))
    np.add.at(passed, rows.b[chain], rows.steps[chain])
    passed = passed.cumsum()
    way = np.maximum(passed[rows.b] - passed[rows.a], 1.0)[rows.loop]
    off = errors(nodes.cameras, rows)[rows.loop] / deviations(nodes.cameras, rows)[rows.loop]
    found: np.ndarray = np.linalg.norm(off, axis=1) / np.sqrt(way)
    return found


def _steps(chain: Similarities) -> np.ndarray:
    """Return how far each step of the path goes, in usual steps: a camera that hardly moves hardly drifts."""
    turned = np.linalg.norm(chain.chart()[:, 3:6], axis=1)
    moved = np.linalg.norm(chain.translation, axis=1)
    far = moved / max(float(moved.mean()), 1e-12) + turned / max(float(turned.mean()), 1e-6)
    found: np.ndarray = np.clip(far / max(float(np.median(far)), 1e-12), 0.1, 10.0)
    return found


def _twins(nodes: _Nodes) -> tuple[np.ndarray, np.ndarray]:
    """Return the two nodes of each frame that has two, the earlier chapter's first."""
    order = np.lexsort((nodes.chapter, nodes.frame))
    (twice,) = np.nonzero(np.diff(nodes.frame[order]) == 0)
    return order[twice], order[twice + 1]


def _closed(one: Revisit, nodes: _Nodes, after: Similarities, places: np.ndarray) -> Closed:
    a, b = nodes.last_of(places[[one.i, one.j]])
    said = seen(one.sight)
    was, now = (gap(said, part[b : b + 1].after(part[a : a + 1].inverse())) for part in (nodes.cameras, after))
    shift = now[0] / float(after.scale[a])  # from the first camera's unit to the world's
    return Closed(int(places[one.i]), int(places[one.j]), one.sight.points, was[0], shift, was[1], now[1])


def _spread(nodes: _Nodes, bends: Similarities, joints: Sequence[Joint], count: int) -> Similarities:
    """Return the corrections of all frames: between nodes they fade, and over a joint from chapter to chapter."""
    frames = np.arange(count)
    sides = []
    for c in range(len(joints) + 1):
        (mine,) = np.nonzero(nodes.chapter == c)
        sides.append(between(nodes.frame[mine], bends[mine], frames))
    starts = np.array([joint.frames[0] for joint in joints], np.int64)
    chapter = np.searchsorted(starts, frames, side="right")
    parts = zip(*((side.scale, side.rotation, side.translation) for side in sides))
    found = Similarities(*(np.stack(part)[chapter, frames] for part in parts))
    for k, joint in enumerate(joints):
        weight = fade_weights(len(joint.frames)).astype(np.float64)[:, None]
        one, other = sides[k][joint.frames], sides[k + 1][joint.frames]
        found[joint.frames] = Similarities.of_chart(weight * other.after(one.inverse()).chart()).after(one)
    return found
