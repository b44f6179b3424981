"""Which frames of which videos of a run become an episode, and on which side of the split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError
from geoflow.store.run import Run

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Episode:
    """Frames [start, stop) of a video's store, every `step`-th of them."""

    video: str
    store: str  # path or URI
    start: int
    stop: int
    step: int = 1
    split: str = "train"
    whole: bool = True  # all frames of the video

    @property
    def name(self) -> str:
        """Return a name for its file: the video's, with the frames in the store where there are others, too."""
        return self.video if self.whole else f"{self.video}_{self.start:06d}_{self.stop:06d}"

    def __len__(self) -> int:
        return len(range(self.start, self.stop, self.step))


def complete_stores(run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Return the stores of the complete videos by name, and the reasons why the others are left out."""
    stores, left_out = {}, {}
    for row in run.index:
        name = str(row["name"])
        if row["status"] != "complete":
            left_out[name] = f"{row['status']}: {row['reason'] or 'the run gives no reason'}"
        elif row.get("incomplete_segments"):
            left_out[name] = (
                f"incomplete: {row['incomplete_segments']} of its segments lack the results of a stage; run again to "
                "have them computed"
            )
        else:
            stores[name] = str(run.paths.whole(row["path"]))
    return stores, left_out


def split_of(names: Iterable[str], val: float, seed: int) -> dict[str, str]:
    """Return "train" or "val" for each video: a share `val` of them, to the nearest whole number, is held back.

    The order in which videos are held back depends on `seed` and on their names alone. So a video that is added later
    moves few others.

    >>> sorted(split_of(["a", "b", "c", "d"], 0.25, seed=0).values())
    ['train', 'train', 'train', 'val']
    """
    if not 0 <= val < 1:
        raise ConfigError(f"--val {val:g}: expected the share of videos to hold back, from 0 to less than 1")
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    held_back = set(order[: round(val * len(order))])
    return {name: "val" if name in held_back else "train" for name in order}


def places(episodes: list[Episode]) -> dict[str, str]:
    """Return the number ranges `first:stop` of the splits in a list of episodes that is ordered by split.

    >>> places([Episode("a", "", 0, 9), Episode("b", "", 0, 9, split="val")])
    {'train': '0:1', 'val': '1:2'}
    """
    sides = [episode.split for episode in episodes]
    return {side: f"{sides.index(side)}:{sides.index(side) + sides.count(side)}" for side in SPLITS if side in sides}


def described(episode: Episode) -> dict[str, Any]:
    """Return an episode's entry of a record."""
    return {
        "name": episode.name,
        "video": episode.video,
        "split": episode.split,
        "start": episode.start,
        "stop": episode.stop,
        "step": episode.step,
        "frames": len(episode),
    }


def by_split(episodes: Iterable[Episode]) -> list[Episode]:
    """Order episodes by split, then as they were given."""
    return sorted(episodes, key=lambda episode: SPLITS.index(episode.split))


def texts_of(path: str, names: Iterable[str]) -> Mapping[str, str]:
    """Return a text for each video from a CSV file with the columns `video` and `text`; {} for the path "".

    Raises ConfigError if it cannot be read, or has other columns.
    """
    import csv

    if not path:
        return {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"--set texts={path}: it cannot be read ({error})") from error
    if not rows or not {"video", "text"} <= rows[0].keys():
        raise ConfigError(f"--set texts={path}: expected a CSV file with the columns video and text, a row per video")
    known = {row["video"]: row["text"] or "" for row in rows}
    return {name: known[name] for name in names if name in known}
