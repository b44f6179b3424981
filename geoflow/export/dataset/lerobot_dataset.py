"""`lerobot`: a LeRobot dataset, version 3.0, of all episodes of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import StoreError
from geoflow.export.dataset.episodes import Episode, described, places, texts_of
from geoflow.export.dataset.joined_mp4 import JoinedVideos
from geoflow.export.dataset.kinds import DatasetKind, Part
from geoflow.export.dataset.passage import Passage
from geoflow.export.dataset.rate import common_rate, even_runs, stamps_of, step_at
from geoflow.export.lerobot_features import (
    ACTION,
    DEPTH,
    PLACE,
    RGB,
    STATE,
    TRACKS,
    Feature,
    FrameSource,
    conformed,
    depth_feature,
    features_of,
    frame_values,
    rgb_feature,
    track_features,
)
from geoflow.export.lerobot_files import (
    DATA_MB,
    DATA_PATH,
    ROWS,
    VIDEO_MB,
    VIDEO_PATH,
    EpisodeEntry,
    chunk_and_file,
    columns_of,
    counted,
    data_schema,
    moments_of,
    stats_of,
    write_data,
    write_meta,
)
from geoflow.export.mp4 import frame_rate, tick, write_mp4
from geoflow.export.statistics import Moments
from geoflow.store.reader import Video

TIME = "observation.source_time"
METRIC = "observation.metric"
_DATA, _VIDEO = "data.parquet", "rgb.mp4"


@dataclass(frozen=True)
class LeRobotDataset(DatasetKind):
    """A dataset that `LeRobotDataset(repo_id, root=...)` opens, in files of 100 MB of data and 200 MB of video.

    Features are those of the format for one store (`geoflow.export.lerobot`), for all episodes alike: what a video
    lacks is 0, and not valid, not visible. There are two more, `observation.source_time` (1,) float64, the frame's time
    in its source in seconds, and `observation.metric` (1,) bool, whether the episode's lengths are metres. `depth_unit`
    is "m" only if all of them are.

    - **Size.** A LeRobot dataset has one. It is that of most frames; videos of another size are scaled to fit in, at
      the upper left, with their intrinsics and pixels of tracks; the rest is black, without depth.
    - **Rate.** It has one, too: `fps`, by default that of most frames. Of a video with a multiple of it, every n-th
      frame is taken; videos of other rates are left out. Time stamps are the frames' own, from the episode's start, if
      every step is 1 / fps within LeRobot's tolerance of 0.1 ms, else k / fps, if frames are nearest to these times.
      Where frames are missing a new episode begins.
    - **Tasks.** `texts` is a CSV file with the columns `video` and `text`; other videos have `task`, else their name.
    - **Splits** are in `meta/info.json` as ranges of episodes, training first. LeRobot reads all episodes unless it is
      given `episodes=list(range(a, b))`. Statistics are of all episodes, as LeRobot makes them.

    `max_tracks`, `crf`, `depth`, `state` and `state_frame` are as for one store. With `state`, videos without such a
    hand are left out.
    """

    task: str = ""
    texts: str = ""
    fps: float = 0.0
    max_tracks: int = 512
    crf: int = 12
    depth: bool = True
    state: str = ""
    state_frame: str = "camera"

    def look(self, video: Video) -> dict[str, Any]:
        source = self._source(video, None)
        features = {name: feature.entry() for name, feature in features_of(source, self.depth).items()}
        return {
            "features": features,
            "size": [video.height, video.width],
            "fps": float(frame_rate(video.fps)),
            "frames": len(video),
            "metric": video.metric,
        }

    def agree(self, looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        rates: dict[float, int] = {}
        sizes: dict[tuple[int, int], int] = {}
        for look in looks.values():
            rates[look["fps"]] = rates.get(look["fps"], 0) + look["frames"]
            size = tuple(look["size"])
            sizes[size] = sizes.get(size, 0) + look["frames"]
        fps = self.fps or common_rate(rates)
        size = max(sizes, key=lambda size: (sizes[size], size))
        metric = all(look["metric"] for look in looks.values())
        features = _united([look["features"] for look in looks.values()], size, fps, metric)
        return {
            "fps": fps,
            "size": list(size),
            "features": {name: feature.entry() for name, feature in features.items()},
            "fitted": sorted(name for name, look in looks.items() if tuple(look["size"]) != size),
            "texts": dict(texts_of(self.texts, looks)),
        }

    def cut(self, passage: Passage, shared: dict[str, Any]) -> list[tuple[int, int, int]]:
        fps = shared["fps"]
        step = step_at(passage.fps, fps)
        if not step:
            raise StoreError(
                f"it has {passage.fps:.4g} frames a second, and a LeRobot dataset has one rate, here {fps:g}; run it "
                f"again with --fps {fps:g}, or take another rate with --set fps=F"
            )
        runs = even_runs(passage.frame_time[::step], fps)
        return [(start * step, min(stop * step, len(passage)), step) for start, stop in runs]

    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        height, width = shared["size"]
        source = self._source(passage, (height, width))
        features = {name: Feature.of_entry(entry) for name, entry in shared["features"].items()}
        moments = {name: moments_of(feature) for name, feature in features.items()}
        stamps = stamps_of(passage.frame_time, shared["fps"])
        rate = frame_rate(shared["fps"])
        frames = counted(source.pictures(), moments[RGB])
        write_mp4(folder / _VIDEO, frames, rate, crf=self.crf, gop=2, stamps=stamps.tolist())
        columns = {name: feature for name, feature in columns_of(features).items() if name not in PLACE}
        write_data(folder / _DATA, _rows(source, columns, stamps), columns, moments)
        return {
            "task": shared["texts"].get(episode.video) or self.task or episode.video,
            "seconds": float(stamps[-1] + 1 / shared["fps"]),
            "metric": passage.metric,
            "moments": {name: moments[name].record() for name in features if name not in PLACE},
        }

    def assemble(self, parts: Sequence[Part], draft: Path, shared: dict[str, Any]) -> None:
        features = {name: Feature.of_entry(entry) for name, entry in shared["features"].items()}
        tasks = list(dict.fromkeys(part.facts["task"] for part in parts))
        total = {name: moments_of(feature) for name, feature in features.items()}
        frames, unit = 0, tick(frame_rate(shared["fps"]))
        entries = []
        with (
            JoinedData(draft, features) as data,
            JoinedVideos(
                lambda number: draft / VIDEO_PATH.format(video_key=RGB, **chunk_and_file(number)), VIDEO_MB * 1_000_000
            ) as videos,
        ):
            for number, part in enumerate(parts):
                count = len(part.episode)
                place = {"episode_index": number, "index": frames, "task_index": tasks.index(part.facts["task"])}
                moments = {name: Moments.recorded(sums) for name, sums in part.facts["moments"].items()}
                for name in PLACE:
                    moments[name] = Moments(1)
                    moments[name].add(_places(place, name, count))
                for name, found in moments.items():
                    total[name].absorb(found)
                stats = {name: stats_of(features[name], moments[name], count) for name in features}
                length = round(part.facts["seconds"] / unit) * unit
                video_file, video_start = videos.add(part.folder / _VIDEO, length)
                entries.append(
                    EpisodeEntry(
                        part.facts["task"],
                        count,
                        frames,
                        data.add(part.folder / _DATA, place),
                        video_file,
                        float(video_start),
                        float(video_start + length),
                        stats,
                        {f"geoflow/{name}": value for name, value in described(part.episode).items()}
                        | {"geoflow/metric": part.facts["metric"]},
                    )
                )
                frames += count
        stats = {name: stats_of(features[name], total[name], frames) for name in features}
        write_meta(draft, features, shared["fps"], tasks, entries, stats, places([part.episode for part in parts]))

    def _source(self, video: Video, size: tuple[int, int] | None) -> FrameSource:
        return FrameSource(video, 1.0 if video.metric else None, self.max_tracks, self.state, self.state_frame, size)


def _rows(source: FrameSource, columns: dict[str, Feature], stamps: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    times = source.video.frame_time
    for i, values in enumerate(frame_values(source, columns)):
        said = {"timestamp": stamps[i], "frame_index": i, TIME: times[i], METRIC: source.video.metric}
        yield conformed({**values, **said}, columns)


def _united(found: Sequence[Mapping[str, Any]], size: tuple[int, int], fps: float, metric: bool) -> dict[str, Feature]:
    """Return the features of the dataset: those that any video has, in sizes that all have."""
    united: dict[str, Feature] = {}
    for entries in found:
        united |= {name: Feature.of_entry(entry) for name, entry in entries.items() if name not in united}
    united[RGB] = rgb_feature(size, fps)
    if DEPTH in united:
        united[DEPTH] = depth_feature(size, metric)
    if f"{TRACKS}xyz" in united:
        united |= track_features(max(entries.get(f"{TRACKS}xyz", {"shape": [0]})["shape"][0] for entries in found))
    if STATE in united:
        names = {
            name: None
            for side in ("left.", "right.")
            for entries in found
            for name in entries[STATE]["names"]
            if name.startswith(side)
        }
        info = united[STATE].info if len({json.dumps(e[STATE]["info"]) for e in found}) == 1 else None
        united |= {name: Feature("float32", (len(names),), list(names), info) for name in (STATE, ACTION)}
    united[TIME], united[METRIC] = Feature("float64", (1,)), Feature("bool", (1,))
    last = ("timestamp", "frame_index", *PLACE)
    return {name: united[name] for name in [*(n for n in united if n not in last), *last]}


def _places(place: Mapping[str, int], name: str, count: int) -> np.ndarray:
    """Return a column of the frames' places: `index` counts on, the others are the same in an episode."""
    return place[name] + np.arange(count, dtype=np.int64) * (name == "index")


