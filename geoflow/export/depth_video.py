"""`depth_video`: depth in colours as a video, in one range for all of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoflow.errors import StoreError
from geoflow.export.frames import Depths
from geoflow.export.mp4 import frame_rate, write_mp4
from geoflow.export.track_rows import spread_out
from geoflow.store.depth_colours import Ends, colour_depth, inverse_range, turbo
from geoflow.store.reader import Video
from geoflow.store.whole import whole_draft

STRIP = 28  # px; height of the strip with the legend
_FOR_RANGE = 64  # frames that the range of the colours comes from
_PIXELS = 4000  # of each of them
_DARK, _LIGHT = (23, 29, 33), (232, 236, 239)


def export_depth_video(video: Video, out: Path, *, width: int = 1280, crf: int = 18, legend: bool = True) -> int:
    """Write `out`, an H.264 .mp4 of the depth of all T frames at the store's mean rate; return T.

    For each frame it is the geometry's depth if it has any, else the camera branch's, in turbo colours over inverse
    depth: near is red, far is blue, unknown is grey. The range is one for the whole video: 2nd to 98th percentile of a
    sample of its frames. With `legend`, a strip below says which depths the ends are, in metres or scene units, and the
    frame's number in the source. The picture is at most `width` px wide, never wider than the store's; `crf` is the
    quality.

    Raises StoreError if the store has no depth, or none is known in any frame.
    """
    depths = Depths(video)
    ends = whole_range(video, depths)
    if ends is None:
        raise StoreError(
            f"{video.path} knows the depth of no pixel in any frame, so there is nothing to show; `geoflow info` may "
            "say why"
        )
    size = panel_size(video, width)
    strip = legend_strip(ends, video.metric, size[0]) if legend else None
    frames = (_picture(video, depths, i, ends, size, strip) for i in range(len(video)))
    with whole_draft(out) as draft:
        write_mp4(draft, frames, frame_rate(video.fps), crf=crf)
    return len(video)


def _picture(
    video: Video, depths: Depths, i: int, ends: Ends, size: tuple[int, int], strip: np.ndarray | None
) -> np.ndarray:
    picture = depth_panel(depths, i, ends, size)
    return picture if strip is None else np.concatenate([picture, captioned(strip, frame_words(video, i))])


def whole_range(video: Video, depths: Depths) -> Ends | None:
    """Return one range of colours for the whole video, from a sample of its frames; None if no depth is known."""
    stride = max(1, int(np.sqrt(video.width * video.height / _PIXELS)))
    for frames in (spread_out(len(video), _FOR_RANGE), range(len(video))):  # all of them if the sample knows nothing
        maps = [found for i in frames if (found := _known(depths[int(i)][0][::stride, ::stride])).size]
        if maps:
            return inverse_range(maps)
    return None


def _known(depth: np.ndarray) -> np.ndarray:
    return depth[depth > 0]


def panel_size(video: Video, width: int) -> tuple[int, int]:
    """Return width and height in px of a frame at most `width` wide; even, since players expect colour at half size."""
    wide = min(max(width, 16), video.width)
    wide -= wide % 2
    return max(wide, 2), max(2, 2 * round(wide * video.height / video.width / 2))


def depth_panel(depths: Depths, i: int, ends: Ends, size: tuple[int, int]) -> np.ndarray:
    """Return the coloured depth of frame i at `size` (width, height): (H, W, 3) uint8 RGB."""
    import cv2

    # Resized before it is coloured, and to the nearest pixel: no depths are mixed, nor colours.
    return colour_depth(cv2.resize(depths[i][0], size, interpolation=cv2.INTER_NEAREST), ends)


def frame_words(video: Video, i: int) -> str:
    """Return the frame's number in the source, and its time."""
    return f"frame {video.frame_index[i]}  {video.frame_time[i]:.2f} s"


def legend_strip(ends: Ends | None, metric: bool, width: int) -> np.ndarray:
    """Return a strip (STRIP, width, 3) uint8 RGB with the colours and the depths at their ends; dark without `ends`.

    The colours take its right half; a narrow strip has room for them alone, without numbers.
    """
    strip = np.full((STRIP, width, 3), _DARK, np.uint8)
    if ends is None:
        return strip
    unit = " m" if metric else ""
    far, near = (f"{1 / end:.3g}{unit}" if end > 0 else "inf" for end in ends)
    left, right = width // 2, width - 8
    if width >= 320:
        right -= _text(strip, near, right, "right") + 6
        left += _text(strip, far, left, "left") + 6
    if right > left:
        ramp = turbo(np.linspace(0, 255, right - left).astype(np.uint8)[None])
        strip[STRIP // 2 - 4 : STRIP // 2 + 4, left:right] = ramp
    return strip


def captioned(strip: np.ndarray, words: str) -> np.ndarray:
    """Return a copy of the strip with words at its left, if they have room."""
    strip = strip.copy()
    if strip.shape[1] >= 320:
        _text(strip, words, 8, "left")
    return strip


def _text(strip: np.ndarray, words: str, x: int, side: str) -> int:
    """Write words that begin or end at `x`; return how wide they are in px."""
    import cv2

    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    (wide, high), _ = cv2.getTextSize(words, font, size, 1)
    at = (x if side == "left" else x - wide, (STRIP + high) // 2)
    cv2.putText(strip, words, at, font, size, _LIGHT, 1, cv2.LINE_AA)
    return int(wide)
