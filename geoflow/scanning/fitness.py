"""What a scan finds in a video, what that means for the pipeline, and which findings make a video unfit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from geoflow.errors import ConfigError
from geoflow.stage import param
from geoflow.values.plain import plain, real, whole

BROKEN, SHORT, DUPLICATE = "broken", "short", "duplicate"
DARK, BLOWN, BLURRED, BARE = "dark", "blown", "blurred", "bare"
STILL, CUTS = "still", "cuts"

MEANING = {
    BROKEN: "it cannot be read whole, and a run would fail on it",
    SHORT: "too few frames to see motion: no camera poses, and no depth from motion",
    DUPLICATE: "the same pictures as another input: a run would make the same data twice",
    DARK: "pictures so dark that noise hides the texture: points are lost, and depth and poses are poor",
    BLOWN: "large parts are overexposed: nothing can be followed or measured there",
    BLURRED: "blurred throughout: points are found inexactly, and depth, poses and tracks are poor",
    BARE: "too little texture to follow anything: no camera poses, and no depth from motion",
    STILL: "the camera is at rest throughout: no depth from motion; only a depth model gives depth",
    CUTS: "poses and tracks begin anew at each cut: shots share no world",
}


@dataclass(frozen=True)
class ScanParams:
    """The effort of a scan, and from where on a finding is one. Shares are from 0 to 1.

    Raises ConfigError for a value that cannot be.
    """

    looks: int = param(16, "frames that are looked at, spread evenly over the video", at_least=3, at_most=1000)
    search: int = param(240, "most frames that are read besides, to find where cuts are", at_least=0)
    frames: int = param(2, "fewest frames that a video should have: below, it is short", at_least=1)
    dark: float = param(0.2, "brightness of a picture's bright parts (90th percentile) below which it is dark")
    blown: float = param(0.35, "share of overexposed pixels above which a picture is blown")
    blur: float = param(0.7, "blur (0 sharp, 1 without detail) above which a picture is blurred")
    much: float = param(0.5, "share of the frames looked at that should be dark, blown, blurred or bare to say so")
    alike: float = param(0.12, "difference of two pictures (0 the same) up to which they are one, in duplicates")
    refuse: tuple[str, ...] = param(
        (BROKEN, SHORT, DUPLICATE, DARK, BLOWN, BLURRED, BARE),
        "findings that make a video unfit, of those below; broken always does",
    )

    def __post_init__(self) -> None:
        for row in fields(self):
            value, name = getattr(self, row.name), f"scan: {row.name}"
            if row.name == "refuse":
                object.__setattr__(self, "refuse", _findings(value))
                continue
            number = whole(value, name) if row.type == "int" else real(value, name)
            limits = row.metadata["limits"] if row.type == "int" else {"ge": 0.0, "le": 1.0}
            least, most = limits.get("ge", -float("inf")), limits.get("le", float("inf"))
            if not least <= number <= most:
                raise ConfigError(f"{name} should be from {least:g} to {most:g}, found {number:g}")
            object.__setattr__(self, row.name, number)

    @classmethod
    def of(cls, settings: Mapping[str, Any] | None) -> ScanParams:
        """Return the parameters with these settings. Raises ConfigError for a name that there is not."""
        given, names = dict(settings or {}), [row.name for row in fields(cls)]
        if unknown := [name for name in given if name not in names]:
            raise ConfigError(f"scan: {unknown[0]}: no such parameter; there are: {', '.join(names)}")
        return cls(**given)


def _findings(value: Any) -> tuple[str, ...]:
    """Return the names of findings from a list, or from a text with commas."""
    value = plain(value, "scan: refuse")
    names = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(names, list) or any(name not in MEANING for name in names):
        raise ConfigError(f"scan: refuse should be some of {', '.join(MEANING)}, found {value!r}")
    return tuple(dict.fromkeys((BROKEN, *names)))


@dataclass(frozen=True)
class ScanFinding:
    """Something that matters to the pipeline: its kind, a key of `MEANING`, and what was measured."""

    kind: str
    measured: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.measured}"
