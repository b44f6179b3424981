"""The shape of a UNet of Stable Diffusion: levels on the way down, a middle, levels on the way up with skips.

What the blocks are, and what they are given besides a feature map, is the model's own: it hands over `Makers` to build
them and a `Pass` to call them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor, nn

from geoflow.models.diffusion.residual import Downsample, Upsample

Place = Literal["down", "down without attention", "middle", "up"]


class Pass(Protocol):
    """One pass through the network, which knows what its blocks need besides the map x (N, C, h, w)."""

    def residual(self, block: nn.Module, x: Tensor, skip: Tensor | None) -> Tensor: ...

    def attention(self, block: nn.Module, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Makers:
    """How a model makes its blocks."""

    residual: Callable[[int, int, Place], nn.Module]  # from so many channels to so many
    attention: Callable[[int, int], nn.Module]  # of so many channels and heads


class _Level(nn.Module):
    """Residual blocks, each followed by attention where the level has heads."""

    def __init__(self, widths: list[tuple[int, int]], place: Place, heads: int, make: Makers) -> None:
        super().__init__()
        if heads:
            self.attentions = nn.ModuleList(make.attention(width, heads) for _, width in widths)
        self.resnets = nn.ModuleList(make.residual(*pair, place) for pair in widths)
        self._with_attention = heads > 0

    def step(self, i: int, x: Tensor, run: Pass, skip: Tensor | None = None) -> Tensor:
        x = run.residual(self.resnets[i], x, skip)
        return run.attention(self.attentions[i], x) if self._with_attention else x


class DownLevel(_Level):
    """A level on the way down; `forward` also returns the skips for the way up."""

    def __init__(self, in_channels: int, channels: int, layers: int, heads: int, last: bool, make: Makers) -> None:
        widths = [(in_channels if i == 0 else channels, channels) for i in range(layers)]
        super().__init__(widths, "down" if heads else "down without attention", heads, make)
        if not last:
            self.downsamplers = nn.ModuleList([Downsample(channels, pad_all_round=True)])
        self._last = last

    def forward(self, x: Tensor, run: Pass) -> tuple[Tensor, list[Tensor]]:
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

    def __init__(self, channels: int, heads: int, make: Makers) -> None:
        super().__init__([(channels, channels)], "middle", heads, make)
        self.resnets.append(make.residual(channels, channels, "middle"))

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        return run.residual(self.resnets[1], self.step(0, x, run), None)


class UpLevel(_Level):
    """A level on the way up; it takes as many skips from the end of the list as it has residual blocks."""

    def __init__(self, below: int, channels: int, skip_widths: list[int], heads: int, last: bool, make: Makers) -> None:
        widths = [((below if i == 0 else channels) + skip, channels) for i, skip in enumerate(skip_widths)]
        super().__init__(widths, "up", heads, make)
        if not last:
            self.upsamplers = nn.ModuleList([Upsample(channels)])
        self._last = last

    def forward(self, x: Tensor, skips: list[Tensor], run: Pass) -> Tensor:
        for i in range(len(self.resnets)):
            x = self.step(i, x, run, skips.pop())
        return x if self._last else self.upsamplers[0](x)


class UNetLevels(nn.Module):
    """All levels; every level but the deepest has attention, and so has the middle."""

    def __init__(self, widths: tuple[int, ...], heads: tuple[int, ...], layers: int, make: Makers) -> None:
        super().__init__()
        deepest = len(widths) - 1
        skips = [widths[0]]
        self.down_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            last = i == deepest
            self.down_blocks.append(
                DownLevel(widths[max(i - 1, 0)], width, layers, 0 if last else heads[i], last, make)
            )
            skips += [width] * (layers + (not last))
        self.up_blocks = nn.ModuleList()
        below = widths[-1]
        for i in reversed(range(len(widths))):
            taken = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(UpLevel(below, widths[i], taken, 0 if i == deepest else heads[i], i == 0, make))
            below = widths[i]
        self.mid_block = MiddleLevel(widths[-1], heads[-1], make)

    def through(self, x: Tensor, run: Pass) -> Tensor:
        """x (N, C, h, w), of the first level's width, to the same."""
        skips = [x]
        for down in self.down_blocks:
            x, taken = down(x, run)
            skips += taken
        x = self.mid_block(x, run)
        for up in self.up_blocks:
            x = up(x, skips, run)
        return x
