"""Edges between keyframes: what the network says of each, and the adjustments that follow from it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from geoflow.models.vipe import lens
from geoflow.models.vipe.adjustment import Adjustment, adjust
from geoflow.models.vipe.flow_model import FlowModel, Parts, View, chosen, joined
from geoflow.models.vipe.frame_distance import both_ways
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.proximity import Pair, Proximity
from geoflow.models.vipe.reprojection import Edges, linearize, reproject
from geoflow.models.vipe.scatter import sum_rows

_FIRST_DAMPING = 1e-6
_REACH = 3  # keyframes before the first free one whose stored edges still count


class FactorGraph:
    """Directed edges ii -> jj with the hidden states, targets and weights of their last update.

    Edges that are stored away are no longer updated, but may take part in adjustments. If `keeps` is set, what is
    compared of an edge is kept between updates, which costs memory; else it is made anew for a few edges at a time.
    Edges of one age are in the order of their making, or in any order if `stable` is not set.
    """

    def __init__(
        self, flow: FlowModel, keyframes: Keyframes, most: int, *, keeps: bool = True, stable: bool = True
    ) -> None:
        self.flow, self.keyframes, self.most, self.keeps, self.stable = flow, keyframes, most, keeps, stable
        disps = keyframes.disps
        device = disps.device
        self.ii, self.jj, self.age = (torch.zeros(0, dtype=torch.long, device=device) for _ in range(3))
        self.target = disps.new_zeros(0, 2, *disps.shape[1:])
        self.weight = self.target.clone()
        self.stored_ii, self.stored_jj = self.ii.clone(), self.jj.clone()
        self.stored_target, self.stored_weight = self.target.clone(), self.target.clone()
        self.hidden: Tensor | None = None
        self.compared: Parts | None = None
        self.damping = disps.new_zeros(0, *disps.shape[1:])

    def pairs(self) -> list[Pair]:
        """Return the edges that are updated."""
        return list(zip(self.ii.tolist(), self.jj.tolist()))

    def stored_pairs(self) -> list[Pair]:
        """Return the edges that are stored away."""
        return list(zip(self.stored_ii.tolist(), self.stored_jj.tolist()))

    def add(self, pairs: Iterable[Pair], *, remove: bool = False) -> None:
        """Add edges that are not there, active or stored.

        With `remove`, edges are stored away if there would be more than `most`: those whose place in the order of ages
        is taken by an edge of a high number. The original does so.
        """
        known = {*self.pairs(), *self.stored_pairs()}
        fresh = [pair for pair in pairs if pair not in known]
        if not fresh:
            return
        if remove and len(self.ii) and self.most > 0 and len(self.ii) + len(fresh) > self.most:
            self.remove(self.age.argsort(stable=self.stable) >= self.most - len(fresh), store=True)
        ii, jj = torch.tensor(fresh, dtype=torch.long, device=self.ii.device).unbind(1)
        sources, targets = self._views(ii), self._views(jj)
        if self.keeps:
            self.compared = joined(self.compared, self.flow.compare(sources, targets))
        first = self.flow.start(sources)
        self.hidden = first if self.hidden is None else torch.cat((self.hidden, first))
        coords, _ = reproject(self.keyframes.geometry, Edges.single(ii, jj))
        self.target = torch.cat((self.target, coords))
        self.weight = torch.cat((self.weight, torch.zeros_like(coords)))
        self.ii, self.jj = torch.cat((self.ii, ii)), torch.cat((self.jj, jj))
        self.age = torch.cat((self.age, torch.zeros_like(ii)))

    def add_near(
        self, t0: int, t1: int, radius: int, suppression: int, limit: float, beta: float, *, remove: bool = False
    ) -> None:
        """Add edges by distance between keyframes from t0 on and those from t1 on."""
        choice = Proximity(t0, t1, len(self.keyframes), radius, suppression)
        i, j = (torch.from_numpy(numbers).to(self.ii.device) for numbers in choice.candidates())
        distances = both_ways(self.keyframes.geometry, i, j, beta).double().cpu().numpy()
        known = self.pairs() + self.stored_pairs()
        self.add(choice.choose(distances, known, limit, self.most), remove=remove)

    def remove(self, which: Tensor, *, store: bool = False) -> None:
        """Remove edges by mask (E,); with `store`, their targets and weights are kept for adjustments."""
        if store:
            self.stored_ii = torch.cat((self.stored_ii, self.ii[which]))
            self.stored_jj = torch.cat((self.stored_jj, self.jj[which]))
            self.stored_target = torch.cat((self.stored_target, self.target[which]))
            self.stored_weight = torch.cat((self.stored_weight, self.weight[which]))
        left = ~which
        self.ii, self.jj, self.age = self.ii[left], self.jj[left], self.age[left]
        self.target, self.weight = self.target[left], self.weight[left]
        self.hidden = None if self.hidden is None else self.hidden[left]
        self.compared = None if self.compared is None else chosen(self.compared, left)

    def forget_stored(self, which: Tensor) -> None:
        """Forget stored edges by mask."""
        left = ~which
        self.stored_ii, self.stored_jj = self.stored_ii[left], self.stored_jj[left]
        self.stored_target, self.stored_weight = self.stored_target[left], self.stored_weight[left]

    def drop_keyframe(self, number: int) -> None:
        """Forget a keyframe and its edges; keyframes after it move up."""
        self.keyframes.drop(number)
        self.forget_stored((self.stored_ii == number) | (self.stored_jj == number))
        self.remove((self.ii == number) | (self.jj == number))
        self.ii, self.jj, self.stored_ii, self.stored_jj = (
            numbers - (numbers > number).long() for numbers in (self.ii, self.jj, self.stored_ii, self.stored_jj)
        )

    def leave(self, count: int) -> None:
        """Forget the edges of the first `count` keyframes, which are forgotten, too."""
        self.forget_stored((self.stored_ii < count) | (self.stored_jj < count))
        self.remove((self.ii < count) | (self.jj < count))
        self.ii, self.jj, self.stored_ii, self.stored_jj = (
            numbers - count for numbers in (self.ii, self.jj, self.stored_ii, self.stored_jj)
        )
        self.damping = self.damping[count:].clone()

    def update(self, wanted: Adjustment, *, with_stored: bool = False) -> None:
        """Let the network correct all edges, and adjust. Stored edges between late enough keyframes may take part."""
        self.correct()
        ii, jj, target, weight = self.ii, self.jj, self.target, self.weight
        if with_stored:
            late = (self.stored_ii >= wanted.t0 - _REACH) & (self.stored_jj >= wanted.t0 - _REACH)
            ii, jj = torch.cat((self.stored_ii[late], ii)), torch.cat((self.stored_jj[late], jj))
            target = torch.cat((self.stored_target[late], target))
            weight = torch.cat((self.stored_weight[late], weight))
        keyframes = self.keyframes
        keyframes.settle(
            adjust(keyframes.scene, Edges.single(ii, jj), target, weight, self.damping, wanted, keyframes.priors)
        )
        self.age = self.age + 1

    def correct(self, sources_at_once: int = 8) -> None:
        """Let the network correct the targets and weights of all edges, and the damping of their sources."""
        self._grow_damping()
        geometry = self.keyframes.geometry
        for part in self._parts(sources_at_once):
            ii, jj = self.ii[part], self.jj[part]
            coords, _ = reproject(geometry, Edges.single(ii, jj))
            pixels = lens.grid(coords.shape[2], coords.shape[3], coords)
            motion = torch.cat((coords - pixels, self.target[part] - coords), 1)
            sources, row = torch.unique(ii, return_inverse=True)
            if self.compared is not None:
                compared = self.compared if len(part) == len(self.ii) else chosen(self.compared, part)
            else:
                compared = self.flow.compare(self._views(ii), self._views(jj))
            assert self.hidden is not None
            hidden, delta, weight, damping = self.flow.update(
                self.hidden[part], compared, coords, motion, row, len(sources)
            )
            self.hidden[part] = hidden.to(self.hidden.dtype)
            self.target[part] = coords + delta.to(coords.dtype)
            self.weight[part] = weight.to(coords.dtype).masked_fill(self.keyframes.invalid[ii][:, None], 0)
            self.damping[sources] = damping.to(coords.dtype)

    @property
    def first_free(self) -> int:
        """The first keyframe whose pose an update may move."""
        return max(1, int(self.ii.min()) + 1, self.keyframes.fixed)

    @property
    def stop(self) -> int:
        """The number of keyframes up to the last that an edge knows."""
        return int(torch.maximum(self.ii.max(), self.jj.max())) + 1

    def information(self) -> Tensor:
        """Return what the edges know of each disparity (N, h, w): squared derivatives, summed by their weights.

        Its inverse is the variance of a disparity while poses are taken as known, if the weights are inverse variances
        of pixels of the grid.
        """
        keyframes = self.keyframes
        found = torch.zeros_like(keyframes.disps)
        for part in torch.arange(len(self.ii), device=self.ii.device).split(64):
            linear = linearize(keyframes.geometry, Edges.single(self.ii[part], self.jj[part]))
            known = (self.weight[part].flatten(2) * linear.valid[:, None] * linear.by_disp**2).sum(1)
            found += sum_rows(known.unflatten(1, found.shape[1:]), self.ii[part], len(found))
        return found

    def _parts(self, sources_at_once: int) -> list[Tensor]:
        """Return numbers of edges that are corrected together: all of a source's are."""
        if self.keeps:
            return [torch.arange(len(self.ii), device=self.ii.device)]
        stop = int(self.ii.max()) + 1
        parts = [
            ((self.ii >= first) & (self.ii < first + sources_at_once)).nonzero()[:, 0]
            for first in range(0, stop, sources_at_once)
        ]
        return [part for part in parts if len(part)]

    def _grow_damping(self) -> None:
        missing = len(self.keyframes) - len(self.damping)
        if missing > 0:
            fresh = self.damping.new_full((missing, *self.damping.shape[1:]), _FIRST_DAMPING)
            self.damping = torch.cat((self.damping, fresh))

    def _views(self, numbers: Tensor) -> list[View]:
        return [self.keyframes.views[number] for number in numbers.tolist()]
