"""Where a camera returns to a place that was settled before: found by its poses, measured by the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoflow.models.vipe import se3
from geoflow.models.vipe.adjustment import Adjustment, Scene
from geoflow.models.vipe.factor_graph import FactorGraph
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.frame_distance import FAR, both_ways
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.lens import grid, unproject
from geoflow.models.vipe.map_archive import MapArchive
from geoflow.models.vipe.reprojection import Edges, Geometry, move, reproject
from geoflow.models.vipe.view_archive import ViewArchive

_UPDATES = 8
_LEAST_WEIGHT = 0.1  # mean of a loop's edges
_MOST_ERROR = 1.0  # px of the grid, mean by weight, between what the network says and what came of it
_LEAST_SHARE = 0.2  # of the grid's pixels that both see
_MOST_SPREAD = 0.25  # of the ratio of depths: the median of its deviations, in parts
_DRIFT = 0.1  # of the path between two visits, by which they may miss each other
_MOST_DRIFT = 0.15  # of that path, by which the network may contradict it: more is another place that looks alike
_VIEW = 0.7  # cosine of the angle between two cameras, at least
_PER_PLACE = 3  # keyframes around a loop that need no other
_MOST_LOOPS = 60
_MOST_PAIRS = 20_000  # whose distance is computed: those whose cameras are nearest
_READ = 128  # pairs, or maps, that are read at once


@dataclass(frozen=True)
class Visits:
    """All keyframes of a walk: poses (N, 7) camera from world, disparities, and the lens of the working size."""

    poses: Tensor
    disps: MapArchive
    lens: Tensor

    def geometry(self, numbers: Sequence[int]) -> Geometry:
        """Return some of them."""
        disps = torch.from_numpy(self.disps[numbers]).to(self.poses)
        return Scene(self.poses[list(numbers)], disps, self.lens[None]).geometry

    def depths(self) -> np.ndarray:
        """Return the median depth (N,) of each."""
        parts = [range(k, min(k + _READ, len(self.poses))) for k in range(0, len(self.poses), _READ)]
        middles = [np.median(self.disps[part].reshape(len(part), -1), 1).astype(np.float64) for part in parts]
        return 1 / np.concatenate(middles).clip(1e-6)


class Revisit(NamedTuple):
    """Two keyframes that may see the same place, and the length of the path from one to the other."""

    i: int
    j: int
    passed: float


@dataclass(frozen=True)
class Loop:
    """Keyframe j seen from keyframe i: x_j = (R x_i + t) / unit, each in its own unit."""

    i: int
    j: int
    motion: np.ndarray  # (4, 4), in the unit of i
    unit: float  # of j, in units of i


def candidates(visits: Visits, together: Sequence[int], limit: float) -> list[Revisit]:
    """Return pairs of keyframes that may see the same place and were never adjusted together, the nearest first.

    together (N,) is the first keyframe that was not adjusted together with each.
    """
    poses = se3.matrix(visits.poses.double()).cpu().numpy()
    centres = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    passed = np.concatenate(([0], np.linalg.norm(np.diff(centres, axis=0), axis=1).cumsum()))
    pairs = _near(centres, poses[:, 2, :3], passed, visits.depths(), together)
    chosen = _sparse(pairs, _distances(visits, pairs), limit, len(poses), _MOST_LOOPS)
    return [Revisit(i, j, float(passed[j] - passed[i])) for i, j in chosen]


def _near(
    centres: np.ndarray, axes: np.ndarray, passed: np.ndarray, depth: np.ndarray, together: Sequence[int]
) -> np.ndarray:
    """Return pairs (M, 2) of cameras that may have drifted apart from one place; the nearest first, not too many."""
    gaps, pairs = np.zeros(0), np.zeros((0, 2), np.int64)
    for i in range(len(centres)):
        later = np.arange(together[i], len(centres))
        reach = 0.5 * depth[i] + _DRIFT * (passed[later] - passed[i])
        apart = np.linalg.norm(centres[later] - centres[i], axis=1)
        seen = (apart < reach) & (axes[later] @ axes[i] > _VIEW)
        gaps = np.concatenate((gaps, apart[seen]))
        pairs = np.concatenate((pairs, np.stack((np.full(seen.sum(), i), later[seen]), 1)))
        if len(gaps) > 2 * _MOST_PAIRS:
            nearest = np.argsort(gaps, kind="stable")[:_MOST_PAIRS]
            gaps, pairs = gaps[nearest], pairs[nearest]
    return pairs[np.argsort(gaps, kind="stable")[:_MOST_PAIRS]]


def _distances(visits: Visits, pairs: np.ndarray) -> np.ndarray:
    found = [np.zeros(0)]
    for first in range(0, len(pairs), _READ):
        numbers, rows = np.unique(pairs[first : first + _READ], return_inverse=True)
        i, j = torch.from_numpy(rows.reshape(-1, 2)).to(visits.poses.device).unbind(1)
        found.append(both_ways(visits.geometry(numbers.tolist()), i, j).double().cpu().numpy())
    return np.concatenate(found)


def _sparse(pairs: np.ndarray, distances: np.ndarray, limit: float, count: int, most: int) -> list[tuple[int, int]]:
    """Return the nearest pairs of `count` keyframes, `most` at most, none beside another."""
    chosen: list[tuple[int, int]] = []
    apart = max(_PER_PLACE, count // most)  # so that loops are spread over a long path
    for k in np.argsort(distances, kind="stable"):
        i, j = pairs[k].tolist()
        if distances[k] >= min(limit, FAR) or len(chosen) >= most:
            break
        if all(abs(i - a) + abs(j - b) > apart for a, b in chosen):
            chosen.append((i, j))
    return chosen


def measure(flow: FlowModel, visits: Visits, archive: ViewArchive, revisit: Revisit, wanted: Adjustment) -> Loop | None:
    """Return what the network says of two keyframes; None if they do not seem to be at the same place.

    The second's pose is found from the depth of the first. Then both say how deep the same pixels are. Depth is not
    adjusted: two cameras that are near each other hardly tell it. Nothing is believed that is farther from the path
    than a path of this length drifts.
    """
    pair = (revisit.i, revisit.j)
    start = visits.geometry(pair)
    both = Keyframes((start.disps.shape[1], start.disps.shape[2]), visits.lens, dtype=start.poses.dtype)
    for k, number in enumerate(pair):
        both.expect(start.poses[k], start.disps[k])
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
    moved = se3.invert(both.poses[1])[:3] - se3.invert(start.poses[1])[:3]
    if float(moved.norm()) > _MOST_DRIFT * revisit.passed:
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
