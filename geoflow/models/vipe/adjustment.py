"""Dense bundle adjustment: poses, disparities of every pixel, focal length and rig, in Gauss-Newton steps.

The residual of a pixel is where it should lie in the target minus where it lies, in pixels of the grid. Disparities are
eliminated first (the Schur complement), which leaves a dense system of the poses and the lens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geoflow.errors import ConfigError
from geoflow.models.vipe import lens, se3
from geoflow.models.vipe.adjustment_chunks import chunks_of
from geoflow.models.vipe.normal_equations import Normal
from geoflow.models.vipe.reprojection import Edges, Geometry
from geoflow.models.vipe.robust import RobustKernel, Weigh
from geoflow.models.vipe.unknowns import Unknowns

GRID = 8  # pixels of the working size per pixel of the grid


@dataclass(frozen=True)
class Rule:
    """What differs between ViPE's generic solver and its fused kernel."""

    least_ratio: float  # of depths, from which on a pixel counts
    prior_everywhere: bool  # the prior also pulls pixels without one, towards 0
    disp_ep: float  # added to the diagonal of disparities
    largest_step: float  # of a disparity; a larger one is not made
    frees_targets: bool  # a keyframe outside of [t0, t1) that is no source is free
    keeps_self_edges: bool


RULES = {
    "generic": Rule(lens.LEAST_RATIO, True, 2e-7, 10.0, True, True),
    "fused": Rule(0.25, False, 1e-7, float("inf"), False, False),
}


@dataclass(frozen=True)
class Adjustment:
    """What is adjusted, and how strongly it is damped. Poses of keyframes in [t0, t1) are free."""

    t0: int
    t1: int
    iterations: int
    pose_damping: float = 1e-3  # in parts of the diagonal
    pose_ep: float = 0.1
    motion_only: bool = False  # all disparities are fixed
    limited_disp: bool = False  # disparities of sources outside [t0, t1) are fixed
    free_focal: bool = False
    free_rig: bool = False  # the views' rotations, except for the first view's
    alpha: float = 0.001  # weight of the depth prior
    rule: str = "generic"
    robust: RobustKernel | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ConfigError(f"rule should be one of {', '.join(RULES)}, found {self.rule!r}")
        if self.rule == "fused" and (self.free_rig or self.robust is not None or self.t0 >= self.t1):
            raise ConfigError("the fused rule knows no rig, no robust kernel, and needs a pose that is free")


@dataclass(frozen=True)
class Scene:
    """What an adjustment starts from, and what it returns; lenses are those of the working size."""

    poses: Tensor  # (N, 7)
    disps: Tensor  # (D, h, w)
    lenses: Tensor  # (V, 4 or 5)
    rig: Tensor | None = None  # (V, 7)

    @property
    def geometry(self) -> Geometry:
        """The scene as pixels of the grid see it."""
        return Geometry(self.poses, self.disps, lens.scaled(self.lenses, 1 / GRID), self.rig)


def adjust(
    scene: Scene,
    edges: Edges,
    target: Tensor,
    weight: Tensor,
    damping: Tensor,
    chosen: Adjustment,
    prior: Tensor | None = None,
) -> Scene:
    """Return the adjusted scene.

    target and weight (E, 2, h, w), damping (D, h, w) of disparities, prior (D, h, w) disparities, 0 where unknown.
    Disparities of all maps are at least 0.001 afterwards. A step whose system cannot be solved moves no pose.
    """
    rule = RULES[chosen.rule]
    if not rule.keeps_self_edges:
        apart = edges.pose_i != edges.pose_j
        edges, target, weight = edges.of(apart), target[apart], weight[apart]
    target, weight = target.flatten(2), 0.001 * weight.flatten(2)
    unknowns = _unknowns(scene, edges, chosen, rule)
    pull = None if prior is None or chosen.motion_only else _prior_weight(prior, chosen.alpha, rule).flatten(1)
    chunks = chunks_of(unknowns, edges, target.shape[-1])
    for weigh in _weighings(chosen):
        normal = Normal(unknowns, scene.geometry, edges, rule.least_ratio)
        normal.add_edges(chunks, target, weight, weigh)
        normal.add_disparities(damping.flatten(1), rule.disp_ep, scene.disps.flatten(1), prior, pull)
        scene = _stepped(scene, unknowns, normal, chosen, rule)
    return replace(scene, disps=scene.disps.clamp(min=0.001))


def _weighings(chosen: Adjustment) -> Iterator[Weigh | None]:
    if chosen.robust is not None:
        return iter(chosen.robust.weights(chosen.iterations))
    return iter([None] * chosen.iterations)


def _unknowns(scene: Scene, edges: Edges, chosen: Adjustment, rule: Rule) -> Unknowns:
    count, views = len(scene.poses), len(scene.lenses)
    inside = torch.zeros(count, dtype=torch.bool, device=edges.pose_i.device)
    inside[chosen.t0 : chosen.t1] = True
    sources = torch.zeros_like(inside)
    sources[edges.pose_i] = True
    if not rule.frees_targets:
        poses = inside.clone()
    elif chosen.t0 == chosen.t1:
        poses = torch.zeros_like(inside)
    else:
        met = sources.clone()
        met[edges.pose_j] = True
        poses = met & ~(sources & ~inside)
    maps = torch.zeros(len(scene.disps), dtype=torch.bool, device=inside.device)
    if not chosen.motion_only:
        maps[edges.disp_i] = True
        if not rule.frees_targets:
            maps |= inside
        if chosen.limited_disp:
            maps &= inside.repeat_interleave(len(maps) // count)
    rig = torch.arange(views, device=inside.device) > 0 if chosen.free_rig else None
    return Unknowns.of(poses, rig, maps, scene.lenses.shape[1] - 3 if chosen.free_focal else 0)


def _prior_weight(prior: Tensor, alpha: float, rule: Rule) -> Tensor:
    """Return the weight (D, h, w) with which the prior pulls each pixel."""
    if rule.prior_everywhere:
        return alpha * (prior.sum((1, 2), keepdim=True) > 0).to(prior.dtype).expand_as(prior)
    return alpha * (prior > 0).to(prior.dtype)


def _stepped(scene: Scene, unknowns: Unknowns, normal: Normal, chosen: Adjustment, rule: Rule) -> Scene:
    blocks, scalars = normal.solve(chosen.pose_damping, chosen.pose_ep)
    moved = unknowns.pose_numbers
    poses = scene.poses.clone()
    poses[moved] = se3.retract(poses[moved], blocks[: len(moved)].to(poses.dtype))
    lenses, rig = scene.lenses, scene.rig
    if len(scalars):
        step = scalars.to(lenses.dtype)
        lenses = torch.cat((lenses[:, :2] + step[0], lenses[:, 2:4], lenses[:, 4:] + 0.01 * step[1:]), 1)
    if len(unknowns.rig_numbers) and rig is not None:
        turn = blocks[len(moved) :].to(rig.dtype).clone()
        turn[:, :3] = 0
        rig = rig.clone()
        rig[unknowns.rig_numbers] = se3.retract(rig[unknowns.rig_numbers], turn)
    disps = scene.disps
    if len(unknowns.map_numbers):
        steps = normal.disparity_steps(blocks, scalars)
        steps = torch.where(steps > rule.largest_step, torch.zeros_like(steps), steps)
        disps = disps.clone()
        disps[unknowns.map_numbers] += steps.unflatten(1, disps.shape[1:])
    return Scene(poses, disps, lenses, rig)
