"""`tapvid3d`: a folder of the TAPVid-3D benchmark's files for each side of the split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.export.dataset.episodes import Episode
from geoflow.export.dataset.kinds import DatasetKind, Part, placed
from geoflow.export.dataset.passage import Passage
from geoflow.export.tapvid3d import export_tapvid3d

_FILE = "episode.npz"


@dataclass(frozen=True)
class TapVid3DDataset(DatasetKind):
    """A folder `train/`, and `val/` if videos are held back, with an .npz for each episode.

    `geoflow.export.tapvid3d` says what is in a file; `stride` and `quality` are as for one store. The benchmark's
    readers take a folder of such files.
    """

    stride: int = 1
    quality: int = 95

    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        return {"frames": export_tapvid3d(passage, folder / _FILE, stride=self.stride, quality=self.quality)}

    def assemble(self, parts: Sequence[Part], draft: Path, shared: dict[str, Any]) -> None:
        for part in parts:
            placed(part.folder / _FILE, draft / part.episode.split / f"{part.episode.name}.npz")
