"""A check whether packets tell which frames there are: in a few stretches, packets and decoded frames are compared."""

from __future__ import annotations

from typing import Any

import av

_STRETCHES = 8  # spread over the file
_PACKETS = 32  # decoded in each stretch: 256 altogether, which takes a second or two for large pictures


class Agreement:
    """Compares the packets of a video stream with its frames.

    `holds`: every packet gave the frame that its stamp promised.
    """

    def __init__(self, stream: Any, num_bytes: int) -> None:
        self._decoder = stream.codec_context
        self._step, self._next = num_bytes / _STRETCHES, 0.0
        self._open = self._failed = False
        self._promised: list[int] = []
        self._given: list[int] = []
        self._seen = 0
        self.holds = True

    def see(self, packet: Any, promises: bool) -> None:
        """Take the next packet. `promises` is True if the packet promises a frame at its time stamp."""
        if not self._open:
            if not self.holds or not packet.is_keyframe or (packet.pos or 0) < self._next:
                return
            self._open, self._failed, self._seen = True, False, 0
            self._promised, self._given = [], []
            self._next = packet.pos + self._step if packet.pos and packet.pos > 0 else self._step
        self._promised += [packet.pts] if promises else []
        self._decode(packet)
        self._seen += 1
        if self._seen == _PACKETS:
            self.close()

    def close(self) -> None:
        """End the stretch: get the frames that the decoder still holds back, and compare."""
        if not self._open:
            return
        self._open = False
        self._decode(None)
        self._decoder.flush_buffers()
        if self._failed or not self._promised:  # damage is reported when the frame is read
            return
        first = self._promised[0]  # pictures shown before the key frame may need earlier packets
        promised = sorted(stamp for stamp in self._promised if stamp >= first)
        self.holds = promised == [stamp for stamp in self._given if stamp >= first]

    def _decode(self, packet: Any | None) -> None:
        try:
            for frame in self._decoder.decode(packet):
                if frame.pts is None or frame.is_corrupt:
                    self._failed = True
                else:
                    self._given.append(frame.pts)
        except av.error.FFmpegError:
            self._failed = True
