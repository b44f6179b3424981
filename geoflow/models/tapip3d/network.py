"""The whole network, with parameters named as in the published weights, and its input in the updater's order."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from geoflow.models.tapip3d.config import TrackerConfig
from geoflow.models.tapip3d.correlation import Correlation
from geoflow.models.tapip3d.encoder import Encoder
from geoflow.models.tapip3d.fourier import encode_positions, time_table
from geoflow.models.tapip3d.updater import Updater


class TrackerNetwork(nn.Module):
    """Encoder, correlation and updater; `windows` runs them."""

    def __init__(self, config: TrackerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.feature_dim)
        self.corr_processor = Correlation(config.feature_dim, config.corr_levels, config.corr_feature)
        self.point_updater = Updater(config.input_dim, config.point_updater)
        self.time_emb: Tensor
        self.register_buffer("time_emb", time_table(config.input_dim, config.seq_len))

    def compile_parts(self) -> None:
        """Have torch.compile make the network quicker. It takes its time when a part first runs."""
        for part in (self.encoder, self.point_updater, *self.corr_processor.transformers):
            part.compile(dynamic=True)

    def update(self, logits: Tensor, correlation: Tensor, points: Tensor, pixels: Tensor) -> Tensor:
        """Return the step (S, N, 5) of a window's points.

        logits (S, N), correlation (S, N, C), points (S, N, 3) normalised, pixels (S, N, 2) in parts of the frame.
        """
        return cast(Tensor, self.point_updater(self.updater_input(logits, correlation, points, pixels)))

    def updater_input(self, logits: Tensor, correlation: Tensor, points: Tensor, pixels: Tensor) -> Tensor:
        """Return (S, N, input_dim), the time table added."""
        back = torch.zeros_like(points)
        ahead = torch.zeros_like(points)
        ahead[:-1] = points[:-1] - points[1:]
        back[1:] = points[1:] - points[:-1]
        motion = encode_positions(torch.cat((ahead, back), dim=-1))
        parts = (logits[..., None], correlation.float(), motion, encode_positions(pixels))
        return torch.cat(parts, dim=-1) + self.time_emb[0, :, None]