@dataclass
class JoinedData:
    """Writes data files, each from the parts of several episodes, a few rows at a time."""

    draft: Path
    features: Mapping[str, Feature]
    _number: int = field(default=-1, init=False)
    _size: int = field(default=0, init=False)  # bytes of the parts in the file
    _writer: Any = field(default=None, init=False)

    def __enter__(self) -> JoinedData:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, part: Path, place: Mapping[str, int]) -> int:
        """Append an episode, whose first frame has the numbers `place`; return the number of its file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        size = part.stat().st_size
        if self._writer is None or self._size + size > DATA_MB * 1_000_000:
            self._next_file()
        self._size += size
        done = 0
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(ROWS):
                table = pa.Table.from_batches([batch])
                at = {**place, "index": place["index"] + done}
                for name in PLACE:
                    table = table.append_column(name, pa.array(_places(at, name, len(table))))
                schema = data_schema(columns_of(self.features))
                self._writer.write_table(table.select(schema.names).cast(schema))
                done += len(table)
        return self._number

    def _next_file(self) -> None:
        import pyarrow.parquet as pq

        if self._writer is not None:
            self._writer.close()
        self._number, self._size = self._number + 1, 0
        path = self.draft / DATA_PATH.format(**chunk_and_file(self._number))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, data_schema(columns_of(self.features)), compression="snappy")
