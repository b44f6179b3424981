"""`lerobot`: a LeRobot dataset, version 3.0, with one episode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.export.frames import Depths, cameras_of, has_depth, pictures
from geoflow.export.hand_state import HandState, hand_state
from geoflow.export.mp4 import frame_rate, write_mp4
from geoflow.export.statistics import Moments
from geoflow.export.track_rows import most_seen, track_rows
from geoflow.store.reader import Video
from geoflow.store.whole import whole_folder

RGB, DEPTH = "observation.images.rgb", "observation.images.depth"
STATE, ACTION = "observation.state", "action"
_FILE = "chunk-000/file-000"
_ROWS = 16  # frames per row group: what waits in memory
_HAND = {
    "valid": (1,),
    "joints": (21, 3),
    "wrist": (4, 4),
    "confidence": (1,),
    "metres_per_unit": (1,),
    "mano_pose": (16, 3),
    "betas": (10,),
    "mano_scale": (1,),
}
_INDICES = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class _Feature:
    """One feature: a column of the data file, or the video."""

    dtype: str
    shape: tuple[int, ...]
    names: list[str] | None = None
    info: dict[str, Any] | None = None

    def entry(self) -> dict[str, Any]:
        entry = {"dtype": self.dtype, "shape": list(self.shape), "names": self.names}
        return entry if self.info is None else {**entry, "info": self.info}


def export_lerobot(
    video: Video,
    out: Path,
    *,
    task: str = "",
    max_tracks: int = 512,
    crf: int = 12,
    depth: bool = True,
    state: str = "",
    state_frame: str = "camera",
    metres_per_unit: float = 0.0,
) -> int:
    """Write the folder `out`, a dataset of one episode with all T frames of the store; return T.

    Frames are at the store's mean rate, one every 1 / fps seconds. Features, all float32 except where stated:

    - `observation.images.rgb`: video, H.264 of quality `crf`; `observation.images.depth` (H, W, 1): z, 0 where unknown,
      as lossless TIFF inside the data file (left out without `depth`). Its `depth_unit` is "m" in a metric store, or
      if `metres_per_unit` is given, the metres in a scene unit, which depth, tracks and the cameras' places are then
      multiplied with. Without either there is no `depth_unit`: LeRobot warns, and returns the scene's units
    - `observation.camera.intrinsics` (3, 3) px, of that depth, `.cam_from_world` (4, 4), `.valid` bool
    - `observation.tracks.xyz` (N, 3) world, `.uv` (N, 2) px, `.visible` (N,) bool: at most `max_tracks`, those
      that are seen in most frames
    - `observation.hands.<side>.joints` (21, 3) and `.wrist` (4, 4) camera frame, `.confidence`, `.valid` bool, and
      `.metres_per_unit`, which joints and wrist times which are in metres: 1 where they are already, and are therefore
      not in the scene's unit unless that is metres; left out of stores that do not tell. Where the store has MANO's
      hand: `.mano_pose` (16, 3) rad, `.betas` (10,) and `.mano_scale`, with which its joints are multiplied

    With `state` "left", "right" or "hands" (both, or the one that the store has), for a policy to train on:

    - `observation.state` (10 a side): the wrist's x, y, z, the first two columns of its rotation (`r00`, `r10`, `r20`,
      `r01`, `r11`, `r21`), and `valid`, 1 where the hand is known. With `state_frame` "camera" it is in the camera of
      its own frame, in metres, which assume a hand of average size unless the store is metric or `metres_per_unit` is
      given; with "world", in the world, in the unit of the tracks, where the camera has a pose and the hand the
      scene's unit
    - `action`: the next frame's `observation.state`; the last frame's is unknown

    Numbers are 0 where unknown, since one NaN spoils a training batch: `valid`, `visible` and depth above 0 mark known
    values, and the statistics count only these. The task is `task`, else the video's name.

    Raises StoreError if pixels cannot be read, if `out` exists already, or if there is no such hand for the `state`;
    ConfigError for another `state` or `state_frame`, or `metres_per_unit` of a metric store.
    """
    source = _Source(video, _metres(video, metres_per_unit), max_tracks, state, state_frame)
    features = _features(source, depth)
    moments = {name: _moments(feature) for name, feature in features.items()}
    fps = frame_rate(video.fps)
    with whole_folder(out) as draft:
        rgb_path = draft / "videos" / RGB / f"{_FILE}.mp4"
        rgb_path.parent.mkdir(parents=True)
        write_mp4(rgb_path, _counted(pictures(video, range(len(video))), moments[RGB]), fps, crf=crf, gop=2)
        _write_data(draft / "data" / f"{_FILE}.parquet", source, features, moments, float(fps))
        stats = {name: _stats(features[name], moments[name], len(video)) for name in features}
        _write_meta(draft / "meta", video, features, stats, float(fps), task or video.name)
    return len(video)


@dataclass(frozen=True)
class _Source:
    """A store, and how its numbers are to be written."""

    video: Video
    metres: float | None  # in a scene unit; None if not known
    max_tracks: int
    state: str  # which hands; "" is none
    state_frame: str

    @cached_property
    def hands(self) -> HandState | None:
        return hand_state(self.video, self.state, self.state_frame, self.metres) if self.state else None

    @property
    def factor(self) -> np.float32:
        """Return what lengths in scene units are multiplied with."""
        return np.float32(1 if self.metres is None else self.metres)

    def cam_from_world(self, i: int) -> np.ndarray:
        cam_from_world = np.array(cameras_of(self.video).cam_from_world[i])
        cam_from_world[:3, 3] *= self.factor
        return cam_from_world


def _metres(video: Video, metres_per_unit: float) -> float | None:
    if video.metric and metres_per_unit:
        raise ConfigError(f"--set metres_per_unit={metres_per_unit:g}: {video.path} is in metres already; leave it out")
    return 1.0 if video.metric else metres_per_unit or None


def _features(source: _Source, depth: bool) -> dict[str, _Feature]:
    video = source.video
    height, width = video.height, video.width
    features = {
        RGB: _Feature(
            "video",
            (height, width, 3),
            ["height", "width", "channels"],
            {
                "video.height": height,
                "video.width": width,
                "video.channels": 3,
                "video.codec": "h264",
                "video.pix_fmt": "yuv444p" if height % 2 or width % 2 else "yuv420p",
                "video.fps": float(frame_rate(video.fps)),
                "video.is_depth_map": False,
                "has_audio": False,
            },
        )
    }
    if depth and has_depth(video):
        info: dict[str, Any] = {"is_depth_map": True, **({"depth_unit": "m"} if source.metres else {})}
        features[DEPTH] = _Feature("image", (height, width, 1), ["height", "width", "channels"], info)
    if video.cameras is not None:
        features["observation.camera.intrinsics"] = _Feature("float32", (3, 3))
        features["observation.camera.cam_from_world"] = _Feature("float32", (4, 4))
        features["observation.camera.valid"] = _Feature("bool", (1,))
    if video.tracks is not None and len(video.tracks):
        count = min(len(video.tracks), source.max_tracks)
        features["observation.tracks.xyz"] = _Feature("float32", (count, 3))
        features["observation.tracks.uv"] = _Feature("float32", (count, 2))
        features["observation.tracks.visible"] = _Feature("bool", (count,))
    for side in ("left", "right"):
        if getattr(video.hands, side, None) is not None:
            for name, shape in _HAND.items():
                if getattr(getattr(video.hands, side), name) is not None:
                    dtype = "bool" if name == "valid" else "float32"
                    features[f"observation.hands.{side}.{name}"] = _Feature(dtype, shape)
    if (hands := source.hands) is not None:
        said = {"unit": hands.unit, "frame": hands.frame}
        for name in (STATE, ACTION):
            features[name] = _Feature("float32", (len(hands.names),), hands.names, said)
    features["timestamp"] = _Feature("float32", (1,))
    return {**features, **{name: _Feature("int64", (1,)) for name in _INDICES}}


def _rows(source: _Source, features: dict[str, _Feature], fps: float) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns' values of each frame, NaN where unknown."""
    video, wrists = source.video, source.hands
    cameras, hands = video.cameras, video.hands
    actions = None if wrists is None else wrists.actions
    has_tracks = video.tracks is not None and len(video.tracks)
    tracks = track_rows(video, most_seen(video, source.max_tracks)) if has_tracks else None
    depths = Depths(video) if DEPTH in features else None
    for i in range(len(video)):
        row: dict[str, Any] = {"timestamp": i / fps, "frame_index": i, "episode_index": 0, "index": i, "task_index": 0}
        intrinsics = None if cameras is None else cameras.intrinsics[i]
        if depths is not None:
            found, intrinsics = depths[i]
            row[DEPTH] = found * source.factor
        if cameras is not None:
            row["observation.camera.intrinsics"] = intrinsics
            row["observation.camera.cam_from_world"] = source.cam_from_world(i)
            row["observation.camera.valid"] = cameras.valid[i]
        if tracks is not None:
            track = next(tracks)
            row["observation.tracks.xyz"], row["observation.tracks.uv"] = track.xyz * source.factor, track.uv
            row["observation.tracks.visible"] = track.visible
        for side in ("left", "right"):
            if (hand := getattr(hands, side, None)) is not None:
                row |= {name: getattr(hand, name.rpartition(".")[2])[i] for name in features if f".{side}." in name}
        if wrists is not None and actions is not None:
            row[STATE], row[ACTION] = wrists.values[i], actions[i]
        yield {name: np.asarray(value) for name, value in row.items()}


