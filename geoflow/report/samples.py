"""The frames of a video that its page shows, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoflow.errors import StoreError
from geoflow.export.frames import pictures
from geoflow.store.depth_colours import Ends, inverse_range
from geoflow.store.lazy import Lazy
from geoflow.store.reader import Video
from geoflow.store.source_frames import is_of_another_source

_FOR_COLOURS = 6  # frames used for the range of the colours
_PIXELS = 20_000  # pixels used of each frame
_LEAST = 50  # pixels known in both the prior and its reference; with fewer, the prior keeps its own scale
_BRANCHES = {"prior": "prior_depth", "geometry": "depth", "camera": "camera_depth"}  # -> attribute of `Video`

Depths = dict[str, np.ndarray]  # by branch: (H, W) float32, 0 where unknown


@dataclass(frozen=True)
class Sample:
    """One frame; `i` is its number in the store. rgb (H, W, 3) uint8 is None if the source is missing or changed."""

    i: int
    rgb: np.ndarray | None
    depths: Depths  # the prior's depth is at the others' scale already
    factor: float | None  # the factor that scaled the prior; None without a prior, or without a reference
    trouble: str = ""  # why rgb is None


def sampled(count: int, most: int) -> np.ndarray:
    """Choose at most `most` of `count` frames, evenly spread, with the first and the last.

    >>> sampled(9, 3).tolist(), sampled(2, 3).tolist(), sampled(0, 3).tolist()
    ([0, 4, 8], [0, 1], [])
    """
    if not count:
        return np.zeros(0, int)
    return np.unique(np.linspace(0, count - 1, most).round().astype(int))


def depths_of(video: Video) -> dict[str, Lazy]:
    """Return the depth branches that the store holds, in pipeline order; a frame is read when it is indexed."""
    return {
        name: getattr(video, attribute)
        for name, attribute in _BRANCHES.items()
        if f"{name}/depth" in video.file and (name == "camera" or f"{name}/mask" in video.file)
    }


def read_samples(video: Video, frames: np.ndarray) -> Iterator[Sample]:
    """Yield these frames in turn, with the prior at the scale of the others."""
    pixels, maps = _pixels(video, frames), depths_of(video)
    for i in frames:
        depths = {name: depth[int(i)] for name, depth in maps.items()}
        factor = prior_factor(depths)
        if factor is not None:
            depths["prior"] = depths["prior"] * np.float32(factor)
        rgb, trouble = next(pixels)
        yield Sample(int(i), rgb, depths, factor, trouble)


def _pixels(video: Video, frames: np.ndarray) -> Iterator[tuple[np.ndarray | None, str]]:
    """Yield the frames' colours; or None and the reason, if the source is missing, unreadable or another one."""
    try:
        for rgb in pictures(video, frames):
            yield rgb, ""
    except StoreError as error:
        trouble = "was trimmed, graded or replaced since" if is_of_another_source(error) else "is no longer there"
        while True:
            yield None, f"The source {trouble}, so its pictures are left out."


def prior_factor(depths: Depths) -> float | None:
    """Return the factor from the prior's scale, free per frame, to the geometry's or camera's: a median ratio.

    >>> prior_factor({"prior": np.full((9, 9), 2.0), "geometry": np.full((9, 9), 3.0)})
    1.5
    """
    if "prior" not in depths:
        return None
    prior = depths["prior"]
    for name in ("geometry", "camera"):
        if name in depths:
            both = (prior > 0) & (depths[name] > 0)
            if both.sum() >= _LEAST:
                return float(np.median(depths[name][both] / prior[both]))
    return None


def colour_range(video: Video, frames: np.ndarray) -> Ends | None:
    """Return one range of colours for all branches and frames, from the branches that share a scale; or None."""
    stride = max(1, int(np.sqrt(video.width * video.height / _PIXELS)))
    shared = [depth for name, depth in depths_of(video).items() if name != "prior"]
    chosen = frames[:: max(1, len(frames) // _FOR_COLOURS)]
    maps = [depth[int(i)][::stride, ::stride] for i in chosen for depth in shared]
    return inverse_range(maps) if any((depth > 0).any() for depth in maps) else None
