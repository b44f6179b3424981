"""The normal equations of a step: summed over edges, disparities eliminated, solved.

All derivatives by a pose are linear in one per edge, that by the target's pose (see `reprojection.Linear`). So an
edge's part of the equations is summed over its pixels once, and then turned into every block that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geoflow.models.vipe.adjustment_chunks import Chunk
from geoflow.models.vipe.reprojection import Edges, Geometry, Linear, linearize
from geoflow.models.vipe.scatter import sum_rows
from geoflow.models.vipe.unknowns import Unknowns

_LENS_DAMPING = 1e-6
_RIG_DAMPING = 1e-4


@dataclass
class Eliminated:
    """Rows of a chunk's maps in the equations: `rows` (K, U, P) by the unknowns that they touch."""

    chunk: Chunk
    rows: Tensor
    diagonal: Tensor  # (K, P)
    right: Tensor  # (K, P)


class Normal:
    """The equations of one step."""

    def __init__(self, unknowns: Unknowns, geometry: Geometry, edges: Edges, least: float) -> None:
        self.unknowns, self.geometry, self.edges, self.least = unknowns, geometry, edges, least
        count, scalars = unknowns.blocks, unknowns.scalars

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=geometry.poses.device)

        self.left, self.right = zeros((count + 1) ** 2, 6, 6), zeros(count + 1, 6)  # the last row is of what is fixed
        self.across = zeros(count + 1, 6, scalars)
        self.lens_left, self.lens_right = zeros(scalars, scalars), zeros(scalars)
        self.eliminated: list[Eliminated] = []

    def add_edges(
        self, chunks: list[Chunk], target: Tensor, weight: Tensor, weigh: Callable[[Tensor], Tensor] | None
    ) -> None:
        """Add the edges' residuals; target and weight (E, 2, P)."""
        for chunk in chunks:
            linear = linearize(
                self.geometry, self.edges.of(chunk.edges), with_lens=self.unknowns.scalars > 0, least=self.least
            )
            residual = target[chunk.edges] - linear.coords
            weights = weight[chunk.edges] * linear.valid[:, None]
            if weigh is not None:
                weights = weights * weigh(residual)
            self._add(chunk, linear, residual, weights)

    def _add(self, chunk: Chunk, linear: Linear, residual: Tensor, weights: Tensor) -> None:
        by_target, count = linear.by_target, self.unknowns.blocks
        weighed = by_target * weights[:, None]
        flat = weighed.flatten(2)
        own, right = flat @ by_target.flatten(2).mT, (flat @ residual.flatten(1)[..., None])[..., 0]
        links = [(block, self._factor(kind, linear)) for kind, block in chunk.links]
        for row, turn in links:
            turned = right if turn is None else (turn.mT @ right[..., None])[..., 0]
            self.right += sum_rows(turned.double(), row, count + 1)
            for column, other in links:
                part = own if turn is None else turn.mT @ own
                part = part if other is None else part @ other
                self.left += sum_rows(part.double(), row * (count + 1) + column, (count + 1) ** 2)
        by_lens = None
        if linear.by_lens_i is not None and linear.by_lens_j is not None:
            # The lens is that of the working size. k, which has no size, is divided as well, as in the original.
            by_lens = ((linear.by_lens_i + linear.by_lens_j) / 8).movedim(1, 2)  # (E, F, 2, P)
            self._add_lens(links, flat, by_lens, residual, weights)
        if chunk.maps is not None:
            self._eliminate(chunk, links, linear, by_lens, residual, weights, weighed)

    @staticmethod
    def _factor(kind: str, linear: Linear) -> Tensor | None:
        """Return what turns a derivative by the target's pose into another; None if it stays."""
        if kind == "pose_j":
            return None
        if kind == "rig_j":
            return -torch.eye(6, dtype=linear.between.dtype, device=linear.between.device)
        return -linear.between if kind == "pose_i" else linear.between

    def _add_lens(
        self,
        links: list[tuple[Tensor, Tensor | None]],
        flat: Tensor,
        by_lens: Tensor,
        residual: Tensor,
        weights: Tensor,
    ) -> None:
        lens_flat = by_lens.flatten(2)
        across = flat @ lens_flat.mT
        for row, turn in links:
            part = across if turn is None else turn.mT @ across
            self.across += sum_rows(part.double(), row, self.unknowns.blocks + 1)
        lens_weighed = (by_lens * weights[:, None]).flatten(2)
        self.lens_left += (lens_weighed @ lens_flat.mT).double().sum(0)
        self.lens_right += (lens_weighed @ residual.flatten(1)[..., None])[..., 0].double().sum(0)

    def _eliminate(
        self,
        chunk: Chunk,
        links: list[tuple[Tensor, Tensor | None]],
        linear: Linear,
        by_lens: Tensor | None,
        residual: Tensor,
        weights: Tensor,
        weighed: Tensor,
    ) -> None:
        """Sum what the chunk's edges say of its maps' disparities."""
        assert chunk.maps is not None
        maps, slots = len(chunk.maps), chunk.slots
        across = (weighed * linear.by_disp[:, None]).sum(2)  # (E, 6, P)
        rows = across.new_zeros(maps * slots + 1, 6, across.shape[-1])
        for (_, turn), place in zip(links, chunk.places, strict=True):
            rows += sum_rows(across if turn is None else turn.mT @ across, place, maps * slots + 1)
        rows = rows[:-1].unflatten(0, (maps, slots)).flatten(1, 2)
        along = weights * linear.by_disp
        if by_lens is not None:
            lens_rows = sum_rows((by_lens * along[:, None]).sum(2), chunk.rows, maps)
            rows = torch.cat((rows, lens_rows), 1)
        diagonal = sum_rows((along * linear.by_disp).sum(1), chunk.rows, maps)
        right = sum_rows((along * residual).sum(1), chunk.rows, maps)
        self.eliminated.append(Eliminated(chunk, rows, diagonal, right))

    def add_disparities(
        self, damping: Tensor, ep: float, disps: Tensor, prior: Tensor | None, pull: Tensor | None
    ) -> None:
        """Add damping (D, P), and the prior with its weights `pull` (D, P), to the diagonal of disparities."""
        for part in self.eliminated:
            maps = part.chunk.maps
            assert maps is not None
            part.diagonal += 0.2 * damping[maps] + ep
            if pull is not None and prior is not None:
                part.diagonal += pull[maps]
                part.right -= pull[maps] * (disps[maps] - prior.flatten(1)[maps])

    def solve(self, pose_damping: float, pose_ep: float) -> tuple[Tensor, Tensor]:
        """Return the steps (B, 6) of poses and rig, and those of the lens; 0 if the equations have no solution."""
        count, scalars, poses = self.unknowns.blocks, self.unknowns.scalars, len(self.unknowns.pose_numbers)
        if count + scalars == 0:
            return self.right[:0], self.lens_right
        left, right = self._assembled()
        size = 6 * count
        relative = torch.full((size + scalars,), _LENS_DAMPING, dtype=left.dtype, device=left.device)
        absolute = relative.clone()
        relative[: 6 * poses], absolute[: 6 * poses] = pose_damping, pose_ep
        relative[6 * poses : size], absolute[6 * poses : size] = _RIG_DAMPING, _RIG_DAMPING
        left.diagonal().add_(absolute + relative * left.diagonal())
        self._subtract_eliminated(left, right)
        factor, failed = torch.linalg.cholesky_ex(left)
        step = torch.cholesky_solve(right[:, None], factor)[:, 0]
        if bool(failed) or not bool(step.isfinite().all()):
            step = torch.zeros_like(right)
        return step[:size].unflatten(0, (count, 6)), step[size:]

    def _assembled(self) -> tuple[Tensor, Tensor]:
        count, scalars = self.unknowns.blocks, self.unknowns.scalars
        size = 6 * count
        left = self.left.new_zeros(size + scalars, size + scalars)
        square = self.left.unflatten(0, (count + 1, count + 1))[:count, :count]
        left[:size, :size] = square.transpose(1, 2).reshape(size, size)
        across = self.across[:count].reshape(size, scalars)
        left[:size, size:], left[size:, :size], left[size:, size:] = across, across.mT, self.lens_left
        return left, torch.cat((self.right[:count].flatten(), self.lens_right))

    def _subtract_eliminated(self, left: Tensor, right: Tensor) -> None:
        count, total = self.unknowns.blocks, len(right)
        for part in self.eliminated:
            scaled = part.rows / part.diagonal[:, None]
            own, side = scaled @ part.rows.mT, (scaled @ part.right[..., None])[..., 0]
            places = part.chunk.unknowns(count, self.unknowns.scalars)  # (K, U), `total` where there is none
            pairs = places[:, :, None] * (total + 1) + places[:, None]
            summed = sum_rows(own.double().flatten(), pairs.flatten(), (total + 1) ** 2)
            left -= summed.reshape(total + 1, total + 1)[:total, :total]
            right -= sum_rows(side.double().flatten(), places.flatten(), total + 1)[:total]

    def disparity_steps(self, blocks: Tensor, scalars: Tensor) -> Tensor:
        """Return the steps (K, P) of the free disparity maps, given those of everything else."""
        known = torch.cat((blocks.flatten(), scalars, scalars.new_zeros(1)))
        first = self.eliminated[0].right
        steps = first.new_zeros(len(self.unknowns.map_numbers), first.shape[1])
        for part in self.eliminated:
            own = known[part.chunk.unknowns(self.unknowns.blocks, self.unknowns.scalars)].to(first.dtype)
            assert part.chunk.maps is not None
            places = self.unknowns.map_rows[part.chunk.maps]
            steps[places] = (part.right - (own[:, None] @ part.rows)[:, 0]) / part.diagonal
        return steps
