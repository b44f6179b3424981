"""What a comparison found, as values: for programs, and for the table and the page that show it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.evaluate.scores import DepthScores, PoseScores, Scores, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

Pair = tuple[Any, Any]  # of A and of B; None where one has no such thing


@dataclass(frozen=True)
class Between:
    """A held against B, as if B were the truth. Nothing here says which of the two is right.

    `scale` of a depth is the factor from A to B. ATE is in percent of B's path, after one Sim(3) alignment.
    """

    frames: int  # source frames that both hold
    depth: dict[str, DepthScores]  # by branch that both hold
    poses: PoseScores | None  # None if either has no cameras


@dataclass(frozen=True)
class Comparison:
    """Two stores side by side; every pair is (A, B)."""

    a: str
    b: str
    settings: dict[str, Pair]  # that differ: "camera.sources", "segment.size"
    fields: dict[str, Pair]  # dataset -> its form, such as "float16 (150, 240, 320)"
    statistics: dict[str, Pair]
    scores: tuple[Scores, Scores] | None = None  # against the truth; None without one
    between: Between | None = None  # against each other; None if that means nothing, and `notes` say why
    notes: tuple[str, ...] = ()

    @property
    def only_in_one(self) -> dict[str, Pair]:
        """Return the datasets that one of the two lacks."""
        return {name: forms for name, forms in self.fields.items() if None in forms}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`, as `geoflow compare --json` prints them."""
        found = {name: getattr(self, name) for name in ("a", "b", "settings", "fields", "statistics", "notes")}
        scores = None if self.scores is None else {"a": self.scores[0].to_dict(), "b": self.scores[1].to_dict()}
        between = None if self.between is None else asdict(self.between)
        return plain({**found, "scores": scores, "between": between})

    def write_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one page without any other file: all of this, and the depth of both at the same frames."""
        from geoflow.comparison.comparison_page import store_html, write_page

        return write_page(self, store_html(self), path)

    def __rich__(self) -> RenderableType:
        """Return the tables that `rich` prints."""
        from geoflow.comparison.side_by_side import render_store

        return render_store(self)

    def __repr__(self) -> str:
        return f"Comparison({Path(self.a).name!r}, {Path(self.b).name!r}: {self.gist})"

    @property
    def gist(self) -> str:
        """Return the comparison in a few words."""
        count = len(self.settings)
        said = ["one setting differs" if count == 1 else f"{count or 'no'} settings differ"]
        if self.between is not None:
            said += [f"{name} depth AbsRel {depth.abs_rel:.3f}" for name, depth in self.between.depth.items()]
            if self.between.poses is not None:
                said.append(f"ATE {self.between.poses.ate_percent:.2f} % of the path")
        return ", ".join(said)


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side: the videos that both completed, and those that only one of them did."""

    a: str
    b: str
    videos: Mapping[str, Comparison]
    only_in_a: tuple[str, ...] = ()  # names of videos that are complete in A alone
    only_in_b: tuple[str, ...] = ()
    failures: dict[str, Pair] = field(default_factory=dict)  # name -> reason in A, in B; None where it did not fail

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`, as `geoflow compare --json` prints them."""
        found = {name: getattr(self, name) for name in ("a", "b", "only_in_a", "only_in_b", "failures")}
        return plain({**found, "videos": {name: row.to_dict() for name, row in self.videos.items()}})

    def write_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one page without any other file: a section for every video, with the depth of both runs."""
        from geoflow.comparison.comparison_page import run_html, write_page

        return write_page(self, run_html(self), path)

    def __rich__(self) -> RenderableType:
        """Return the tables that `rich` prints."""
        from geoflow.comparison.side_by_side import render_run

        return render_run(self)

    def __repr__(self) -> str:
        alone = f"{len(self.only_in_a)} only in A, {len(self.only_in_b)} only in B"
        return f"RunComparison({self.a!r}, {self.b!r}: {len(self.videos)} videos in both, {alone})"
