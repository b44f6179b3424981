"""`lerobot`: a LeRobot dataset, version 3.0, with one episode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoflow.errors import ConfigError
from geoflow.export.lerobot_features import PLACE, RGB, Feature, FrameSource, conformed, features_of, frame_values
from geoflow.export.lerobot_files import (
    DATA_PATH,
    VIDEO_PATH,
    EpisodeEntry,
    chunk_and_file,
    columns_of,
    counted,
    moments_of,
    stats_of,
    write_data,
    write_meta,
)
from geoflow.export.mp4 import frame_rate, write_mp4
from geoflow.store.reader import Video
from geoflow.store.whole import whole_folder


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
    source = FrameSource(video, _metres(video, metres_per_unit), max_tracks, state, state_frame)
    features = features_of(source, depth)
    moments = {name: moments_of(feature) for name, feature in features.items()}
    rate = frame_rate(video.fps)
    fps, first = float(rate), chunk_and_file(0)
    with whole_folder(out) as draft:
        rgb_path = draft / VIDEO_PATH.format(video_key=RGB, **first)
        rgb_path.parent.mkdir(parents=True)
        write_mp4(rgb_path, counted(source.pictures(), moments[RGB]), rate, crf=crf, gop=2)
        columns = columns_of(features)
        write_data(draft / DATA_PATH.format(**first), _rows(source, columns, fps), columns, moments)
        stats = {name: stats_of(features[name], moments[name], len(video)) for name in features}
        name = task or video.name
        entry = EpisodeEntry(name, len(video), 0, 0, 0, 0.0, len(video) / fps, stats, {})
        write_meta(draft, features, fps, [name], [entry], stats, {"train": "0:1"})
    return len(video)


def _metres(video: Video, metres_per_unit: float) -> float | None:
    if video.metric and metres_per_unit:
        raise ConfigError(f"--set metres_per_unit={metres_per_unit:g}: {video.path} is in metres already; leave it out")
    return 1.0 if video.metric else metres_per_unit or None


def _rows(source: FrameSource, columns: dict[str, Feature], fps: float) -> Iterator[dict[str, np.ndarray]]:
    for i, values in enumerate(frame_values(source, columns)):
        place = {"timestamp": i / fps, "frame_index": i, **dict.fromkeys(PLACE, 0), "index": i}
        yield conformed({**values, **place}, columns)