def _write_data(
    path: Path, source: _Source, features: dict[str, _Feature], moments: dict[str, Moments], fps: float
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: feature for name, feature in features.items() if feature.dtype != "video"}
    schema = pa.schema([(name, _arrow_type(pa, feature)) for name, feature in columns.items()])
    path.parent.mkdir(parents=True)
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        waiting: list[dict[str, Any]] = []
        for row in _rows(source, features, fps):
            for name in columns:
                _count(moments[name], features[name], row[name])
            waiting.append({name: _value(feature, row[name]) for name, feature in columns.items()})
            if len(waiting) == _ROWS:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))


def _arrow_type(pa: Any, feature: _Feature) -> Any:
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


def _value(feature: _Feature, value: np.ndarray) -> Any:
    if feature.dtype == "image":
        return {"bytes": _tiff(value), "path": None}
    if feature.dtype == "float32":
        value = np.nan_to_num(value.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return value.reshape(-1)[0].item() if feature.shape == (1,) else value.tolist()


def _tiff(depth: np.ndarray) -> bytes:
    """Encode a depth map (H, W) float32 as a TIFF file."""
    import cv2

    done, data = cv2.imencode(".tiff", depth.astype(np.float32), [cv2.IMWRITE_TIFF_COMPRESSION, 8])  # 8: deflate
    if not done:
        raise StoreError(f"a depth map of shape {depth.shape} could not be encoded as TIFF")
    return data.tobytes()


def _moments(feature: _Feature) -> Moments:
    """Return moments per channel for pictures, else per value."""
    return Moments(feature.shape[-1] if feature.dtype in ("video", "image") else int(np.prod(feature.shape)))


def _counted(frames: Iterator[np.ndarray], moments: Moments) -> Iterator[np.ndarray]:
    for rgb in frames:
        moments.add(rgb[::4, ::4] / 255.0)  # every 16th pixel gives the same statistics in a fraction of the time
        yield rgb


def _count(moments: Moments, feature: _Feature, value: np.ndarray) -> None:
    moments.add(value[value > 0][:, None] if feature.dtype == "image" else value)


def _stats(feature: _Feature, moments: Moments, count: int) -> dict[str, list[Any]]:
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


def _write_meta(
    folder: Path, video: Video, features: dict[str, _Feature], stats: dict[str, Any], fps: float, task: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = len(video)
    rate: float = int(fps) if fps == int(fps) else fps
    info = {
        "codebase_version": "v3.0",
        "robot_type": None,
        "total_episodes": 1,
        "total_frames": count,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": rate,
        "splits": {"train": "0:1"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {name: feature.entry() for name, feature in features.items()},
    }
    episode: dict[str, Any] = {
        "episode_index": 0,
        "tasks": [task],
        "length": count,
        "dataset_from_index": 0,
        "dataset_to_index": count,
        "data/chunk_index": 0,
        "data/file_index": 0,
        f"videos/{RGB}/chunk_index": 0,
        f"videos/{RGB}/file_index": 0,
        f"videos/{RGB}/from_timestamp": 0.0,
        f"videos/{RGB}/to_timestamp": count / fps,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        **{f"stats/{name}/{key}": value for name, entry in stats.items() for key, value in entry.items()},
    }
    episodes = folder / "episodes" / f"{_FILE}.parquet"
    episodes.parent.mkdir(parents=True)
    (folder / "info.json").write_text(json.dumps(info, indent=4) + "\n")
    (folder / "stats.json").write_text(json.dumps(stats, indent=4) + "\n")
    pq.write_table(_tasks(pa, task), folder / "tasks.parquet")
    pq.write_table(pa.Table.from_pylist([episode]), episodes)


def _tasks(pa: Any, task: str) -> Any:
    """Return the tasks in the form in which pandas writes a frame with the task as index: its reader needs the
    metadata.
    """
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
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([task], pa.string())})
    return table.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})
