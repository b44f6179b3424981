"""Video files through PyAV: opening them, and which frames there are."""

from __future__ import annotations

import os
from typing import Any

import av
import av.container
import numpy as np

from geoflow.errors import InputError
from geoflow.video.streams import choose_stream

# A file is data, never a script: playlists (hls, concat, dash) could make FFmpeg open other files or addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,live_flv,asf,mpeg,mpegts,mpegtsraw,mpegvideo,ogg,mxf,mxf_opatom,"
    "yuv4mpegpipe,gif,dv,h264,hevc,av1,obu,ivf,m4v,mjpeg,mjpeg_2000,nut,rm,wtv,nsv,r3d,vc1,apng,"
    "mp3,wav,flac,aac,ac3,aiff,amr,w64"
)
DAMAGED = "copy or record it again; to keep what is left of it: ffmpeg -i IN -c:v libx264 OUT.mp4"


def open_video(path: str, stream: int | None = None) -> tuple[Any, Any]:
    """The open container and its video stream, see `choose_stream`; the caller closes the container.

    Raises InputError for what is no video, holds no such video stream, or needs a decoder that is not there.
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


def packet_stamps(container: Any, stream: Any, path: str) -> tuple[np.ndarray | None, np.ndarray]:
    """Time stamps of every frame, sorted, and of the damaged ones: both (F,) int64 in the stream's time base.

    The first is None where packets carry no usable stamps: none at all, doubles, or the order of storage instead of
    that of display. Raises InputError when the file ends before its container says.
    """
    stamps: list[int] = []
    damaged: list[int] = []
    complete, end = not _counts_in_storage_order(container, stream), 0.0
    try:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index or not packet.size or packet.is_discard or _hidden(packet, stream):
                continue
            if packet.pts is None:
                complete = False
                continue
            stamps.append(packet.pts)
            if packet.is_corrupt:
                damaged.append(packet.pts)
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path} is damaged after {end:.2f} s ({error.strerror}); {DAMAGED}") from None
    _check_end(container, stream, end, path)
    pts = np.unique(np.array(stamps, np.int64))
    return (pts if complete and len(pts) == len(stamps) else None), np.array(sorted(damaged), np.int64)


def _hidden(packet: Any, stream: Any) -> bool:
    """VP8 sends reference pictures that are never shown as packets of their own (RFC 6386, section 9.1)."""
    return stream.codec_context.name in ("vp8", "libvpx") and not memoryview(packet)[0] & 0x10


def _counts_in_storage_order(container: Any, stream: Any) -> bool:
    """AVI numbers packets as they are stored; with B-frames that is not the order of display."""
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _check_end(container: Any, stream: Any, end: float, path: str) -> None:
    """Raise InputError when the container's own index or duration goes on after the last packet."""
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
            raise InputError(f"{path} is cut off: it should last {promised:.1f} s but ends at {end:.1f} s; {DAMAGED}")
