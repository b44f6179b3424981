"""The adjustment of all keyframes at once, on edges of its own."""

from __future__ import annotations

import torch

from geoflow.models.vipe.adjustment import Adjustment
from geoflow.models.vipe.factor_graph import FactorGraph
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.options import SlamOptions

_ITERATIONS = 8
_ITERATIONS_FREE = 16  # with a free focal length


class BackEnd:
    """Adjusts all keyframes from a new graph whose hidden states begin anew."""

    def __init__(self, flow: FlowModel, keyframes: Keyframes, options: SlamOptions, *, free_focal: bool) -> None:
        self.flow, self.keyframes, self.options, self.free_focal = flow, keyframes, options, free_focal
        self.graph: FactorGraph | None = None  # of the last run

    def leave(self) -> None:
        """Forget the last graph; the focal length is not changed any more."""
        self.graph, self.free_focal = None, False

    def run(self, rounds: int) -> None:
        """Update all edges in rounds. With a prior, the focal length is free in the first half of them only."""
        keyframes, options = self.keyframes, self.options
        self.graph = None  # its hidden states would be held beside the new ones
        graph = FactorGraph(self.flow, keyframes, options.backend_factors * len(keyframes), keeps=False)
        graph.add_near(0, 0, options.backend_radius, options.backend_nms, options.backend_thresh, options.beta)
        self.graph = graph
        if not len(graph.ii):
            known = keyframes.priors[:1] > 0
            keyframes.disps = torch.where(known, keyframes.priors, keyframes.disps)
            return
        has_prior = bool((keyframes.priors > 0).any())
        first = rounds // 2 if has_prior else rounds
        focal = float(keyframes.lens[0])
        for _ in range(first):
            self._update(graph, free_focal=self.free_focal)
        if has_prior and options.prior_follows_focal:
            keyframes.priors = keyframes.priors * (focal / float(keyframes.lens[0]))
        for _ in range(rounds - first):
            self._update(graph, free_focal=False)

    def _update(self, graph: FactorGraph, *, free_focal: bool) -> None:
        options = self.options
        wanted = Adjustment(
            max(1, self.keyframes.fixed),
            len(self.keyframes),
            _ITERATIONS_FREE if self.free_focal else _ITERATIONS,
            pose_damping=1e-5,
            pose_ep=1e-2,
            free_focal=free_focal,
            alpha=options.dense_disp_alpha,
            rule=options.rule,
            robust=options.robust,
        )
        graph.update(wanted)
