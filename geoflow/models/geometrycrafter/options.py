"""Options for the user; names and defaults are the same as in the published tool."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from geoflow.errors import ConfigError

SIZE_STEP = 64  # px; the UNet halves the latents, an eighth of a frame, three times

# Cheaper settings, in order, for a stage's `ladder`; each adds to the settings before it. The first changes only where
# idle networks are and how much is done at once. The others change the result a little.
LADDER: tuple[dict[str, Any], ...] = (
    {"low_memory_usage": True},
    {"decode_chunk_size": 4},
    {"window_size": 64, "overlap": 16},
    {"decode_chunk_size": 2, "window_size": 32, "overlap": 8},
)


def _option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Options:
    """Settings of one reconstruction.

    `decode_chunk_size` changes the result, since frames of a group affect each other in the decoder. `low_memory_usage`
    changes it only by rounding.
    """

    model_type: Literal["diff", "determ"] = _option("diff", "diffusion, or the deterministic and quicker variant")
    height: int = _option(576, "px at which the networks work, for any size of the video")
    width: int = _option(1024, "px")
    window_size: int = _option(110, "frames the UNet sees at once")
    overlap: int = _option(25, "frames that neighbouring windows share")
    decode_chunk_size: int = _option(8, "frames decoded together")
    num_inference_steps: int = _option(5, "of the scheduler; diff only")
    guidance_scale: float = _option(1.0, "of classifier-free guidance, 1: none; diff only")
    downsample_ratio: float = _option(1.0, "factor by which frames and priors are made smaller first")
    force_projection: bool = _option(True, "one focal length per frame, not per pixel")
    force_fixed_focal: bool = _option(True, "one focal length per video; with force_projection only")
    use_extract_interp: bool = _option(False, "nearest neighbours instead of blending when results are resized")
    low_memory_usage: bool = _option(False, "idle networks wait in host memory, frames are encoded one by one")
    seed: int = _option(42, "of the start noise; diff only")

    def __post_init__(self) -> None:
        if self.model_type not in ("diff", "determ"):
            raise ConfigError(f"model_type should be diff or determ, found {self.model_type!r}")
        if self.height % SIZE_STEP or self.width % SIZE_STEP or min(self.height, self.width) < SIZE_STEP:
            remedy = " x ".join(str(nearest_size(side)) for side in (self.height, self.width))
            raise ConfigError(
                f"height and width should be multiples of {SIZE_STEP}, found {self.height} x {self.width}; "
                f"choose {remedy}, frames are resized to it and results back"
            )
        for name in ("window_size", "decode_chunk_size", "num_inference_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} should be at least 1, found {getattr(self, name)}")
        if not 0 <= self.overlap < self.window_size:
            raise ConfigError(
                f"overlap should be at least 0 and below window_size ({self.window_size}), found {self.overlap}"
            )
        if not math.isfinite(self.guidance_scale) or self.guidance_scale < 1:
            raise ConfigError(f"guidance_scale should be at least 1 (no guidance), found {self.guidance_scale}")
        if not math.isfinite(self.downsample_ratio) or self.downsample_ratio < 1:
            raise ConfigError(f"downsample_ratio should be at least 1 (full size), found {self.downsample_ratio}")

    @property
    def encode_chunk_size(self) -> int:
        """Frames encoded at once. Encoders see frames one by one, so this changes memory only."""
        return 1 if self.low_memory_usage else 4

    @property
    def fixed_focal(self) -> bool:
        return self.force_projection and self.force_fixed_focal

    def replace(self, **changes: Any) -> Options:
        """Return a copy with changes, checked again."""
        return dataclasses.replace(self, **changes)

    def cheaper(self) -> tuple[dict[str, Any], ...]:
        """Return the rungs of LADDER below these settings, without settings that are as cheap or cheaper already."""
        rungs = []
        now = dataclasses.asdict(self)
        for rung in LADDER:
            smaller_window = rung.get("window_size", 0) < now["window_size"]
            changes = {
                name: value
                for name, value in rung.items()
                if (value and not now[name] if isinstance(value, bool) else value < now[name])
                and (name != "overlap" or smaller_window)
            }
            if changes:
                rungs.append(changes)
                now |= changes
        return tuple(rungs)


def nearest_size(pixels: int) -> int:
    """Return the nearest side length at which the networks can work.

    >>> nearest_size(540)
    512
    """
    return max(SIZE_STEP, round(pixels / SIZE_STEP) * SIZE_STEP)
