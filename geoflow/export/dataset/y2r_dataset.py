"""`y2r`: a folder of windows of tracks and hands for each side of the split, with one set of statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.export.dataset.episodes import SPLITS, Episode, texts_of
from geoflow.export.dataset.kinds import DatasetKind, Part, placed
from geoflow.export.dataset.passage import Passage
from geoflow.export.y2r import STATISTICS_FILE, export_y2r, pool_statistics
from geoflow.store.reader import Video

_FILE = "episode.hdf5"


@dataclass(frozen=True)
class Y2RDataset(DatasetKind):
    """A folder `train/`, and `val/` if videos are held back, with an .hdf5 for each episode.

    What is in a file, `geoflow.export.y2r` says; `num_track_ts`, `target_size` and `stride` are as for one store.
    `normalization_stats.yaml`, which y2r's loader reads beside the files, is that of `train/` in both folders: a model
    sees the held back videos with the numbers that it was trained with. `texts` is a CSV file with the columns `video`
    and `text`; other videos have `text`.

    `TrackDataset(dataset_dir="DIR/train", track_type="3d")` reads it. y2r's own `create_train_val_split` splits a
    single folder at random; with --val 0 there is only `train/`, for it to split.
    """

    num_track_ts: int = 16
    target_size: int = 256
    stride: int = 1
    text: str = ""
    texts: str = ""

    def look(self, video: Video) -> dict[str, Any]:
        return {"name": video.name}

    def agree(self, looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {"texts": dict(texts_of(self.texts, looks))}

    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        text = shared["texts"].get(episode.video, self.text)
        frames = export_y2r(
            passage,
            folder / _FILE,
            num_track_ts=self.num_track_ts,
            target_size=self.target_size,
            stride=self.stride,
            text=text,
        )
        (folder / STATISTICS_FILE).unlink()  # of this file alone
        return {"frames": frames}

    def assemble(self, parts: Sequence[Part], draft: Path, shared: dict[str, Any]) -> None:
        for part in parts:
            placed(part.folder / _FILE, draft / part.episode.split / f"{part.episode.name}.hdf5")
        sides = [side for side in SPLITS if (draft / side).is_dir()]
        statistics = pool_statistics(draft / sides[0])
        for side in sides[1:]:
            (draft / side / STATISTICS_FILE).write_bytes(statistics.read_bytes())
