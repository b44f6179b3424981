"""What a LeRobot dataset holds of each frame of a store: its features, and their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from geoflow.export.fitted import Fitted
from geoflow.export.frames import Depths, cameras_of, has_depth, pictures
from geoflow.export.hand_state import HandState, hand_state
from geoflow.export.mp4 import frame_rate
from geoflow.export.track_rows import most_seen, track_rows
from geoflow.store.reader import Video

RGB, DEPTH = "observation.images.rgb", "observation.images.depth"
STATE, ACTION = "observation.state", "action"
TRACKS = "observation.tracks."
PLACE = ("episode_index", "index", "task_index")  # of a frame in its dataset
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


@dataclass(frozen=True)
class Feature:
    """One feature: a column of the data file, or the video."""

    dtype: str
    shape: tuple[int, ...]
    names: list[str] | None = None
    info: dict[str, Any] | None = None

    def entry(self) -> dict[str, Any]:
        """Return its entry in info.json."""
        entry = {"dtype": self.dtype, "shape": list(self.shape), "names": self.names}
        return entry if self.info is None else {**entry, "info": self.info}

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> Feature:
        return cls(entry["dtype"], tuple(entry["shape"]), entry["names"], entry.get("info"))

    @property
    def unknown(self) -> np.ndarray:
        """Return the value of a frame of which nothing is known."""
        return np.full(self.shape, np.nan) if self.dtype.startswith("float") else np.zeros(self.shape, self.dtype)


@dataclass(frozen=True)
class FrameSource:
    """A store, and how its numbers are to be written."""

    video: Video
    metres: float | None  # in a scene unit; None if not known
    max_tracks: int
    state: str = ""  # which hands; "" is none
    state_frame: str = "camera"
    size: tuple[int, int] | None = None  # height, width of the pictures; None: the store's

    @property
    def fitted(self) -> Fitted:
        own = (self.video.height, self.video.width)
        return Fitted(own, self.size or own)

    @cached_property
    def hands(self) -> HandState | None:
        return hand_state(self.video, self.state, self.state_frame, self.metres) if self.state else None

    @property
    def factor(self) -> np.float32:
        """Return what lengths in scene units are multiplied with."""
        return np.float32(1 if self.metres is None else self.metres)

    @property
    def num_tracks(self) -> int:
        return 0 if self.video.tracks is None else min(len(self.video.tracks), self.max_tracks)

    def cam_from_world(self, i: int) -> np.ndarray:
        cam_from_world = np.array(cameras_of(self.video).cam_from_world[i])
        cam_from_world[:3, 3] *= self.factor
        return cam_from_world

    def pictures(self) -> Iterator[np.ndarray]:
        """Yield the pixels of each frame: (H, W, 3) uint8."""
        return map(self.fitted.picture, pictures(self.video, range(len(self.video))))


def features_of(source: FrameSource, depth: bool) -> dict[str, Feature]:
    """Return the features of the source's frames by name; depth is one of them if it is wanted and there."""
    video = source.video
    features = {RGB: rgb_feature(source.fitted.size, float(frame_rate(video.fps)))}
    if depth and has_depth(video):
        features[DEPTH] = depth_feature(source.fitted.size, bool(source.metres))
    if video.cameras is not None:
        features["observation.camera.intrinsics"] = Feature("float32", (3, 3))
        features["observation.camera.cam_from_world"] = Feature("float32", (4, 4))
        features["observation.camera.valid"] = Feature("bool", (1,))
    if count := source.num_tracks:
        features |= track_features(count)
    for side in ("left", "right"):
        if getattr(video.hands, side, None) is not None:
            for name, shape in _HAND.items():
                if getattr(getattr(video.hands, side), name) is not None:
                    dtype = "bool" if name == "valid" else "float32"
                    features[f"observation.hands.{side}.{name}"] = Feature(dtype, shape)
    if (hands := source.hands) is not None:
        features |= state_features(hands.names, hands.unit, hands.frame)
    features["timestamp"] = Feature("float32", (1,))
    return {**features, **{name: Feature("int64", (1,)) for name in ("frame_index", *PLACE)}}


