"""Residual blocks over space and over time, and their blend (Blattmann et al. 2023, "Align your Latents", section 3).

Everything here is for inference: some results are written over their inputs. Feature maps are (N, C, h, w) with
N = B * T frames, the frames of a video one after another, in either memory format; `num_frames` is T.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoflow.models.geometrycrafter.norm import group_norm

# Values of a feature map that one call of a frame-wise layer gets: enough to keep a device busy, and few enough that
# temporaries are small beside a window's maps (on a GPU) or stay in the caches (on a CPU).
_VALUES_PER_CALL = {"cpu": 1 << 20, "cuda": 1 << 28}
_MANY_PIXELS = 256


def by_frames(layer: Callable[..., Tensor], x: Tensor, *rows: Tensor | None) -> Tensor:
    """Apply a layer that sees every frame alone to a few frames at a time; `rows` have a row for each frame, too.

    The whole output is allocated once, so that only temporaries of a few frames come on top of input and output.
    """
    step = frames_per_call(x)
    if step >= len(x):
        return layer(x, *rows)
    out: Tensor | None = None
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        done = layer(x[part], *(None if row is None else row[part] for row in rows))
        if out is None:
            out = _empty_like(done, len(x))
        out[part] = done
    assert out is not None
    return out


def frames_per_call(x: Tensor) -> int:
    """Return how many frames of (N, ...) a frame-wise layer should get at once."""
    return max(1, _VALUES_PER_CALL.get(x.device.type, 1 << 24) // max(1, x[0].numel()))


def _empty_like(part: Tensor, count: int) -> Tensor:
    """(count, ...) in the memory format of `part`."""
    shape = (count, *part.shape[1:])
    nhwc = part.dim() == 4 and part.is_contiguous(memory_format=torch.channels_last) and not part.is_contiguous()
    memory_format = torch.channels_last if nhwc else torch.contiguous_format
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=memory_format)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions after norm and SiLU, with the embedding of the time step added between them."""

    def __init__(self, in_channels: int, out_channels: int, eps: float, emb_channels: int = 0) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(emb_channels, out_channels) if emb_channels else None
        self.norm2 = group_norm(out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, emb: Tensor | None = None) -> Tensor:
        """x (N, C, h, w); emb (N, E), already through SiLU."""
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        if self.time_emb_proj is not None:
            h += self.time_emb_proj(emb)[:, :, None, None]
        h = F.silu(self.norm2(h), inplace=True)  # frees the previous map, which is large
        h = self.conv2(h)
        return h.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


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


class Upsample(nn.Module):
    """Nearest neighbours to twice the size, then a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return by_frames(lambda part: self.conv(F.interpolate(part, scale_factor=2.0, mode="nearest")), x)


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, padded all round (UNet) or at the bottom and right only (autoencoders)."""

    def __init__(self, channels: int, pad_all_round: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1 if pad_all_round else 0)
        self._pad_all_round = pad_all_round

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x if self._pad_all_round else F.pad(x, (0, 1, 0, 1)))
