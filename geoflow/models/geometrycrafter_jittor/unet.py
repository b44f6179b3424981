"""The video-to-video UNet in Jittor: that of `geoflow.models.geometrycrafter.unet`, with the same parameter names."""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.models.geometrycrafter.config import UNetConfig
from geoflow.models.geometrycrafter_jittor.framework import Var, jt, nn
from geoflow.models.geometrycrafter_jittor.layers import (
    Downsample,
    EmbeddingMLP,
    GroupNorm,
    Upsample,
    modules,
    sinusoidal,
)
from geoflow.models.geometrycrafter_jittor.video_layers import SpatioTemporalBlock, SpatioTemporalTransformer

# Epsilons of the norms in residual blocks: as the published networks were trained, not as their configuration says.
_EPS = {"down": 1e-6, "down without attention": 1e-5, "middle": 1e-5, "up": 1e-6}


@dataclass(frozen=True)
class VideoPass:
    """What the blocks need in one pass: frames of each video, time embedding (B, E) after SiLU, images (B, T, D)."""

    num_frames: int
    emb: Var
    context: Var


@dataclass(frozen=True)
class _Sizes:
    """What all levels have in common."""

    emb_channels: int
    images: int
    depth: int


class _Level(nn.Module):
    """Residual blocks, each followed by attention where the level has heads."""

    def __init__(self, widths: list[tuple[int, int]], place: str, heads: int, sizes: _Sizes) -> None:
        if heads:
            self.attentions = modules(
                SpatioTemporalTransformer(width, heads, sizes.images, sizes.depth) for _, width in widths
            )
        self.resnets = modules(
            SpatioTemporalBlock(*pair, _EPS[place], emb_channels=sizes.emb_channels) for pair in widths
        )
        self._with_attention = heads > 0

    def step(self, i: int, x: Var, run: VideoPass, skip: Var | None = None) -> Var:
        x = self.resnets[i](x, run.num_frames, run.emb, skip)
        return self.attentions[i](x, run.num_frames, run.context) if self._with_attention else x


class DownLevel(_Level):
    """A level on the way down; it also returns the skips for the way up."""

    def __init__(self, in_channels: int, channels: int, layers: int, heads: int, last: bool, sizes: _Sizes) -> None:
        widths = [(in_channels if i == 0 else channels, channels) for i in range(layers)]
        super().__init__(widths, "down" if heads else "down without attention", heads, sizes)
        if not last:
            self.downsamplers = modules([Downsample(channels, pad_all_round=True)])
        self._last = last

    def execute(self, x: Var, run: VideoPass) -> tuple[Var, list[Var]]:
        skips = []
        for i in range(len(self.resnets)):
            x = self.step(i, x, run)
            skips.append(x)
        if not self._last:
            x = self.downsamplers[0](x)
            skips.append(x)
        return x, skips


class MiddleLevel(_Level):
    """Residual block, attention, residual block."""

    def __init__(self, channels: int, heads: int, sizes: _Sizes) -> None:
        super().__init__([(channels, channels)], "middle", heads, sizes)
        self.resnets.append(SpatioTemporalBlock(channels, channels, _EPS["middle"], emb_channels=sizes.emb_channels))

    def execute(self, x: Var, run: VideoPass) -> Var:
        return self.resnets[1](self.step(0, x, run), run.num_frames, run.emb)


class UpLevel(_Level):
    """A level on the way up; it takes as many skips from the end of the list as it has residual blocks."""

    def __init__(
        self, below: int, channels: int, skip_widths: list[int], heads: int, last: bool, sizes: _Sizes
    ) -> None:
        widths = [((below if i == 0 else channels) + skip, channels) for i, skip in enumerate(skip_widths)]
        super().__init__(widths, "up", heads, sizes)
        if not last:
            self.upsamplers = modules([Upsample(channels)])
        self._last = last

    def execute(self, x: Var, skips: list[Var], run: VideoPass) -> Var:
        for i in range(len(self.resnets)):
            x = self.step(i, x, run, skips.pop())
        return x if self._last else self.upsamplers[0](x)


class UNet(nn.Module):
    """Predicts v (diff) or minus the latents (determ) of a window of frames."""

    def __init__(self, config: UNetConfig) -> None:
        widths, heads, layers = config.block_out_channels, config.num_attention_heads, config.layers_per_block
        sizes = _Sizes(4 * widths[0], config.cross_attention_dim, config.transformer_layers_per_block)
        deepest = len(widths) - 1
        skips, down, up = [widths[0]], [], []
        for i, width in enumerate(widths):
            last = i == deepest
            down.append(DownLevel(widths[max(i - 1, 0)], width, layers, 0 if last else heads[i], last, sizes))
            skips += [width] * (layers + (not last))
        below = widths[-1]
        for i in reversed(range(len(widths))):
            taken = [skips.pop() for _ in range(layers + 1)]
            up.append(UpLevel(below, widths[i], taken, 0 if i == deepest else heads[i], i == 0, sizes))
            below = widths[i]
        self.down_blocks, self.up_blocks = modules(down), modules(up)
        self.mid_block = MiddleLevel(widths[-1], heads[-1], sizes)
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = EmbeddingMLP(widths[0], sizes.emb_channels)
        self.add_embedding = EmbeddingMLP(config.projection_class_embeddings_input_dim, sizes.emb_channels)
        self.conv_norm_out = GroupNorm(widths[0], 1e-5)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        self._config = config

    def execute(self, sample: Var, timestep: float, context: Var, added_ids: Var) -> Var:
        """One prediction.

        sample (B, T, C, h, w) · timestep, ln(sigma) / 4 · context (B, T, D): an image embedding per frame ·
        added_ids (B, 3): frame rate, motion bucket, noise strength. Returns (B, T, 4, h, w).
        """
        count, num_frames = sample.shape[:2]
        run = VideoPass(num_frames, nn.silu(self.embed(timestep, added_ids)), context)
        x = self.conv_in(sample.reshape(count * num_frames, *sample.shape[2:]))
        skips = [x]
        for down in self.down_blocks:
            x, taken = down(x, run)
            skips += taken
        x = self.mid_block(x, run)
        for up in self.up_blocks:
            x = up(x, skips, run)
        x = self.conv_out(nn.silu(self.conv_norm_out(x)))
        return x.reshape(count, num_frames, *x.shape[1:])

    def embed(self, timestep: float, added_ids: Var) -> Var:
        """Embedding (B, E) of the time step and the added ids (B, 3)."""
        count = len(added_ids)
        time = self.time_embedding(sinusoidal(jt.full((count,), timestep), self._config.block_out_channels[0]))
        ids = sinusoidal(added_ids.reshape(-1), self._config.addition_time_embed_dim)
        return time + self.add_embedding(ids.reshape(count, -1))
