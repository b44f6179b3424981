"""Residual blocks over space and over time, and their blend (Blattmann et al. 2023, "Align your Latents", section 3).

Everything here is for inference: some results are written over their inputs. Feature maps are (N, C, h, w) with
N = B * T frames, the frames of a video one after another, in either memory format; `num_frames` is T.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.diffusion.frame_batches import by_frames
from geoflow.models.diffusion.norm import group_norm
from geoflow.models.diffusion.residual import ResidualBlock

_MANY_PIXELS = 256


class TemporalConv(nn.Conv3d):
    """A 3x1x1 convolution over time, padded with zeros, on (B, C, T, P) with the pixels in one axis.

    As a two-dimensional convolution it takes the faster kernels; the parameters keep their published shape. On a CPU it
    is three matrix products for maps of many pixels: half the time of a convolution, and no reordered copies.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[3] >= _MANY_PIXELS:
            return self._products(x)
        return F.conv2d(x, self.weight.squeeze(-1), self.bias, padding=(1, 0))

    def _products(self, x: Tensor) -> Tensor:
        before, now, after = self.weight[..., 0, 0].unbind(2)
        out = x.new_empty(x.shape[0], x.shape[2], x.shape[1], x.shape[3])
        for frames, found in zip(x.transpose(1, 2), out):  # (T, C, P) each
            torch.bmm(now.expand(len(frames), -1, -1), frames, out=found)
            found[1:].baddbmm_(before.expand(len(frames) - 1, -1, -1), frames[:-1])
            found[:-1].baddbmm_(after.expand(len(frames) - 1, -1, -1), frames[1:])
        if self.bias is not None:
            out += self.bias[:, None]
        return out.transpose(1, 2)


class TemporalResidualBlock(nn.Module):
    """Two convolutions over time after norm and SiLU; the norm's statistics are over all frames at once."""

    def __init__(self, channels: int, eps: float, emb_channels: int = 0) -> None:
        super().__init__()
        self.norm1 = group_norm(channels, eps)
        self.conv1 = TemporalConv(channels)
        self.time_emb_proj = nn.Linear(emb_channels, channels) if emb_channels else None
        self.norm2 = group_norm(channels, eps)
        self.conv2 = TemporalConv(channels)

    def change(self, x: Tensor, emb: Tensor | None) -> Tensor:
        """Return the term that the block adds to its input x (B, C, T, P), of the same shape; emb (B, E), after
        SiLU."""
        nhwc = x.is_contiguous(memory_format=torch.channels_last)
        h = torch.empty_like(x, memory_format=torch.channels_last if nhwc else torch.contiguous_format)
        h = self.conv1(self.norm1.silu(x, h))
        if self.time_emb_proj is not None:
            h += self.time_emb_proj(emb)[:, :, None, None]
        return self.conv2(self.norm2.silu(h, h))


class Blend(nn.Module):
    """The learnt share of the spatial branch, sigmoid(mix_factor); of the temporal one where `temporal_share`."""

    def __init__(self, temporal_share: bool = False) -> None:
        super().__init__()
        self.mix_factor = nn.Parameter(torch.zeros(1))
        self._sign = 1.0 if temporal_share else -1.0

    def share_of_time(self) -> Tensor:
        """(1,): weight of the temporal branch; it stays on the device."""
        return torch.sigmoid(self._sign * self.mix_factor)


class SpatioTemporalBlock(nn.Module):
    """A spatial residual block, a temporal one on its output, and a blend between the two."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        eps: float,
        temporal_eps: float | None = None,
        emb_channels: int = 0,
        temporal_share: bool = False,
    ) -> None:
        super().__init__()
        self.spatial_res_block = ResidualBlock(in_channels, out_channels, eps, emb_channels)
        temporal_eps = eps if temporal_eps is None else temporal_eps
        self.temporal_res_block = TemporalResidualBlock(out_channels, temporal_eps, emb_channels)
        self.time_mixer = Blend(temporal_share)

    def forward(self, x: Tensor, num_frames: int, emb: Tensor | None = None, skip: Tensor | None = None) -> Tensor:
        """x (B * T, C, h, w) to (B * T, C', h, w); emb (B, E), already through SiLU; skip: more channels of x."""
        rows = None if emb is None else emb.repeat_interleave(num_frames, 0)
        x = by_frames(self._spatial, x, skip, rows)
        # s + share * (t - s) with t = s + change: the blend needs only the change.
        video = x.unflatten(0, (-1, num_frames)).flatten(3).transpose(1, 2)  # (B, C, T, P)
        change = self.temporal_res_block.change(video, emb).transpose(1, 2).reshape(x.shape)
        return x.addcmul_(change, self.time_mixer.share_of_time())

    def _spatial(self, x: Tensor, skip: Tensor | None, emb: Tensor | None) -> Tensor:
        return self.spatial_res_block(x if skip is None else torch.cat([x, skip], dim=1), emb)
