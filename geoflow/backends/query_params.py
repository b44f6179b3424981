"""Parameters of stages that follow points: which points are picked, and which ones the user asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoflow.stage import Stage, param


@dataclass(frozen=True)
class QueryParams(Stage.Params):
    """Raises ConfigError if the file of queries cannot be used."""

    query_every: int = param(
        0, "frames from one in which points are picked to the next; 0: one frame of each segment", at_least=0
    )
    queries: str = param("", "file of points to follow, .csv or .npy: frame, x, y, or frame, x, y, z; empty: none")
    grid: bool = param(True, "pick points on a grid, beside those of `queries`")
    objects_only: bool = param(False, "pick points of the grid only on objects (objects.label)")

    def __post_init__(self) -> None:
        from geoflow.files.query_files import read_queries

        if self.queries:
            path = Path(self.queries).expanduser().resolve()  # an actor has another working folder
            read_queries(path)
            object.__setattr__(self, "queries", str(path))
