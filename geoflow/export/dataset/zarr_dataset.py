"""`zarr`: a Zarr version 3 hierarchy with a group for each episode, its arrays in shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.environments.extras import library
from geoflow.export.dataset.episodes import Episode, described, places
from geoflow.export.dataset.frame_arrays import frame_arrays
from geoflow.export.dataset.kinds import DatasetKind, Part, placed
from geoflow.export.dataset.passage import Passage
from geoflow.store.reader import Video

_GROUP = "episode"
_MOST = 1024  # frames in a shard


@dataclass(frozen=True)
class ZarrDataset(DatasetKind):
    """A folder that `zarr.open_group(DIR, mode="r")` opens.

    `episodes/000000/` and so on hold the arrays of `geoflow.export.dataset.frame_arrays` with a row for each frame. A
    chunk is one frame; a shard, which is one file, has as many frames as make `shard_mb` MB, and at most 1024. Shards
    are what is held in memory. Fill values are NaN where unknown is NaN.

    Attributes of an episode: `video`, `split`, `start`, `stop` and `step` in the store, `frames`, `fps`, `metric`,
    `unit` ("m" or "scene"). Attributes of the root: `splits`, ranges `first:stop` of episodes, and `num_episodes`.
    """

    shard_mb: int = 16

    def look(self, video: Video) -> dict[str, Any]:
        _zarr()
        return {}

    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        group = _zarr().open_group(str(folder / _GROUP), mode="w", zarr_format=3)
        columns: dict[str, _Column] = {}
        for arrays in frame_arrays(passage):
            for name, array in arrays.items():
                if name not in columns:
                    columns[name] = _Column.created(group, name, array, len(passage), self.shard_mb * 1_000_000)
                columns[name].add(array)
        for column in columns.values():
            column.flush()
        unit = "m" if passage.metric else "scene"
        group.attrs.update({"fps": passage.fps, "metric": passage.metric, "unit": unit, "source": passage.source})
        return {"frames": len(passage)}

    def assemble(self, parts: Sequence[Part], draft: Path, shared: dict[str, Any]) -> None:
        zarr = _zarr()
        root = zarr.open_group(str(draft), mode="w", zarr_format=3)
        root.create_group("episodes")
        for number, part in enumerate(parts):
            home = draft / "episodes" / f"{number:06d}"
            for path in sorted((part.folder / _GROUP).rglob("*")):
                if path.is_file():
                    placed(path, home / path.relative_to(part.folder / _GROUP))
            # A new file for the group: the part keeps its own.
            metadata = home / "zarr.json"
            text = metadata.read_bytes()
            metadata.unlink()
            metadata.write_bytes(text)
            zarr.open_group(str(home), mode="r+").attrs.update(described(part.episode))
        root.attrs.update({"splits": places([part.episode for part in parts]), "num_episodes": len(parts)})


def _zarr() -> Any:
    return library("zarr", "export", "--to zarr")


@dataclass
class _Column:
    """An array that is written a shard at a time."""

    array: Any
    shard: int  # frames
    waiting: list[np.ndarray]
    done: int = 0

    @classmethod
    def created(cls, group: Any, name: str, first: np.ndarray, count: int, most: int) -> _Column:
        shard = int(np.clip(most // max(first.nbytes, 1), 1, min(count, _MOST)))
        fill = np.nan if first.dtype.kind == "f" and not name.endswith("depth") else 0
        array = group.create_array(
            name,
            shape=(count, *first.shape),
            dtype=first.dtype,
            chunks=(1, *(max(side, 1) for side in first.shape)),
            shards=(shard, *(max(side, 1) for side in first.shape)),
            fill_value=first.dtype.type(fill).item(),
        )
        return cls(array, shard, [])

    def add(self, row: np.ndarray) -> None:
        self.waiting.append(row)
        if len(self.waiting) == self.shard:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            self.array[self.done : self.done + len(self.waiting)] = np.stack(self.waiting)
            self.done += len(self.waiting)
            self.waiting = []
