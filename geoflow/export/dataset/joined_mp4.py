"""Videos one after another in files of a limited size, without decoding them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any


class JoinedVideos:
    """Writes .mp4 files, each from several videos of one encoder and one time base."""

    def __init__(self, path_of: Callable[[int], Path], most: int) -> None:
        """Write the n-th file as `path_of(n)`, of at most `most` bytes unless a single video has more."""
        self._path_of, self._most = path_of, most
        self._number, self._size = -1, 0
        self._start = Fraction(0)  # s, where the next video begins
        self._container: Any = None
        self._stream: Any = None
        self._header = b""  # of the encoder; a file has one

    def __enter__(self) -> JoinedVideos:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            self._container.close()

    def add(self, path: Path, length: Fraction) -> tuple[int, Fraction]:
        """Append a video that takes `length` seconds; return the number of its file, and where it begins there in s."""
        import av

        size = path.stat().st_size
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            header = bytes(stream.codec_context.extradata or b"")
            if self._container is None or self._size + size > self._most or header != self._header:
                self._next_file(stream)
                self._header = header
            begins = self._start
            offset = begins / Fraction(stream.time_base)
            if offset.denominator != 1:
                raise ValueError(f"{path} does not count in ticks of {stream.time_base} s as the videos before it do")
            for packet in source.demux(stream):
                if packet.dts is None:  # the last one, which is empty
                    continue
                packet.pts, packet.dts = packet.pts + int(offset), packet.dts + int(offset)
                packet.stream = self._stream
                self._container.mux(packet)
        self._size += size
        self._start += length
        return self._number, begins

    def _next_file(self, like: Any) -> None:
        import av

        if self._container is not None:
            self._container.close()
        self._number, self._size, self._start = self._number + 1, 0, Fraction(0)
        path = self._path_of(self._number)
        path.parent.mkdir(parents=True, exist_ok=True)
        clock = {"video_track_timescale": str(Fraction(like.time_base).denominator)}
        self._container = av.open(str(path), "w", format="mp4", options=clock)
        self._stream = self._container.add_stream_from_template(like)
        self._stream.time_base = like.time_base
