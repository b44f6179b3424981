"""Where a source lies: local files, frame folders, and URIs fetched into a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import numpy as np

from geoflow.errors import InputError

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".flv", ".f4v", ".wmv", ".asf", ".ogv",
    ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".vob", ".mxf", ".y4m", ".gif", ".dv", ".ivf", ".mjpeg", ".mjpg",
    ".h264", ".264", ".h265", ".265", ".hevc",
})
# fmt: on
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
FOLDER_FPS = 30.0  # pictures carry no times; --fps says better
CACHE_BYTES = 64 << 30  # fetched files beyond this make room for new ones, oldest use first


@dataclass(frozen=True)
class SourceIndex:
    """Every frame of a source, in display order.

    `pts` (F,) int64 is in the stream's time base, or -1 throughout where frames can only be counted (frame folders,
    streams without time stamps); `time` (F,) float64 is in seconds and starts at 0. Sizes are as displayed.
    """

    sha256: str
    pts: np.ndarray
    time: np.ndarray
    height: int
    width: int
    rotation: int = 0


def is_uri(source: str) -> bool:
    """Whether `source` names something to be opened through fsspec."""
    return "://" in source


def local_path(source: str) -> str:
    """The local file or folder of `source`; anything remote is fetched once per node.

    `file://` is resolved, other URIs land in `$GEOFLOW_CACHE` (default: a private folder in the temporary one).

    Raises InputError when the URI cannot be fetched.
    """
    if not is_uri(source):
        return os.path.abspath(source)
    parts = urlsplit(source)
    if parts.scheme == "file":
        return os.path.abspath(unquote(parts.path))
    return _fetch(source, os.path.basename(unquote(parts.path)) or "video")


def _fetch(uri: str, basename: str) -> str:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(uri)
        if fs.isdir(path):
            raise InputError(f"{uri} is a folder; give a file or a pattern such as {uri.rstrip('/')}/*.mp4")
        # The key changes with the remote file (ukey: size, date or tag), so a stale copy is never read.
        key = hashlib.sha256(f"{uri}\0{fs.ukey(path)}".encode()).hexdigest()[:32]
        folder = _cache_folder()
        target = os.path.join(folder, f"{key}{os.path.splitext(basename)[1][:16]}")
        if os.path.exists(target):
            os.utime(target)
            return target
        handle, part = tempfile.mkstemp(dir=folder, prefix="fetching-")
        os.close(handle)
        try:
            fs.get_file(path, part)
            os.replace(part, target)  # another actor may have been as fast: both copies are the same
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{uri}: {error}; install that package on every node, or copy the file first") from None
    except Exception as error:  # each file system has its own exceptions
        raise InputError(
            f"{uri} cannot be fetched ({type(error).__name__}: {error}); check address and rights"
        ) from None
    _make_room(folder, keep=target)
    return target


def _cache_folder() -> str:
    folder = os.environ.get("GEOFLOW_CACHE")
    if folder is None:
        # /tmp is shared: the folder must be ours alone, or someone else could place files in it.
        folder = os.path.join(tempfile.gettempdir(), f"geoflow-{os.getuid()}")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if os.lstat(folder).st_uid != os.getuid():
            raise InputError(f"{folder} belongs to another user; set GEOFLOW_CACHE to a folder of your own")
    os.makedirs(folder, exist_ok=True)
    return folder


def _make_room(folder: str, keep: str) -> None:
    """Drop the files that were used longest ago while the cache is over CACHE_BYTES."""
    entries = sorted((e for e in os.scandir(folder) if e.is_file()), key=lambda e: e.stat().st_mtime)
    total = sum(e.stat().st_size for e in entries)
    for entry in entries:
        if total <= CACHE_BYTES:
            return
        if entry.path != keep and not entry.name.startswith("fetching-"):
            total -= entry.stat().st_size
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)


def check_readable(path: str) -> None:
    """Raise InputError unless `path` is a folder, or a regular file with content that this user may read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)
            return
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is neither a file nor a folder; give a video file or a folder of frames")
        with open(path, "rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty (0 bytes); copy or record it again")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise InputError(f"{path} may not be read by this user; allow it with: chmod +r") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and the disk") from None


def file_sha256(path: str) -> str:
    """SHA-256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def natural_key(name: str) -> tuple[object, ...]:
    """Sort key that counts: `frame2` before `frame10`.

    >>> sorted(["f10.png", "f2.png", "F1.png"], key=natural_key)
    ['F1.png', 'f2.png', 'f10.png']
    """
    pieces = re.split(r"(\d+)", name.casefold())
    return (*[(int(piece), "") if k % 2 else (-1, piece) for k, piece in enumerate(pieces)], (-2, name))


def suffix_of(path: str) -> str:
    """The lower-case suffix with its dot, or an empty string."""
    return os.path.splitext(path)[1].lower()


def list_images(folder: str) -> list[str]:
    """The pictures of a folder in natural order, as full paths; hidden files (macOS leaves `._x.png`) do not count."""
    names = [n for n in os.listdir(folder) if suffix_of(n) in IMAGE_SUFFIXES and not n.startswith(".")]
    return [os.path.join(folder, name) for name in sorted(names, key=natural_key)]
