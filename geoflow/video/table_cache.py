"""A cache of frame tables by the content of their file, so that each machine decodes a film only once to list it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from geoflow.files.resources import cache_folder
from geoflow.video.frame_table import FrameTable, list_frames

_KEPT = 256  # tables; the table of an hour at 30 frames per second takes about 1 MB
_VERSION = 2  # raise it when tables change


@lru_cache(maxsize=4)
def frame_table(path: str, sha256: str, stream_number: int | None = None) -> FrameTable:
    """Return the table of a stream of the file at `path`, whose content is `sha256`; make it if not in the cache.

    Raises InputError if a frame cannot be decoded.
    """
    # Another version of FFmpeg may decode otherwise, so it has its own tables.
    made_by = hashlib.sha256(f"{_VERSION} {av.ffmpeg_version_info}".encode()).hexdigest()[:8]
    number = "" if stream_number is None else f"-{stream_number}"
    place = cache_folder() / "frames" / f"{sha256[:40]}-{made_by}{number}.npz"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # without a writable cache only time is lost
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(place.parent / f"{sha256[:1]}.lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)  # one actor makes it, the others wait
        table = _load(place)
        if table is None:
            table = list_frames(path, stream_number)
            with contextlib.suppress(OSError):
                _keep(place, table)
    return table


def _load(place: Path) -> FrameTable | None:
    try:
        with np.load(place, allow_pickle=False) as arrays:
            table = FrameTable(arrays["stamps"], arrays["seek"], int(arrays["left_out"]))
        os.utime(place)
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception as error:  # zipfile and zlib have their own errors for a damaged file
        if type(error).__module__ not in ("zipfile", "zlib"):
            raise
        return None
    return table


def _keep(place: Path, table: FrameTable) -> None:
    draft = place.with_suffix(f".{os.getpid()}.part")
    with open(draft, "wb") as file:
        np.savez_compressed(file, stamps=table.stamps, seek=table.seek, left_out=table.left_out)
    os.replace(draft, place)
    old = sorted(place.parent.glob("*.npz"), key=lambda path: path.stat().st_mtime)[:-_KEPT]
    for path in old:
        path.unlink(missing_ok=True)
