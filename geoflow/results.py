"""How a run ended: one row for each input, and all of them together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class VideoResult:
    """How one input ended."""

    name: str  # of the store; for what is no video at all, the source
    source: str
    status: str  # complete, failed, or unfit: left out of the run
    reason: str = ""
    path: str = ""  # the store, when complete
    seconds: float = 0.0
    reused: bool = False  # complete from an earlier run with the same settings
    frames: int = 0  # 0 when it could not be opened
    recovered: str = ""  # what was recovered, and what was not and why, when complete
    lacking: str = ""  # what of it is missing in all or in part, such as "poses, depth"

    def __repr__(self) -> str:
        if self.status != "complete":
            return f"VideoResult({self.name!r}, {self.status}: {self.reason})"
        how = "reused" if self.reused else f"{self.seconds:.1f} s"
        return f"VideoResult({self.name!r}, complete, {self.frames} frames, {how}: {self.recovered})"


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    out: str
    pipeline: str
    videos: tuple[VideoResult, ...]
    disabled: dict[str, str] = field(default_factory=dict)  # optional stages the run went on without, and why
    seconds: float = 0.0
    left_out: tuple[str, ...] = ()  # sentences on what folders hold beside the inputs that were taken from them

    @property
    def complete(self) -> tuple[VideoResult, ...]:
        return tuple(v for v in self.videos if v.status == "complete")

    @property
    def failed(self) -> tuple[VideoResult, ...]:
        return tuple(v for v in self.videos if v.status == "failed")

    @property
    def unfit(self) -> tuple[VideoResult, ...]:
        return tuple(v for v in self.videos if v.status == "unfit")

    @property
    def exit_status(self) -> int:
        """0 when no input failed, else 3; what is unfit was left out as the user asked."""
        return 3 if self.failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `geoflow run --json` prints them."""
        return asdict(self)

    def __repr__(self) -> str:
        ended = f"{len(self.complete)} complete, {len(self.failed)} failed" + (
            f", {len(self.unfit)} unfit" if self.unfit else ""
        )
        return f"RunResult({self.out!r}, {ended}, pipeline {self.pipeline}, {self.seconds:.1f} s)"

    def _repr_html_(self) -> str:
        from geoflow.notebook.run_table import run_html

        return run_html(self)
