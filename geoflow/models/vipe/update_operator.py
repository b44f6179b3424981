"""The recurrent network that says where pixels should lie instead, and how far that is to be believed."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from geoflow.models.vipe.correlation import CHANNELS
from geoflow.models.vipe.scatter import mean_rows

DIM = 128
LARGEST_MOTION = 64.0  # pixels of the grid; longer motions look like this one


class Gru(nn.Module):
    """A convolutional GRU whose gates also see the whole picture."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.convz, self.convr, self.convq = (nn.Conv2d(DIM + inputs, DIM, 3, padding=1) for _ in range(3))
        self.w = nn.Conv2d(DIM, DIM, 1)
        self.convz_glo, self.convr_glo, self.convq_glo = (nn.Conv2d(DIM, DIM, 1) for _ in range(3))

    def forward(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        whole = (self.w(hidden).sigmoid() * hidden).mean((2, 3), keepdim=True)
        both = torch.cat((hidden, inputs), 1)
        z = (self.convz(both) + self.convz_glo(whole)).sigmoid()
        r = (self.convr(both) + self.convr_glo(whole)).sigmoid()
        q = (self.convq(torch.cat((r * hidden, inputs), 1)) + self.convq_glo(whole)).tanh()
        return (1 - z) * hidden + z * q


class Aggregate(nn.Module):
    """What the edges of a frame say of it together."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(DIM, DIM, 3, padding=1)
        self.conv2 = nn.Conv2d(DIM, DIM, 3, padding=1)
        self.eta = nn.Sequential(nn.Conv2d(DIM, 1, 3, padding=1), nn.Softplus())
        self.upmask = nn.Sequential(nn.Conv2d(DIM, 8 * 8 * 9, 1))

    def forward(self, hidden: Tensor, frame: Tensor, count: int) -> Tensor:
        """Return (count, 128, h, w) of hidden states (E, 128, h, w) whose frames are `frame` (E,)."""
        return cast(Tensor, self.conv2(mean_rows(self.conv1(hidden).relu(), frame, count)).relu())


def _head(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(DIM, DIM, 3, padding=1), nn.ReLU(), nn.Conv2d(DIM, 2, 3, padding=1), *last)


class UpdateOperator(nn.Module):
    """One pass over E edges."""

    def __init__(self) -> None:
        super().__init__()
        self.corr_encoder = nn.Sequential(
            nn.Conv2d(CHANNELS, DIM, 1), nn.ReLU(), nn.Conv2d(DIM, DIM, 3, padding=1), nn.ReLU()
        )
        self.flow_encoder = nn.Sequential(
            nn.Conv2d(4, DIM, 7, padding=3), nn.ReLU(), nn.Conv2d(DIM, 64, 3, padding=1), nn.ReLU()
        )
        self.weight = _head(nn.Sigmoid())
        self.delta = _head()
        self.gru = Gru(2 * DIM + 64)
        self.agg = Aggregate()

    def forward(self, hidden: Tensor, context: Tensor, correlation: Tensor, motion: Tensor) -> Tensor:
        """Return the new hidden state (E, 128, h, w); motion (E, 4, h, w) is in pixels of the grid."""
        motion = motion.clamp(-LARGEST_MOTION, LARGEST_MOTION)
        inputs = torch.cat((context, self.corr_encoder(correlation), self.flow_encoder(motion)), 1)
        return cast(Tensor, self.gru(hidden, inputs))

    def flow(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return by how far pixels should lie elsewhere, and the weights 0..1 of that: both (E, 2, h, w), x and y."""
        return self.delta(hidden), self.weight(hidden)

    def damping(self, hidden: Tensor, frame: Tensor, count: int) -> Tensor:
        """Return the damping (count, h, w) of frames' disparities; `frame` (E,) is that of each edge."""
        return cast(Tensor, 0.01 * self.agg.eta(self.agg(hidden, frame, count))[:, 0])
