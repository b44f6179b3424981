"""The network as a source of flow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoflow.models.vipe import lens
from geoflow.models.vipe.correlation import lookup, pyramid
from geoflow.models.vipe.flow_model import Parts, View
from geoflow.models.vipe.network import SlamNetwork


class NetworkFlow:
    """A `FlowModel`; `dtype` is that of convolutions and correlation."""

    def __init__(self, network: SlamNetwork, dtype: torch.dtype | None = None) -> None:
        self.network, self.dtype = network.eval(), dtype
        self.device = next(network.parameters()).device

    def _casting(self) -> Any:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def look(self, rgb: Tensor, frame: int) -> View:
        with self._casting():
            return View(self.network.features(rgb[None])[0])

    def enter(self, view: View, rgb: Tensor) -> View:
        with self._casting():
            hidden, context = self.network.context(rgb[None])
        return View(view.features, hidden[0], context[0])

    def motion(self, keyframe: View, view: View) -> Tensor:
        assert keyframe.hidden is not None and keyframe.context is not None
        with self._casting():
            height, width = view.features.shape[1:]
            levels = pyramid(keyframe.features[None], view.features[None])
            coords = lens.grid(height, width, view.features.float())[None]
            still = coords.new_zeros(1, 4, *coords.shape[2:])
            seen = lookup(levels, coords)
            hidden = self.network.update(keyframe.hidden[None], keyframe.context[None], seen, still)
            return self.network.update.flow(hidden)[0][0].float()

    def start(self, sources: list[View]) -> Tensor:
        return torch.stack([view.hidden for view in sources if view.hidden is not None])

    def compare(self, sources: list[View], targets: list[View]) -> Parts:
        with self._casting():
            levels = pyramid(*(torch.stack([view.features for view in views]) for views in (sources, targets)))
        return torch.stack([view.context for view in sources if view.context is not None]), *levels

    def update(
        self, hidden: Tensor, compared: Parts, coords: Tensor, motion: Tensor, frame: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with self._casting():
            hidden = self.network.update(hidden, compared[0], lookup(compared[1:], coords), motion)
            delta, weight = self.network.update.flow(hidden)
            damping = self.network.update.damping(hidden, frame, count)
        return hidden, delta.float(), weight.float(), damping.float()
