"""Interlaced film: a frame holds two moments, its fields, in alternate lines.

Each frame stays one frame and shows the moment of its first field, whose time is the frame's time. Only the lines of
the first field are used; the other lines are interpolated between them. Neighbouring frames are not used: so a frame is
the same however it was reached, and nothing that moves is seen twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import av
import av.filter
import cv2
import numpy as np

_PROGRESSIVE = ("vp8", "vp9", "libvpx", "libvpx-vp9", "av1", "libdav1d", "libaom-av1", "gif", "png", "apng")
_BETWEEN = np.array([[-1], [9], [9], [-1]], np.float32) / 16  # a cubic through four lines, at its middle


def in_frames(stream: Any) -> bool:
    """Return whether frames flagged as interlaced hold two fields; HEVC's hold one field each."""
    return stream.codec_context.name != "hevc"


def note(stream: Any, frames: Iterable[Any]) -> str | None:
    """Return how some decoded frames are read, in a sentence; None if they are not interlaced."""
    if stream.codec_context.name in _PROGRESSIVE or not any(frame.interlaced_frame for frame in frames):
        return None
    if in_frames(stream):
        return "Frames are interlaced: each shows its first field alone, the lines of the second are interpolated."
    return "The film is stored as single fields: each field is a frame, of half the lines."


class FieldPicker:
    """Takes the first field out of each frame of one file."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[Any, ...], Any] = {}

    def first_field(self, frame: Any) -> tuple[Any, int]:
        """Return the first field as a frame of half the height, and the frame's line (0 or 1) where it begins."""
        for parity, which, part in ((0, "TOPFIRST", "top"), (1, "BOTTOMFIRST", "bottom")):
            graph = self._graph(frame, which, part)
            graph.vpush(frame)
            try:
                return graph.vpull(), parity
            except av.error.BlockingIOError:  # the frame has the other order
                continue
        raise AssertionError("an interlaced frame has a field that comes first")

    def _graph(self, frame: Any, which: str, part: str) -> Any:
        key = (frame.width, frame.height, frame.format.name, frame.time_base, which)
        if key not in self._graphs:
            graph = av.filter.Graph()
            graph.threads = 1
            form = {"width": frame.width, "height": frame.height, "format": frame.format}
            chain = [
                graph.add_buffer(**form, time_base=frame.time_base),
                graph.add("select", f"expr='eq(interlace_type,{which})'"),
                graph.add("field", f"type={part}"),
                graph.add("buffersink"),
            ]
            graph.link_nodes(*chain).configure()
            self._graphs[key] = graph
        return self._graphs[key]


def fill_lines(field: np.ndarray, parity: int, height: int) -> np.ndarray:
    """Make a picture (height, W, 3): `field` gives lines parity, parity + 2, ...; the others are interpolated."""
    out = np.empty((height, *field.shape[1:]), field.dtype)
    out[parity::2] = field
    # Line k of `between` lies between lines k and k + 1 of the field; lines beyond the edges repeat.
    between = cv2.filter2D(field, -1, _BETWEEN, anchor=(0, 1), borderType=cv2.BORDER_REPLICATE)
    if parity:
        out[0::2] = np.concatenate([field[:1], between])[: len(out[0::2])]
    else:
        out[1::2] = between[: len(out[1::2])]
    return out
