"""The frames of a long range of a video, some at a time, each decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from geoflow.segments import Span
from geoflow.video import frame_reader
from geoflow.video.cursor import Cursors

PIECE = 64  # frames: in colour, a whole chapter would take more memory than all else


def read_pieces(
    span: Span, probed: Mapping[str, np.ndarray], *, masks: bool, threads: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """Yield `frames.rgb` (T, H, W, 3) uint8 and `frames.index` (T,) int64 of the span's frames, T at most PIECE.

    `probed` holds `video.index`, `video.pts` and, where there is one, `video.seek` of the whole video. With `masks`
    there is also `frames.mask` (T, H, W) bool if the user gave any. Raises InputError that names file and frame.
    """
    video, index, cursors = span.video, probed["video.index"], Cursors()
    try:
        for start in range(span.start, span.stop, PIECE):
            stop = min(span.stop, start + PIECE)
            rgb = frame_reader.read_frames(
                video,
                index,
                probed["video.pts"],
                start,
                stop,
                seek=probed.get("video.seek"),
                threads=threads,
                cursors=cursors,
                share=None if stop == span.stop else 0,
            )
            piece = {"frames.rgb": rgb, "frames.index": index[start:stop]}
            if masks and video.masks is not None:
                piece["frames.mask"] = frame_reader.read_masks(video, index, start, stop)
            yield piece
    finally:
        cursors.close()