def rgb_feature(size: tuple[int, int], fps: float) -> Feature:
    height, width = size
    info = {
        "video.height": height,
        "video.width": width,
        "video.channels": 3,
        "video.codec": "h264",
        "video.pix_fmt": "yuv444p" if height % 2 or width % 2 else "yuv420p",
        "video.fps": fps,
        "video.is_depth_map": False,
        "has_audio": False,
    }
    return Feature("video", (height, width, 3), ["height", "width", "channels"], info)


def depth_feature(size: tuple[int, int], metric: bool) -> Feature:
    info: dict[str, Any] = {"is_depth_map": True, **({"depth_unit": "m"} if metric else {})}
    return Feature("image", (*size, 1), ["height", "width", "channels"], info)


def track_features(count: int) -> dict[str, Feature]:
    return {
        f"{TRACKS}xyz": Feature("float32", (count, 3)),
        f"{TRACKS}uv": Feature("float32", (count, 2)),
        f"{TRACKS}visible": Feature("bool", (count,)),
    }


def state_features(names: list[str], unit: str, frame: str) -> dict[str, Feature]:
    said = {"unit": unit, "frame": frame}
    return {name: Feature("float32", (len(names),), names, said) for name in (STATE, ACTION)}


def frame_values(source: FrameSource, features: Mapping[str, Feature]) -> Iterator[dict[str, Any]]:
    """Yield the values of each frame, NaN where unknown: of the features that the store has, without time and place."""
    video, wrists = source.video, source.hands
    cameras, hands = video.cameras, video.hands
    actions = None if wrists is None else wrists.actions
    tracks = track_rows(video, most_seen(video, source.max_tracks)) if source.num_tracks else None
    depths = Depths(video) if DEPTH in features and has_depth(video) else None
    for i in range(len(video)):
        row: dict[str, Any] = {}
        intrinsics = None if cameras is None else cameras.intrinsics[i]
        if depths is not None:
            found, intrinsics = depths[i]
            row[DEPTH] = source.fitted.depth(found * source.factor)
        if cameras is not None and intrinsics is not None:
            row["observation.camera.intrinsics"] = source.fitted.intrinsics(intrinsics)
            row["observation.camera.cam_from_world"] = source.cam_from_world(i)
            row["observation.camera.valid"] = cameras.valid[i]
        if tracks is not None:
            track = next(tracks)
            row[f"{TRACKS}xyz"], row[f"{TRACKS}uv"] = track.xyz * source.factor, source.fitted.uv(track.uv)
            row[f"{TRACKS}visible"] = track.visible
        for side in ("left", "right"):
            if (hand := getattr(hands, side, None)) is not None:
                row |= _hand_values(hand, i, f"observation.hands.{side}.", features)
        if wrists is not None and actions is not None:
            row[STATE] = _in_order(wrists.values[i], wrists.names, features[STATE].names)
            row[ACTION] = _in_order(actions[i], wrists.names, features[ACTION].names)
        yield row


def _hand_values(hand: Any, i: int, prefix: str, features: Mapping[str, Feature]) -> dict[str, Any]:
    names = [name for name in features if name.startswith(prefix)]
    values = {name: getattr(hand, name.removeprefix(prefix)) for name in names}
    return {name: value[i] for name, value in values.items() if value is not None}


def _in_order(values: np.ndarray, names: list[str], wanted: list[str] | None) -> np.ndarray:
    """Return values in the order of the feature's names; a hand that the store lacks is not known, nor valid."""
    if wanted is None or wanted == names:
        return values
    known = dict(zip(names, values))
    return np.array([known.get(name, 0 if name.endswith(".valid") else np.nan) for name in wanted], np.float32)


def conformed(row: Mapping[str, Any], features: Mapping[str, Feature]) -> dict[str, np.ndarray]:
    """Return a value for each feature: the row's, with tracks filled up to the feature's number, else unknown."""
    values = {}
    for name, feature in features.items():
        value = np.asarray(row[name]) if name in row else feature.unknown
        if name.startswith(TRACKS) and len(value) < feature.shape[0]:
            value = np.concatenate([value, feature.unknown[len(value) :].astype(value.dtype)])
        values[name] = value
    return values
