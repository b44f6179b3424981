"""FFmpeg's decoder through PyAV: every frame that the packets give, and whether the frame is sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av
from av.video.frame import PictureType

# Decoders that build on grey pictures when the key frame is missing, and do not report it; others wait for a key frame.
_BUILD_ON_GREY = {"mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "h263", "h263p"}
_BUILD_ON_GREY |= {"flv1", "mpeg1video", "mpeg2video", "rv10", "rv20", "svq1"}
_SINGLE_PICTURES = {"png", "tiff", "bmp", "webp", "targa", "sgi"}  # FFmpeg does not list them as intra-only


def configure(stream: Any, threads: int) -> None:
    """Let a stream's decoder use this many threads."""
    stream.codec_context.thread_count = max(1, threads)
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"


def decoded(container: Any, stream: Any, packets: Iterable[Any] | None = None) -> Iterator[tuple[Any, bool]]:
    """Yield every frame that can be decoded from here on, in display order, and whether the frame is sound.

    `packets` are the stream's packets from here on (default: those of the container). Decoders patch damage with what
    they have and build later frames on it: after damage no frame is sound until the next key frame. If a stream does
    not begin with a key frame (some broadcasts have none), an intra picture is as good. Callers must notice missing
    frames.
    """
    failed = begun = fed = False
    builds_on_grey = stream.codec_context.codec.canonical_name in _BUILD_ON_GREY
    coming = iter(container.demux(stream) if packets is None else packets)
    while True:
        try:
            packet = next(coming, None)
        except (av.error.FFmpegError, OSError):
            return  # the file ends here inside a packet
        if packet is None:
            return
        if not fed and packet.size:
            fed, failed = True, builds_on_grey and not packet.is_keyframe
        # FFmpeg sets this flag for gaps in a transport's numbering. They are judged when a file is listed, since pieces
        # may have been joined there. Here only damage that the decoder finds counts.
        packet.is_corrupt = False
        try:
            frames: Sequence[Any] = packet.decode()
        except av.error.FFmpegError:
            failed = True
            continue
        for frame in frames:
            if frame.key_frame or (not begun and frame.pict_type == PictureType.I):
                failed = False
            failed = failed or bool(frame.is_corrupt)
            begun = begun or not failed
            yield frame, not failed


class Beginning:
    """Watches packets and frames up to the first sound frame, to decide whether the film begins with this frame.

    A recording that starts between key frames has packets, and maybe patched frames, before its first key frame; they
    can never be shown. But a key frame that does not decode to a sound frame is damage. Marks rise with time: they are
    time stamps, or numbers of packets.
    """

    def __init__(self, stream: Any) -> None:
        codec = stream.codec_context.codec
        self._intra_only = bool(codec.intra_only) or codec.canonical_name in _SINGLE_PICTURES
        self._first_key: int | None = None
        self._patched = False

    def packets(self, packets: Iterable[Any], mark: Callable[[Any], int | None]) -> Iterator[Any]:
        """Pass packets on; `mark` returns the mark of a packet."""
        for packet in packets:
            if self._first_key is None and packet.size and packet.is_keyframe and not packet.is_discard:
                self._first_key = mark(packet)
            yield packet

    def patched(self, mark: int | None) -> None:
        """Note a frame that is not sound."""
        self._patched |= mark is not None and self._first_key is not None and mark >= self._first_key

    def is_damaged(self, mark: int | None) -> bool:
        """Return whether the first sound frame, with this mark, comes after a key frame that failed."""
        if mark is None or self._first_key is None:
            return False
        return self._first_key < mark and (self._patched or self._intra_only)
