"""The files of a LeRobot dataset, version 3.0: rows of frames, and what `meta/` says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import StoreError
from geoflow.export.lerobot_features import RGB, Feature
from geoflow.export.statistics import Moments

FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE}.mp4"
EPISODES_PATH = f"meta/episodes/{FILE}.parquet"
FILES_A_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200  # of a file, unless one episode is larger
ROWS = 16  # frames per row group: what waits in memory


@dataclass(frozen=True)
class EpisodeEntry:
    """An episode's row in `meta/episodes`."""

    task: str
    length: int
    start: int  # of its frames in the dataset
    data_file: int  # numbers of the files, counted over all chunks
    video_file: int
    video_start: float  # s, in the video file
    video_stop: float
    stats: Mapping[str, Mapping[str, Any]]
    extra: Mapping[str, Any]  # further columns

    def row(self, number: int, episodes_file: int) -> dict[str, Any]:
        return {
            "episode_index": number,
            "tasks": [self.task],
            "length": self.length,
            "dataset_from_index": self.start,
            "dataset_to_index": self.start + self.length,
            **{f"data/{name}": value for name, value in chunk_and_file(self.data_file).items()},
            **{f"videos/{RGB}/{name}": value for name, value in chunk_and_file(self.video_file).items()},
            f"videos/{RGB}/from_timestamp": self.video_start,
            f"videos/{RGB}/to_timestamp": self.video_stop,
            **{f"meta/episodes/{name}": value for name, value in chunk_and_file(episodes_file).items()},
            **self.extra,
            **{f"stats/{name}/{key}": value for name, entry in self.stats.items() for key, value in entry.items()},
        }


def chunk_and_file(number: int) -> dict[str, int]:
    """Return the place of the n-th file.

    >>> chunk_and_file(1001)
    {'chunk_index': 1, 'file_index': 1}
    """
    return {"chunk_index": number // FILES_A_CHUNK, "file_index": number % FILES_A_CHUNK}


def columns_of(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """Return the features that are columns of the data files: all but the video."""
    return {name: feature for name, feature in features.items() if feature.dtype != "video"}


def data_schema(columns: Mapping[str, Feature]) -> Any:
    """Return the Arrow schema of a data file."""
    import pyarrow as pa

    return pa.schema([(name, _arrow_type(pa, feature)) for name, feature in columns.items()])


def write_data(
    path: Path, rows: Iterable[Mapping[str, np.ndarray]], columns: Mapping[str, Feature], moments: Mapping[str, Moments]
) -> None:
    """Write rows, a few at a time, and count their values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = data_schema(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        waiting: list[dict[str, Any]] = []
        for row in rows:
            for name in columns:
                _count(moments[name], columns[name], row[name])
            waiting.append({name: _value(feature, row[name]) for name, feature in columns.items()})
            if len(waiting) == ROWS:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))


def _arrow_type(pa: Any, feature: Feature) -> Any:
    """Return the type with which the `datasets` library stores a feature.

    A picture, a value, a list of fixed length, or lists of lists.
    """
    if feature.dtype == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = pa.bool_() if feature.dtype == "bool" else pa.type_for_alias(feature.dtype)
    if feature.shape == (1,):
        return kind
    if len(feature.shape) == 1:
        return pa.list_(kind, feature.shape[0])
    return pa.list_(pa.list_(kind))


def _value(feature: Feature, value: np.ndarray) -> Any:
    if feature.dtype == "image":
        return {"bytes": _tiff(value.reshape(feature.shape[:2])), "path": None}
    if feature.dtype.startswith("float"):
        value = np.nan_to_num(value.astype(feature.dtype), nan=0.0, posinf=0.0, neginf=0.0)
    return value.reshape(-1)[0].item() if feature.shape == (1,) else value.tolist()


def _tiff(depth: np.ndarray) -> bytes:
    """Encode a depth map (H, W) float32 as a TIFF file."""
    import cv2

    depth = np.nan_to_num(depth.astype(np.float32))
    done, data = cv2.imencode(".tiff", depth, [cv2.IMWRITE_TIFF_COMPRESSION, 8])  # 8: deflate
    if not done:
        raise StoreError(f"a depth map of shape {depth.shape} could not be encoded as TIFF")
    return data.tobytes()


def moments_of(feature: Feature) -> Moments:
    """Return moments per channel for pictures, else per value."""
    return Moments(feature.shape[-1] if feature.dtype in ("video", "image") else int(np.prod(feature.shape)))


def counted(frames: Iterator[np.ndarray], moments: Moments) -> Iterator[np.ndarray]:
    """Yield pictures, and count their pixels."""
    for rgb in frames:
        moments.add(rgb[::4, ::4] / 255.0)  # every 16th pixel gives the same statistics in a fraction of the time
        yield rgb


def _count(moments: Moments, feature: Feature, value: np.ndarray) -> None:
    moments.add(value[value > 0][:, None] if feature.dtype == "image" else value)


def stats_of(feature: Feature, moments: Moments, count: int) -> dict[str, list[Any]]:
    """Return min, max, mean, std and the number of frames.

    They are 0 and 1 if nothing is known, so that they are plain numbers.
    """
    shape = (-1, 1, 1) if feature.dtype in ("video", "image") else feature.shape
    known = moments.count > 0
    values = {
        "min": np.where(known, moments.low, 0),
        "max": np.where(known, moments.high, 0),
        "mean": moments.mean,
        "std": moments.std,
    }
    return {**{name: value.reshape(shape).tolist() for name, value in values.items()}, "count": [count]}


def write_meta(
    root: Path,
    features: Mapping[str, Feature],
    fps: float,
    tasks: Sequence[str],
    episodes: Sequence[EpisodeEntry],
    stats: Mapping[str, Any],
    splits: Mapping[str, str],
) -> None:
    """Write `meta/` of the dataset in `root`."""
    import pyarrow.parquet as pq

    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": len(episodes),
        "total_frames": sum(episode.length for episode in episodes),
        "total_tasks": len(tasks),
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": int(fps) if fps == int(fps) else fps,
        "splits": dict(splits),
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": {name: feature.entry() for name, feature in features.items()},
    }
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4) + "\n")
    (root / "meta" / "stats.json").write_text(json.dumps(stats, indent=4) + "\n")
    pq.write_table(_tasks(tasks), root / "meta" / "tasks.parquet")
    _write_episodes(root, episodes)


_EPISODES_A_FILE = 500  # with statistics of each, about 100 KB


def _write_episodes(root: Path, episodes: Sequence[EpisodeEntry]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, first in enumerate(range(0, len(episodes), _EPISODES_A_FILE)):
        path = root / EPISODES_PATH.format(**chunk_and_file(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = episodes[first : first + _EPISODES_A_FILE]
        rows = [entry.row(first + i, number) for i, entry in enumerate(part)]
        pq.write_table(pa.Table.from_pylist(rows), path)


def _tasks(tasks: Sequence[str]) -> Any:
    """Return the tasks in the form in which pandas writes a frame with the task as index: its reader needs the
    metadata.
    """
    import pyarrow as pa

    column = {"metadata": None, "name": "task_index", "field_name": "task_index"}
    index = {"metadata": None, "name": "task", "field_name": "task"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {**column, "pandas_type": "int64", "numpy_type": "int64"},
            {**index, "pandas_type": "unicode", "numpy_type": "object"},
        ],
        "pandas_version": "2.0.0",
    }
    numbers = pa.array(range(len(tasks)), pa.int64())
    table = pa.table({"task_index": numbers, "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})
