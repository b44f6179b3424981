"""Video files through PyAV: open them, and list their frames from packets."""

from __future__ import annotations

import os
from typing import Any

import av
import av.container
import numpy as np

from geoflow.errors import InputError
from geoflow.video.agreement import Agreement
from geoflow.video.bitstream import PacketReader
from geoflow.video.decoder import configure
from geoflow.video.streams import choose_stream

# A file is data, never a script: playlists (hls, concat, dash) could make FFmpeg open other files or addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,mpeg,mpegts,mpegtsraw,mpegvideo,ogg,mxf,mxf_opatom,"
    "yuv4mpegpipe,gif,dv,h264,hevc,av1,obu,ivf,m4v,mjpeg,mjpeg_2000,nut,rm,wtv,nsv,r3d,vc1,apng,"
    "mp3,wav,flac,aac,ac3,aiff,amr,w64"
)
_BARE = {"h264", "hevc", "m4v", "mpegvideo", "mjpeg", "mjpeg_2000", "obu", "vc1"}  # streams without a container
_MOST_REORDER = 16  # frames that a decoder may hold back (H.264, level limits)
_BEFORE_JOINT = 2  # packets before a key frame that may be marked for a gap there: parsers mark one too early
_NOTICE_LOSS = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}  # decoders that say when a picture lacks a part
DAMAGED = "copy or record it again; to keep what is left of it: ffmpeg -i IN -c:v libx264 OUT.mp4"


def open_video(path: str, stream: int | None = None) -> tuple[Any, Any]:
    """Open a video file; return the container and its video stream, see `choose_stream`. The caller closes the
    container.

    Raises InputError if the file is not a video, holds no such video stream, or needs a decoder that is missing.
    """
    try:
        container = av.open(path, options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"})
    except PermissionError:
        raise InputError(f"{path} may not be read by this user; allow it with: chmod +r FILE") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).strip()
        raise InputError(f"{path} is not a video that can be read ({reason}); check it with: ffprobe FILE") from None
    try:
        return container, choose_stream(container, path, stream)
    except InputError:
        container.close()
        raise


def packet_stamps(container: Any, stream: Any, path: str) -> tuple[np.ndarray | None, np.ndarray, tuple[str, ...]]:
    """Return the stamps of all frames and of damaged ones, both sorted (F,) int64 in the time base, and remarks.

    The first is None if packets do not tell which frames there are: a packet holds no frame or several, or its stamp is
    missing, repeated or out of order. Raises InputError if the file ends before its container says.
    """
    stamps: list[int] = []
    gaps = _Gaps(stream)
    telling, end = not _counts_in_storage_order(container, stream), 0.0
    reader, agreement = PacketReader(stream), Agreement(stream, os.path.getsize(path))
    configure(stream, 1)
    try:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index or not packet.size:
                continue
            shown = 0 if packet.is_discard else reader.shown(packet)
            telling = telling and shown in (0, 1) and (packet.pts is not None or not shown)
            if telling:
                agreement.see(packet, bool(shown))
            gaps.see(packet, matters=shown != 0)
            if packet.pts is not None and shown:
                stamps.append(packet.pts)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path} is damaged after {end:.2f} s ({error.strerror}); {DAMAGED}") from None
    agreement.close()
    remarks = (*_check_end(container, stream, end, path), *gaps.remarks())
    pts = np.array(stamps, np.int64)
    telling = telling and agreement.holds and _in_order(pts, stream.codec_context.has_b_frames)
    return (np.sort(pts) if telling else None), gaps.damaged(), remarks


class _Gaps:
    """Gaps in the packet numbers of a transport stream.

    Gaps are damage, except right before a key frame, where pieces are joined. There nothing later needs what may be
    missing, and the decoder says whether the last picture is whole.
    """

    def __init__(self, stream: Any) -> None:
        self._notices_loss = stream.codec_context.codec.canonical_name in _NOTICE_LOSS
        self._damaged: list[int] = []
        self._joints = 0
        self._doubtful: list[list[int]] = []  # stamps of marked packets, and how many packets ago they came

    def see(self, packet: Any, *, matters: bool) -> None:
        """Take the next packet of the stream. `matters` is False if the packet shows nothing."""
        if packet.is_keyframe and self._notices_loss:
            self._joints += bool(self._doubtful)
            self._doubtful = []
        for row in self._doubtful:
            row[1] += 1
        self._damaged += [stamp for stamp, ago in self._doubtful if ago > _BEFORE_JOINT]
        self._doubtful = [row for row in self._doubtful if row[1] <= _BEFORE_JOINT]
        if packet.is_corrupt and matters:
            stamp = packet.dts if packet.pts is None else packet.pts
            self._doubtful.append([stamp or 0, 1])

    def damaged(self) -> np.ndarray:
        """Return the stamps of damaged frames, sorted, (F,) int64. Call this after the last packet."""
        return np.array(sorted(self._damaged + [stamp for stamp, _ in self._doubtful]), np.int64)

    def remarks(self) -> tuple[str, ...]:
        if not self._joints:
            return ()
        where = f"{self._joints} key frame" + "s" * (self._joints > 1)
        return (
            f"The packet numbers have a gap before {where}: the file was joined from pieces, or pictures are "
            "missing there.",
        )


def _counts_in_storage_order(container: Any, stream: Any) -> bool:
    """Return whether packets are numbered as they are stored.

    AVI does so; with B-frames that is not the display order.
    """
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _in_order(pts: np.ndarray, reordered: bool) -> bool:
    """Return whether every stamp is there once, and no farther from its place than a decoder holds frames back."""
    order = np.argsort(pts, kind="stable")
    off = np.abs(order - np.arange(len(pts))).max(initial=0)
    return bool((np.diff(pts[order]) > 0).all() and off <= (_MOST_REORDER if reordered else 0))


def _check_end(container: Any, stream: Any, end: float, path: str) -> tuple[str, ...]:
    """Raise InputError if the container's index goes beyond the end; return a remark if its duration does."""
    name = container.format.name
    if "mp4" in name or name == "avi":
        size = os.path.getsize(path)
        entries = stream.index_entries
        beyond = sum(1 for entry in entries if entry.pos + entry.size > size)
        if beyond:
            raise InputError(f"{path} is cut off: {beyond} of its {len(entries)} frames lie beyond its end; {DAMAGED}")
    elif container.duration and ("matroska" in name or name == "flv"):
        promised = container.duration / 1e6  # AV_TIME_BASE: microseconds
        if promised - end > max(0.25, 0.01 * promised):  # headers round, and streams end at different times
            return (f"The file's header says that it lasts {promised:.1f} s; its frames last {end:.1f} s.",)
    return ()


def carries_times(container: Any) -> bool:
    """Return whether this kind of file has time stamps; for bare bit streams FFmpeg invents them."""
    return container.format.name not in _BARE
