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
from geoflow.models.vipe.velocity import between

_UPDATES = 10
_ITERATIONS = 3


@dataclass(frozen=True)
class Filled:
    """Poses (M, 7) camera from world, and the mean weight (M,) of the pixels that they were found from."""

    poses: Tensor
    weight: Tensor


def fill(flow: FlowModel, keyframes: Keyframes, frames: list[int], views: list[View], options: SlamOptions) -> Filled:
    """Return the poses of frames, each found from the keyframes before and after it."""
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
    weight = torch.stack([graph.weight[graph.jj == number].mean() for number in fresh])
    found = Filled(keyframes.poses[count:].clone(), weight)
    keyframes.trim(count)
    return found
