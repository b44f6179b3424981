"""Options for the user; defaults are those of the published program."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError

# Cheaper settings, in order, for a stage's `ladder`; each adds to the settings before it. Shorter windows are none of
# them: the network's table of times is made for the windows that it was trained on.
LADDER: tuple[dict[str, Any], ...] = (
    {"tokens": 1 << 13},
    {"resolution_factor": 1.0},
    {"resolution_factor": 0.5},
)


def _option(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrackOptions:
    """Settings of one call of `Tracker.track`. `tokens` changes nothing but memory."""

    num_iters: int = _option(6, "times that a window's points are refined")
    resolution_factor: float | None = _option(2.0, "pixels at work, times those of training; None: frames as they are")
    grid_size: int = _option(32, "points along each side of frame 0, without queries")
    support_grid_size: int = _option(16, "points along each side of frame 0 that help given queries; 0: none")
    bidirectional: bool = _option(True, "frames before a query's are tracked backwards")
    visibility_threshold: float = _option(0.9, "belief (0..1) from which on a point counts as visible")
    camera_space: bool = _option(False, "follow points as the camera sees them, for poses that are not known")
    tokens: int | None = _option(None, "neighbours compared at once; not given: as suits the device")

    def __post_init__(self) -> None:
        for name, least in (("num_iters", 1), ("grid_size", 1), ("support_grid_size", 0), ("tokens", 1)):
            if (given := getattr(self, name)) is not None and given < least:
                raise ConfigError(f"{name} should be at least {least}, found {given}")
        if self.resolution_factor is not None and not self.resolution_factor > 0:
            raise ConfigError(f"resolution_factor should be above 0, found {self.resolution_factor}")
        if not 0 <= self.visibility_threshold <= 1:
            raise ConfigError(f"visibility_threshold should be in 0..1, found {self.visibility_threshold}")

    def cheaper(self) -> tuple[dict[str, Any], ...]:
        """Return the rungs of `LADDER` that are cheaper than these settings."""
        return tuple(rung for rung in LADDER if all(_lower(value, getattr(self, name)) for name, value in rung.items()))


def _lower(value: float, now: float | None) -> bool:
    return now is None or value < now
