"""Annotated photos and clips on disk, as `geoflow bench hands` reads them.

A folder of the footage has `frames/*` and one of

    hands.json   a list, per photo: `frame`, `source` and `hands` (null: not annotated), each with `side` and
                 `keypoints`, 21 x (x, y, seen) px, and maybe `joints_camera_mm` (21, 3)
    gt.npz       `hand_pixels` (T, 21, 2) px, `hand_joints` (T, 21, 3) metres, `hand_names` where the order is not
                 MediaPipe's, `photos` True where the frames are no video
    boxes        a separate file: {clip: {frame number: {"left" or "right": [left, top, right, bottom]}}}, as shares
                 of the picture; for videos without other annotations. {clip: N}: no hand is in the clip, and N of its
                 pictures, evenly spread, are used one by one
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.evaluate.hand_scores import TrueHand, side_of_joints
from geoflow.geometry.cameras import pinhole, resize_intrinsics

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_NAMES = ("wrist", *(f"{finger}_{part}" for finger in _FINGERS for part in ("mcp", "pip", "dip", "tip")))
_FOCAL = 1.2  # of the longer side, about 45 degrees: for pictures from an unknown camera


@dataclass(frozen=True)
class TruthPicture:
    """A frame and what is known of it, in pixels of the file."""

    path: Path
    hands: tuple[TrueHand, ...] | None  # None: not annotated
    intrinsics: np.ndarray | None = None  # (3, 3)

    def load(self, longest: int) -> tuple[np.ndarray, np.ndarray, list[TrueHand] | None]:
        """Read RGB with its longer side at most `longest` px, and intrinsics and hands in its pixels."""
        from geoflow.video.images import decode_rgb, resize

        rgb = decode_rgb(self.path.read_bytes(), str(self.path))
        height, width = rgb.shape[:2]
        factor = min(1.0, longest / max(height, width))
        new_height, new_width = round(height * factor), round(width * factor)
        fx, fy = new_width / width, new_height / height
        k = pinhole(_FOCAL * max(height, width), height, width) if self.intrinsics is None else self.intrinsics
        hands = None if self.hands is None else [_resized(hand, fx, fy) for hand in self.hands]
        return resize(rgb, new_height, new_width), resize_intrinsics(k, fx, fy), hands


@dataclass(frozen=True)
class HandSource:
    """Photos of one data set, or the frames of one clip, in order."""

    name: str
    pictures: tuple[TruthPicture, ...]
    photos: bool  # unrelated pictures: hands must not be followed from one to the next
    complete: bool  # every hand in view is annotated
    fps: float = 30.0


def read_sources(folder: Path, boxes: Path | None = None, *, most_photos: int = 150) -> list[HandSource]:
    """Return all sources of hands below a folder of footage; of long sets of photos, `most_photos` evenly spread."""
    by_eye: dict[str, Any] = json.loads(boxes.read_text()) if boxes else {}
    found: list[HandSource] = []
    for clip in sorted(path for path in folder.iterdir() if (path / "frames").is_dir()):
        if (clip / "hands.json").exists():
            found += _photo_sets(clip)
        elif clip.name in by_eye:
            found.append(_by_eye(clip, by_eye[clip.name]))
        elif (clip / "gt.npz").exists():
            found += _with_joints(clip)
    return [_spread(source, most_photos) if source.photos else source for source in found]


def _photo_sets(folder: Path) -> Iterator[HandSource]:
    """Yield one source per data set of photos: the pictures of one set are alike."""
    annotated = [row for row in json.loads((folder / "hands.json").read_text()) if row["hands"] is not None]
    for name, rows in itertools.groupby(annotated, key=lambda row: Path(row["source"]).parent.name):
        pictures = [
            TruthPicture(folder / "frames" / row["frame"], tuple(map(_photo_hand, row["hands"]))) for row in rows
        ]
        yield HandSource(name, tuple(pictures), photos=True, complete=False)


def _photo_hand(row: dict[str, Any]) -> TrueHand:
    points = np.array(row["keypoints"], np.float64)
    uv = np.where(points[:, 2:] > 0, points[:, :2], np.nan)
    xyz = np.array(row["joints_camera_mm"], np.float64) / 1000 if "joints_camera_mm" in row else None
    return TrueHand.of_joints(row["side"] if row["side"] in ("left", "right") else "", uv, xyz)


def _with_joints(folder: Path) -> Iterator[HandSource]:
    with np.load(folder / "gt.npz", allow_pickle=False) as truth:
        if "hand_pixels" not in truth:
            return
        uv, xyz, photos = truth["hand_pixels"], truth["hand_joints"], bool(truth.get("photos", False))
        intrinsics = np.broadcast_to(truth["intrinsics"], (len(uv), 3, 3))
        fps = _fps(truth["time"])
        order = _order(truth["hand_names"].tolist()) if "hand_names" in truth else slice(None)
    uv, xyz = uv[:, order], xyz[:, order]
    frames = sorted((folder / "frames").iterdir())
    pictures = [
        TruthPicture(path, (TrueHand.of_joints(side_of_joints(joints), pixels, joints),), k)
        for path, pixels, joints, k in zip(frames, uv, xyz, intrinsics, strict=True)
    ]
    yield HandSource(
        folder.name, tuple(pictures), photos=photos, complete=photos, fps=fps
    )  # a clip may show the other hand


def _fps(time_s: np.ndarray) -> float:
    known = time_s[np.isfinite(time_s)]
    return (len(known) - 1) / float(known[-1] - known[0]) if len(known) > 1 else 30.0


def _order(names: list[str]) -> list[int]:
    """Return the places of MediaPipe's joints in `names`.

    A thumb's joints may be called mcp, pip, dip there, like a finger's.
    """
    return [names.index(name) for name in _NAMES]


def _by_eye(folder: Path, known: dict[str, dict[str, list[float]]] | int) -> HandSource:
    pictures = []
    frames = sorted((folder / "frames").iterdir())
    if isinstance(known, int):
        empty = tuple(TruthPicture(path, ()) for path in frames)
        return _spread(HandSource(folder.name, empty, photos=True, complete=True), known)
    for i, path in enumerate(frames):
        hands = None
        if str(i) in known:
            height, width = _size(path)
            scale = np.array([width, height, width, height])
            hands = tuple(TrueHand(side, np.array(box) * scale - 0.5) for side, box in known[str(i)].items())
        pictures.append(TruthPicture(path, hands))
    with np.load(folder / "gt.npz", allow_pickle=False) as truth:
        fps = _fps(truth["time"])
    return HandSource(folder.name, tuple(pictures), photos=False, complete=False, fps=fps)


def _size(path: Path) -> tuple[int, int]:
    from geoflow.video.images import upright_size

    return upright_size(path.read_bytes(), str(path))


def _spread(source: HandSource, most: int) -> HandSource:
    if len(source.pictures) <= most:
        return source
    chosen = np.linspace(0, len(source.pictures) - 1, most).round().astype(int)
    return HandSource(
        source.name, tuple(source.pictures[i] for i in chosen), source.photos, source.complete, source.fps
    )


def _resized(hand: TrueHand, fx: float, fy: float) -> TrueHand:
    """Resize by the half-pixel rule: pixel centres are at integers, so the edges scale."""
    factor = np.array([fx, fy])
    uv = None if hand.uv is None else (hand.uv + 0.5) * factor - 0.5
    return TrueHand(hand.side, (hand.box + 0.5) * np.tile(factor, 2) - 0.5, uv, hand.xyz_m)
