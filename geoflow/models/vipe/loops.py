"""Where a camera returns to a place that was settled before: found by its poses, measured by the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoflow.models.vipe import se3
from geoflow.models.vipe.adjustment import Adjustment
from geoflow.models.vipe.factor_graph import FactorGraph
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.frame_distance import FAR, both_ways
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.lens import grid, unproject
from geoflow.models.vipe.reprojection import Edges, Geometry, move, reproject
from geoflow.models.vipe.view_archive import ViewArchive

_UPDATES = 8
_LEAST_WEIGHT = 0.1  # mean of a loop's edges
_MOST_ERROR = 1.0  # px of the grid, mean by weight, between what the network says and what came of it
_LEAST_SHARE = 0.2  # of the grid's pixels that both see
_MOST_SPREAD = 0.25  # of the ratio of depths: the median of its deviations, in parts
_DRIFT = 0.1  # of the path between two visits, by which they may miss each other
_VIEW = 0.7  # cosine of the angle between two cameras, at least
_PER_PLACE = 3  # keyframes around a loop that need no other
_MOST_LOOPS = 60
_MOST_PAIRS = 20_000  # whose distance is computed: those whose cameras are nearest


@dataclass(frozen=True)
class Loop:
    """Keyframe j seen from keyframe i: x_j = (R x_i + t) / unit, each in its own unit."""

    i: int
    j: int
    motion: np.ndarray  # (4, 4), in the unit of i
    unit: float  # of j, in units of i


def candidates(geometry: Geometry, together: Sequence[int], limit: float) -> list[tuple[int, int]]:
    """Return pairs of keyframes that may see the same place and were never adjusted together, the nearest first.

    together (N,) is the first keyframe that was not adjusted together with each.
    """
    poses = se3.matrix(geometry.poses.double()).cpu().numpy()
    centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    axes, count = poses[:, 2, :3], len(poses)
    passed = np.concatenate(([0], np.linalg.norm(np.diff(centres, axis=0), axis=1).cumsum()))
    depth = (1 / geometry.disps.flatten(1).median(1).values.double().clamp(min=1e-6)).cpu().numpy()
    found: list[tuple[float, int, int]] = []
    for i in range(count):
        later = np.arange(together[i], count)
        reach = 0.5 * depth[i] + _DRIFT * (passed[later] - passed[i])
        apart = np.linalg.norm(centres[later] - centres[i], axis=1)
        seen = (apart < reach) & (axes[later] @ axes[i] > _VIEW)
        found += [(float(gap), i, int(j)) for gap, j in zip(apart[seen], later[seen])]
    pairs = [(i, j) for _, i, j in sorted(found)[:_MOST_PAIRS]]
    return _sparse(pairs, _distances(geometry, pairs), limit, count, _MOST_LOOPS)


def _distances(geometry: Geometry, pairs: list[tuple[int, int]]) -> np.ndarray:
    numbers = torch.tensor(pairs, dtype=torch.long, device=geometry.poses.device).reshape(-1, 2)
    return both_ways(geometry, numbers[:, 0], numbers[:, 1]).double().cpu().numpy()


def _sparse(
    pairs: list[tuple[int, int]], distances: np.ndarray, limit: float, count: int, most: int
) -> list[tuple[int, int]]:
    """Return the nearest pairs of `count` keyframes, `most` at most, none beside another."""
    chosen: list[tuple[int, int]] = []
    apart = max(_PER_PLACE, count // most)  # so that loops are spread over a long path
    for k in np.argsort(distances, kind="stable"):
        i, j = pairs[k]
        if distances[k] >= min(limit, FAR) or len(chosen) >= most:
            break
        if all(abs(i - a) + abs(j - b) > apart for a, b in chosen):
            chosen.append((i, j))
    return chosen


def measure(
    flow: FlowModel, geometry: Geometry, lens: Tensor, archive: ViewArchive, pair: tuple[int, int], wanted: Adjustment
) -> Loop | None:
    """Return what the network says of two keyframes; None if it does not believe that they see the same place.

    The second's pose is found from the depth of the first. Then both say how deep the same pixels are. Depth is not
    adjusted: two cameras that are near each other hardly tell it.
    """
    both = Keyframes((geometry.disps.shape[1], geometry.disps.shape[2]), lens, dtype=geometry.poses.dtype)
    for number in pair:
        both.expect(geometry.poses[number], geometry.disps[number])
        both.add(number, archive[number])
    graph = FactorGraph(flow, both, -1)
    graph.add([(0, 1)])
    for _ in range(_UPDATES):
        graph.update(wanted)
    weight = graph.weight[0].mean(0)
    coords, valid = reproject(both.geometry, Edges.single(graph.ii, graph.jj))
    error = (coords - graph.target)[0].norm(dim=0)
    believed = weight * valid[0]
    if float(weight.mean()) < _LEAST_WEIGHT or not bool(both.poses.isfinite().all()):
        return None
    if float((error * believed).sum() / believed.sum().clamp(min=1e-9)) > _MOST_ERROR:
        return None
    motion = se3.multiply(both.poses[1], se3.invert(both.poses[0]))
    unit = _unit(both.geometry, motion, coords[0], believed > 0.5 * believed.max())
    return None if unit is None else Loop(*pair, se3.matrix(motion).double().cpu().numpy(), unit)


def _unit(geometry: Geometry, motion: Tensor, coords: Tensor, sure: Tensor) -> float | None:
    """Return how many units of the first are one of the second, by the depth of the same pixels; None if unsure."""
    height, width = sure.shape
    rays = unproject(grid(height, width, coords).flatten(1)[None], geometry.lenses)
    moved = move(rays, geometry.disps[:1].flatten(1), motion[None])[0, 2].reshape(height, width)
    size = coords.new_tensor([width - 1, height - 1])[:, None, None]
    inside = sure & (coords >= 0).all(0) & (coords <= size).all(0)
    if float(inside.float().mean()) < _LEAST_SHARE:
        return None
    places = (2 * coords / size - 1).movedim(0, -1)[None]
    own = F.grid_sample(geometry.disps[1][None, None], places, align_corners=True)[0, 0]
    ratio = (moved / geometry.disps[0] * own)[inside].log()
    middle = ratio.median()
    spread = (ratio - middle).abs().median()
    return float(middle.exp()) if float(spread) < _MOST_SPREAD else None
