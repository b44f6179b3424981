"""A `BoxFlow` that holds what the network would hold: tensors of its shapes, which nobody computes with."""

from __future__ import annotations

import torch
from torch import Tensor

from geoflow.bench.slam.box_flow import BoxFlow
from geoflow.models.vipe.flow_model import Parts, View
from geoflow.models.vipe.update_operator import DIM


class LadenFlow(BoxFlow):
    """Views have features, hidden state and context (128, h, w); edges have a hidden state and a correlation volume."""

    def number(self, view: View) -> int:
        return int(view.features[0, 0, 0])

    def look(self, rgb: Tensor, frame: int) -> View:
        return View(self._filled(float(frame)))

    def enter(self, view: View, rgb: Tensor) -> View:
        return View(view.features, self._filled(0.5), self._filled(0.5))

    def start(self, sources: list[View]) -> Tensor:
        return torch.stack([view.hidden for view in sources if view.hidden is not None])

    def compare(self, sources: list[View], targets: list[View]) -> Parts:
        height, width = self.grid
        return *super().compare(sources, targets), torch.full((len(sources), height * width, height, width), 0.5)

    def _filled(self, value: float) -> Tensor:
        return torch.full((DIM, *self.grid), value)  # zeros would take no memory
