"""Formats of datasets whose writer ends in the middle, for the tests of what is kept of an export."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.export.dataset.episodes import Episode
from geoflow.export.dataset.passage import Passage
from geoflow.export.dataset.webdataset import WebDataset


@dataclass(frozen=True)
class Deadly(WebDataset):
    """Its process dies at the third video, as one that the kernel kills for its memory."""

    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        if episode.video.startswith("02_"):
            os._exit(9)
        return super().write(passage, episode, folder, shared)
