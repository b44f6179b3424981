"""What a format of datasets fills in."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from geoflow.errors import StoreError
from geoflow.export.dataset.episodes import Episode
from geoflow.export.dataset.passage import Passage
from geoflow.store.reader import Video


@dataclass(frozen=True)
class Part:
    """A finished episode: its files are below `folder`, and `facts` are what its writer said of them."""

    episode: Episode
    folder: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class DatasetKind(ABC):
    """A format of datasets; the fields of a subclass are its options, each with a default.

    Objects are sent to other processes. `look` and `cut` read no pixels and are called for each video in turn, `write`
    for each episode in some process, and `assemble` once.
    """

    def look(self, video: Video) -> dict[str, Any]:
        """Return what has to be known of a video before episodes are cut, as JSON.

        Raises StoreError that says why if the format cannot hold the video.
        """
        return {}

    def agree(self, looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Return what all episodes of the dataset have in common, as JSON, from the looks at the videos by name."""
        return {}

    def cut(self, passage: Passage, shared: dict[str, Any]) -> list[tuple[int, int, int]]:
        """Return the frames (start, stop, step), counted in the passage, that become episodes of it.

        Raises StoreError that says why if the format cannot hold the passage.
        """
        return [(0, len(passage), 1)]

    @abstractmethod
    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        """Write the episode's files into an empty folder; return facts for `assemble`, as JSON. Raises StoreError."""

    @abstractmethod
    def assemble(self, parts: Sequence[Part], draft: Path, shared: dict[str, Any]) -> None:
        """Build the dataset in the folder `draft` from all parts, which are ordered by split.

        Files of the parts stay as they are: `placed` gives them a second name.
        """

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of each option."""
        return {row.name: row.default for row in fields(cls)}


def placed(source: Path, target: Path) -> None:
    """Give a file of a part its place in the dataset: a second name where the disk allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise StoreError(f"two episodes would be written as {target.name}; rename one of their videos and run again")
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
