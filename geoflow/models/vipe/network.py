"""The whole network, with parameters named as in the published weights."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from geoflow.models.vipe.encoder import Encoder, normalised
from geoflow.models.vipe.update_operator import DIM, UpdateOperator


class SlamNetwork(nn.Module):
    """Two encoders and the update operator; `network_flow` runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder(DIM, normed=True)
        self.cnet = Encoder(2 * DIM, normed=False)
        self.update = UpdateOperator()

    def features(self, rgb: Tensor) -> Tensor:
        """Return (N, 128, h, w) of pictures (N, 3, H, W), RGB in 0..1."""
        return cast(Tensor, self.fnet(normalised(rgb)))

    def context(self, rgb: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first hidden state and the context, both (N, 128, h, w), of pictures (N, 3, H, W)."""
        hidden, context = self.cnet(normalised(rgb)).chunk(2, 1)
        return hidden.tanh(), context.relu()
