"""A path that returns to where it was: what has been settled is bent until both visits agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from geoflow.geometry.loops.pose_graph import Constraints, agree
from geoflow.geometry.loops.similarity import Similarities, between
from geoflow.models.vipe import se3
from geoflow.models.vipe.loops import Loop

_MOST_NODES = 150


@dataclass(frozen=True)
class Bent:
    """Corrected poses (T, 7) of frames, and factors (K,) of keyframes' lengths."""

    poses: np.ndarray
    factors: np.ndarray


def close(poses: np.ndarray, keyframes: np.ndarray, loops: list[Loop]) -> Bent | None:
    """Return the poses (T, 7) of frames, camera from world, that agree with loops between keyframes (K,).

    Between the nodes of the graph, the correction fades from one to the next. None if the loops contradict each other.
    """
    matrices = se3.matrix(torch.from_numpy(poses).double()).numpy()
    cameras = Similarities.rigid(matrices)
    at = _nodes(len(keyframes), loops)
    frames = keyframes[at]
    before = cameras[frames]
    after = agree(before, _constraints(before, at, loops))
    if after is None:
        return None
    bends = after.inverse().after(before)  # of the old world to the new, where a node is
    of_frames = between(frames, bends, np.arange(len(poses)))
    moved = cameras.after(of_frames.inverse())
    rigid = matrices.copy()
    rigid[:, :3, :3], rigid[:, :3, 3] = moved.rotation, moved.translation / moved.scale[:, None]
    return Bent(se3.from_matrix(torch.from_numpy(rigid)).float().numpy(), of_frames.scale[keyframes])


def _nodes(count: int, loops: list[Loop]) -> np.ndarray:
    stride = max(1, -(-count // _MOST_NODES))
    ends = [number for loop in loops for number in (loop.i, loop.j)]
    return np.unique([*range(0, count, stride), count - 1, *ends])


def _constraints(nodes: Similarities, at: np.ndarray, loops: list[Loop]) -> Constraints:
    """What neighbouring nodes say of each other, and the loops."""
    first = np.arange(len(at) - 1)
    chain = nodes[first + 1].after(nodes[first].inverse())
    a = np.searchsorted(at, [loop.i for loop in loops])
    b = np.searchsorted(at, [loop.j for loop in loops])
    motions = Similarities.rigid(np.stack([loop.motion for loop in loops]))
    units = np.array([loop.unit for loop in loops])
    seen = Similarities(1 / units, motions.rotation, motions.translation / units[:, None])
    steps = np.concatenate((np.diff(at), np.ones(len(loops))))
    is_loop = np.arange(len(steps)) >= len(first)
    return Constraints(
        np.concatenate((first, a)), np.concatenate((first + 1, b)), Similarities.joined([chain, seen]), steps, is_loop
    )
