"""FFmpeg's decoder through PyAV: every frame that packets give, and whether it is sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av
from av.video.frame import PictureType

# Decoders that build on grey where the key frame before is missing, and say nothing; others wait for one.
_BUILD_ON_GREY = {"mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3", "vc1", "h263", "h263p"}
_BUILD_ON_GREY |= {"flv1", "mpeg1video", "mpeg2video", "rv10", "rv20", "svq1"}
_SINGLE_PICTURES = {"png", "tiff", "bmp", "webp", "targa", "sgi"}  # FFmpeg does not list them as intra-only


def configure(stream: Any, threads: int) -> None:
    """Let a stream's decoder use so many threads."""
    stream.codec_context.thread_count = max(1, threads)
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"


def decoded(container: Any, stream: Any, packets: Iterable[Any] | None = None) -> Iterator[tuple[Any, bool]]:
    """Every frame that can be decoded from here on, in display order, and whether it is sound.

    `packets` are the stream's from here on (default: those that the container gives). Decoders patch damage with what
    they have, and build later frames on it: after damage nothing is sound until the next key frame. Where a stream does
    not begin with one (broadcasts without any), an intra picture is as good. Callers must notice what is left out.
    """
    failed = begun = fed = False
    builds_on_grey = stream.codec_context.codec.canonical_name in _BUILD_ON_GREY
    coming = iter(container.demux(stream) if packets is None else packets)
    while True:
        try:
            packet = next(coming, None)
        except (av.error.FFmpegError, OSError):
            return  # the file ends here in the middle of something
        if packet is None:
            return
        if not fed and packet.size:
            fed, failed = True, builds_on_grey and not packet.is_keyframe
        # Gaps in a transport's numbering, which this says, are judged when a file is listed: they may lie between
        # pieces that were joined. Here counts what the decoder finds.
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
    """Watches a stream's packets, and its frames up to the first sound one: is that where the film begins?

    A recording that starts between key frames has packets, and maybe patched frames, before its first key frame; they
    can never be shown. But a key frame that does not come out sound is damage. Marks rise with time: stamps, or numbers
    of packets.
    """

    def __init__(self, stream: Any) -> None:
        codec = stream.codec_context.codec
        self._intra_only = bool(codec.intra_only) or codec.canonical_name in _SINGLE_PICTURES
        self._first_key: int | None = None
        self._patched = False

    def packets(self, packets: Iterable[Any], mark: Callable[[Any], int | None]) -> Iterator[Any]:
        """Pass packets on; `mark` gives that of one."""
        for packet in packets:
            if self._first_key is None and packet.size and packet.is_keyframe and not packet.is_discard:
                self._first_key = mark(packet)
            yield packet

    def patched(self, mark: int | None) -> None:
        """Take note of a frame that is not sound."""
        self._patched |= mark is not None and self._first_key is not None and mark >= self._first_key

    def is_damaged(self, mark: int | None) -> bool:
        """Whether the first sound frame, of this mark, comes after a key frame that should have been the first."""
        if mark is None or self._first_key is None:
            return False
        return self._first_key < mark and (self._patched or self._intra_only)
