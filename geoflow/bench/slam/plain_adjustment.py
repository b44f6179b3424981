"""Dense bundle adjustment as it is written down: every derivative and every block is made, none is summed early.

The elimination of disparities goes over all pairs of poses and maps, most of which share nothing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from geoflow.models.vipe import se3
from geoflow.models.vipe.adjustment import Adjustment, Scene
from geoflow.models.vipe.reprojection import Edges, linearize


def plain_adjust(
    scene: Scene, edges: Edges, target: Tensor, weight: Tensor, damping: Tensor, chosen: Adjustment
) -> Scene:
    """Return the adjusted scene, as `adjust` does by the generic rule; poses from t0 on are free."""
    for _ in range(chosen.iterations):
        scene = _step(scene, edges, target.flatten(2), 0.001 * weight.flatten(2), damping.flatten(1), chosen)
    return replace(scene, disps=scene.disps.clamp(min=0.001))


def _step(scene: Scene, edges: Edges, target: Tensor, weight: Tensor, damping: Tensor, chosen: Adjustment) -> Scene:
    linear = linearize(scene.geometry, edges)
    residual, weights = target - linear.coords, weight * linear.valid[:, None]
    by_i = -torch.einsum("eab,eacp->ebcp", linear.between, linear.by_target)
    ends = ((edges.pose_i, by_i), (edges.pose_j, linear.by_target))
    poses, maps, pixels = len(scene.poses), len(scene.disps), target.shape[-1]
    left, right = target.new_zeros(poses * poses, 6, 6), target.new_zeros(poses, 6)
    across = target.new_zeros(poses * maps, 6, pixels)
    for row, first in ends:
        right.index_add_(0, row, torch.einsum("eacp,ecp->ea", first, weights * residual))
        across.index_add_(0, row * maps + edges.disp_i, torch.einsum("eacp,ecp->eap", first, weights * linear.by_disp))
        for column, second in ends:
            block = torch.einsum("eacp,ecp,ebcp->eab", first, weights, second)
            left.index_add_(0, row * poses + column, block)
    diagonal, along = target.new_zeros(maps, pixels), target.new_zeros(maps, pixels)
    diagonal.index_add_(0, edges.disp_i, (weights * linear.by_disp**2).sum(1))
    along.index_add_(0, edges.disp_i, (weights * linear.by_disp * residual).sum(1))
    inverse = 1 / (diagonal + 0.2 * damping + 2e-7)
    return _solved(
        scene, left.unflatten(0, (poses, poses)), right, across.unflatten(0, (poses, maps)), inverse, along, chosen
    )


def _solved(
    scene: Scene, left: Tensor, right: Tensor, across: Tensor, inverse: Tensor, along: Tensor, chosen: Adjustment
) -> Scene:
    """Eliminate the disparities, and take the step; across (N, D, 6, P), inverse and along (D, P)."""
    left, right, across = left[chosen.t0 :, chosen.t0 :], right[chosen.t0 :], across[chosen.t0 :]
    size = 6 * len(right)
    matrix = left.transpose(1, 2).reshape(size, size).clone()
    matrix.diagonal().add_(chosen.pose_ep + chosen.pose_damping * matrix.diagonal())
    flat = across.transpose(1, 2).reshape(size, -1)
    matrix -= (flat * inverse.flatten()) @ flat.T
    reduced = right.flatten() - flat @ (inverse * along).flatten()
    blocks = torch.cholesky_solve(reduced[:, None], torch.linalg.cholesky(matrix)).reshape(-1, 6)
    poses, disps = scene.poses.clone(), scene.disps.flatten(1)
    poses[chosen.t0 :] = se3.retract(poses[chosen.t0 :], blocks)
    steps = inverse * (along - (blocks.flatten() @ flat).reshape(inverse.shape))
    steps = torch.where(steps > 10, torch.zeros_like(steps), steps)
    return replace(scene, poses=poses, disps=(disps + steps).reshape(scene.disps.shape))
