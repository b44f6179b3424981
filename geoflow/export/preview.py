"""`preview`: a video to look at, the frame beside its depth, with tracks, hands and the camera's path drawn in."""

from __future__ import annotations

import colorsys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoflow.export.depth_video import (
    captioned,
    depth_panel,
    frame_words,
    legend_strip,
    panel_size,
    whole_range,
)
from geoflow.export.frames import Depths, has_depth, pictures
from geoflow.export.marks import BONES, TRAIL, degrees_of, drawn_tracks, hands_of, hue_of, is_filled
from geoflow.export.mp4 import frame_rate, write_mp4
from geoflow.export.path_inset import PathInset
from geoflow.export.track_rows import TrackRow, track_rows
from geoflow.store.reader import Video
from geoflow.store.whole import whole_draft

_HAND = {"left": (77, 181, 255), "right": (255, 165, 52)}
_NO_SIDE = (220, 220, 220)
_SHIFT = 4  # bits behind the point in OpenCV's drawings


def export_preview(
    video: Video,
    out: Path,
    *,
    width: int = 640,
    crf: int = 20,
    tracks: bool = True,
    hands: bool = True,
    path: bool = True,
) -> int:
    """Write `out`, an H.264 .mp4 of all T frames at the store's mean rate; return T.

    On the left is the frame: tracks with where they were in the last 12 frames (at most 140 of those seen in a frame),
    and hands, left blue, right orange, thin where interpolated between two frames in which they were seen. On the right
    is its depth, the geometry's if the frame has any, else the camera branch's, in turbo colours over inverse depth,
    near red, unknown grey, in one range for the whole video; a store without depth has the left half alone. In the
    lower left corner is the camera's path from above, up to the frame in blue, with the camera in orange. A strip below
    tells the frame's number in the source and the depths at the ends of the colours. Each half is at most `width` px
    wide, never wider than the store's frames; `crf` is the quality. `tracks`, `hands` and `path` are drawn unless
    False.

    Raises StoreError if pixels cannot be read.
    """
    size = panel_size(video, width)
    frames = _frames(video, size, tracks, hands, PathInset.of(video, size) if path else None)
    with whole_draft(out) as draft:
        write_mp4(draft, frames, frame_rate(video.fps), crf=crf)
    return len(video)


def _frames(
    video: Video, size: tuple[int, int], tracks: bool, hands: bool, inset: PathInset | None
) -> Iterator[np.ndarray]:
    import cv2

    depths = Depths(video) if has_depth(video) else None
    ends = None if depths is None else whole_range(video, depths)
    trails = _Trails(video, size) if tracks and video.tracks is not None and len(video.tracks) else None
    strip = legend_strip(ends, video.metric, size[0] * (2 if ends else 1))
    for i, rgb in enumerate(pictures(video, range(len(video)))):
        shrink = cv2.INTER_AREA if size[0] < video.width else cv2.INTER_LINEAR
        left = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=shrink)
        if trails is not None:
            trails.draw(left)
        if hands:
            _draw_hands(left, video, i, size)
        if inset is not None:
            inset.draw(left, i)
        panels = [left] if depths is None or ends is None else [left, depth_panel(depths, i, ends, size)]
        yield np.concatenate([np.concatenate(panels, axis=1), captioned(strip, frame_words(video, i))])


class _Trails:
    """The tracks of one frame after the other; the last frames' pixels are kept."""

    def __init__(self, video: Video, size: tuple[int, int]) -> None:
        count = 0 if video.tracks is None else len(video.tracks)
        most = max(int(row.visible.sum()) for row in track_rows(video))
        chosen = drawn_tracks(count, most)
        self._rows: Iterator[TrackRow] = track_rows(video, chosen)
        self._colours = [_colour(hue) for hue in hue_of(chosen, count)]
        self._places: deque[np.ndarray] = deque(maxlen=TRAIL + 1)  # (N, 2) px of the picture, NaN where not seen
        self._video, self._size = video, size

    def draw(self, picture: np.ndarray) -> None:
        """Draw the next frame's tracks into its picture."""
        import cv2

        row = next(self._rows)
        self._places.append(np.where(row.seen[:, None], _in_picture(row.uv, self._video, self._size), np.nan))
        dot = max(2, picture.shape[1] // 260) << _SHIFT
        for n in np.flatnonzero(row.seen):
            line = [places[n] for places in self._places]
            gone = [k for k, place in enumerate(line) if not np.isfinite(place).all()]
            trail = _fixed(np.array(line[gone[-1] + 1 if gone else 0 :]))
            cv2.polylines(picture, [trail], False, self._colours[n], 1, cv2.LINE_AA, _SHIFT)
            cv2.circle(picture, trail[-1].tolist(), dot, self._colours[n], -1, cv2.LINE_AA, _SHIFT)


def _draw_hands(picture: np.ndarray, video: Video, i: int, size: tuple[int, int]) -> None:
    import cv2

    thick = max(2, picture.shape[1] // 220)
    for side, hand, where in hands_of(video, i):
        joints = _in_picture(hand.uv[where], video, size)
        known = np.isfinite(joints).all(1)
        places = _fixed(np.where(known[:, None], joints, 0))
        bones = [places[[a, b]] for a, b in BONES if known[a] and known[b]]
        colour, own = _HAND.get(side, _NO_SIDE), 1 if is_filled(hand, where) else thick
        cv2.polylines(picture, bones, False, (0, 0, 0), own + 2, cv2.LINE_AA, _SHIFT)
        cv2.polylines(picture, bones, False, colour, own, cv2.LINE_AA, _SHIFT)
        for place in places[known]:
            cv2.circle(picture, place.tolist(), own << _SHIFT, colour, -1, cv2.LINE_AA, _SHIFT)


def _in_picture(uv: np.ndarray, video: Video, size: tuple[int, int]) -> np.ndarray:
    """Convert pixels (N, 2) of the store's frames to those of the picture; pixel centres lie at integers in both."""
    scale = np.array(size) / [video.width, video.height]
    return (uv.astype(np.float64) + 0.5) * scale - 0.5


def _fixed(places: np.ndarray) -> np.ndarray:
    """Convert places to OpenCV's numbers with a fixed point; far off, they are limited to what 32 bits hold."""
    return np.clip(np.rint(places * (1 << _SHIFT)), -(2**24), 2**24).astype(np.int32)


def _colour(hue: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hls_to_rgb(degrees_of(hue) / 360, 0.62, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
