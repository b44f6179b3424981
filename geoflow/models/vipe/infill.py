"""Poses of all frames, found between the keyframes around each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.vipe.adjustment import Adjustment
from geoflow.models.vipe.factor_graph import FactorGraph
from geoflow.models.vipe.flow_model import FlowModel, View
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.options import SlamOptions
from geoflow.models.vipe.reprojection import Edges, reproject
from geoflow.models.vipe.scatter import sum_rows
from geoflow.models.vipe.velocity import between

_UPDATES = 10
_ITERATIONS = 3


@dataclass(frozen=True)
class Filled:
    """Poses (M, 7) camera from world, and what they rest on."""

    poses: Tensor
    weight: Tensor  # (M,) mean weight of the pixels that they were found from
    explained: Tensor  # (M,) share of that weight whose pixels lie where the network says


def fill(
    flow: FlowModel, keyframes: Keyframes, frames: list[int], views: list[View], options: SlamOptions, near: float
) -> Filled:
    """Return the poses of frames, each found from the keyframes before and after it.

    Pixels within `near` px of the grid of where the network says count as explained.
    """
    device, count = keyframes.poses.device, len(keyframes)
    known, asked = (torch.tensor(numbers, device=device) for numbers in (keyframes.frames, frames))
    poses, before, after = between(keyframes.poses, known, asked)
    expected = keyframes.expected_pose, keyframes.expected_disp
    for frame, view, pose in zip(frames, views, poses):
        keyframes.expect(pose, expected[1])
        keyframes.add(frame, view)
    keyframes.expect(*expected)
    graph = FactorGraph(flow, keyframes, -1)
    fresh = range(count, count + len(frames))
    graph.add(zip(before.tolist(), fresh))
    graph.add(zip(after.tolist(), fresh))
    wanted = Adjustment(
        count,
        count + len(frames),
        _ITERATIONS,
        motion_only=True,
        limited_disp=True,
        rule=options.rule,
        robust=options.robust,
    )
    for _ in range(_UPDATES):
        graph.update(wanted)
    coords, valid = reproject(keyframes.geometry, Edges.single(graph.ii, graph.jj))
    right = ((coords - graph.target).norm(dim=1) < near) & valid
    weight = graph.weight.mean(1).flatten(1)
    by_frame = sum_rows(weight.mean(1), graph.jj - count, len(frames))
    agreeing = sum_rows((weight * right.flatten(1)).mean(1), graph.jj - count, len(frames))
    edges = sum_rows(torch.ones_like(weight[:, 0]), graph.jj - count, len(frames))
    found = Filled(keyframes.poses[count:].clone(), by_frame / edges, agreeing / by_frame.clamp(min=1e-9))
    keyframes.trim(count)
    return found
