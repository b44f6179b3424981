"""FFmpeg's decoder through PyAV: every frame that packets give, and whether it is sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import av


def configure(stream: Any, threads: int) -> None:
    """Let a stream's decoder use so many threads."""
    stream.codec_context.thread_count = max(1, threads)
    if threads > 1:
        stream.codec_context.thread_type = "AUTO"


def decoded(container: Any, stream: Any, packets: Iterable[Any] | None = None) -> Iterator[tuple[Any, bool]]:
    """Every frame that can be decoded from here on, in display order, and whether it is sound.

    `packets` are the stream's from here on (default: those that the container gives). Decoders patch damage with what
    they have: after an error nothing is sound until the next key frame. Callers must notice what is left out.
    """
    failed = False
    coming = iter(container.demux(stream) if packets is None else packets)
    while True:
        try:
            packet = next(coming, None)
        except (av.error.FFmpegError, OSError):
            return  # the file ends here in the middle of something
        if packet is None:
            return
        try:
            frames: Sequence[Any] = packet.decode()
        except av.error.FFmpegError:
            failed = True
            continue
        for frame in frames:
            failed = failed and not frame.key_frame
            yield frame, not (failed or frame.is_corrupt)
