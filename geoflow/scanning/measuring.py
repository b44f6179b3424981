"""The measurements of one video, from few of its frames; they are made in a process of their own."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from geoflow.geometry.picture_measures import blur_of, brightness_of, overexposed_share
from geoflow.geometry.views import compare_views, is_bare
from geoflow.scanning.cut_search import find_cuts
from geoflow.scanning.fitness import ScanParams
from geoflow.scanning.likeness import Fingerprint, thumbnail_of
from geoflow.segments import VideoInfo
from geoflow.video.cursor import Cursors
from geoflow.video.frame_reader import read_frames
from geoflow.video.inputs import Input
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

LONG_SIDE = 640  # px, as a run processes by default: blur that is gone at that size does not matter
_AT_REST = 0.5  # share of the points found again: people in front of a camera at rest move the others
_LEAST_FOUND = 0.25  # share of the points: with fewer, nothing is known of the camera
_LEAST_TOLD = 2 / 3  # of the looks of a shot at rest, those with enough points
_AT_ONCE = 8  # frames in memory for one call of the reader

STILL, MOVES, UNKNOWN = "still", "moves", "unknown"


@dataclass(frozen=True)
class VideoMeasures:
    """What is measured of a video; arrays have a value for each of the K frames looked at."""

    looks: np.ndarray  # (K,) int64: numbers among the frames of the video
    blur: np.ndarray  # (K,) float, NaN if there is nothing to see
    brightness: np.ndarray  # (K,) float
    overexposed: np.ndarray  # (K,) float: share of the pixels
    bare: np.ndarray  # (K,) bool
    camera: str  # still, moves or unknown
    cuts_s: tuple[float, ...]  # s after the first frame
    unsearched: int  # parts that may hold further cuts
    thumbs: np.ndarray  # (K, 32, 32) uint8
    duration_s: float
    frames_read: int

    @functools.cached_property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.looks, self.thumbs, int(self.looks[-1]) + 1)


class FrameSource:
    """Reads chosen frames of a probed video; its decoder stays open."""

    def __init__(self, info: VideoInfo, arrays: dict[str, np.ndarray]) -> None:
        self.info, self.time = info, arrays["video.time"]
        self._index, self._pts, self._seek = arrays["video.index"], arrays["video.pts"], arrays.get("video.seek")
        self._cursors = Cursors()
        self.read = 0  # frames so far

    def frames(self, numbers: list[int]) -> dict[int, np.ndarray]:
        """Return frames (H, W, 3) uint8 RGB by their numbers, which rise."""
        found: dict[int, np.ndarray] = {}
        for k in range(0, len(numbers), _AT_ONCE):
            part = numbers[k : k + _AT_ONCE]
            seek = None if self._seek is None else self._seek[part]
            index, pts = self._index[part], self._pts[part]
            rgb = read_frames(self.info, index, pts, 0, len(part), seek=seek, cursors=self._cursors, share=0)
            found |= dict(zip(part, rgb))
        self.read += len(numbers)
        return found

    def thumbnails(self, numbers: list[int]) -> np.ndarray:
        """Return thumbnails (K, 32, 32) uint8 of frames by their numbers, which rise."""
        frames = self.frames(numbers)
        return np.stack([thumbnail_of(cv2.cvtColor(frames[number], cv2.COLOR_RGB2GRAY)) for number in numbers])

    def close(self) -> None:
        self._cursors.close()


def measure(item: Input, options: ReadOptions, params: ScanParams) -> tuple[VideoInfo, dict[str, Any]]:
    """Probe a video as a run does, and measure it; the measures are added to what `probe` returns, as `scan`.

    Raises InputError that names the source and the remedy, as a run would.
    """
    cv2.setNumThreads(1)  # other videos are measured at the same time
    info, arrays = probe(item.source, item.name, options)
    source = FrameSource(info, arrays)
    try:
        return info, {**arrays, "scan": _measured(source, params)}
    finally:
        source.close()


def _measured(source: FrameSource, params: ScanParams) -> VideoMeasures:
    count = source.info.num_frames
    numbers = np.unique(np.linspace(0, count - 1, params.looks).round().astype(np.int64))
    looks = source.frames(numbers.tolist())
    pictures = list(looks.values())
    grays = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
    changes = [compare_views(*pair) for pair in itertools.pairwise(pictures)]
    found = find_cuts(looks, changes, count, source.frames, params.search)
    return VideoMeasures(
        looks=numbers,
        blur=np.array([blur_of(gray) for gray in grays]),
        brightness=np.array([brightness_of(gray) for gray in grays]),
        overexposed=np.array([overexposed_share(picture) for picture in pictures]),
        bare=np.array([is_bare(gray) for gray in grays]),
        camera=_camera(pictures, numbers, found.cuts),
        cuts_s=tuple(float(source.time[cut] - source.time[0]) for cut in found.cuts),
        unsearched=found.unsearched,
        thumbs=np.stack([thumbnail_of(gray) for gray in grays]),
        duration_s=count / source.info.fps,
        frames_read=source.read,
    )


def _camera(pictures: list[np.ndarray], numbers: np.ndarray, cuts: tuple[int, ...]) -> str:
    """Return whether the camera is at rest in every shot, as far as the looks show."""
    shot = np.searchsorted(cuts, numbers, side="right")
    states = []
    for number in np.unique(shot):
        states.append(_camera_of_shot([pictures[k] for k in np.flatnonzero(shot == number)]))
    if MOVES in states:
        return MOVES
    return STILL if STILL in states else UNKNOWN


def _camera_of_shot(pictures: list[np.ndarray]) -> str:
    """Return whether the camera is at rest in a shot: each picture is compared with the middle one.

    Pictures in which somebody stands right before the camera may resemble no other; some such are allowed.
    """
    middle = len(pictures) // 2
    others = [compare_views(pictures[middle], picture) for k, picture in enumerate(pictures) if k != middle]
    others = [change for change in others if not change.bare]
    told = [change for change in others if change.found >= _LEAST_FOUND]
    if not others:
        return UNKNOWN
    at_rest = all(change.at_rest >= _AT_REST for change in told)
    return STILL if at_rest and len(told) >= _LEAST_TOLD * len(others) else MOVES
