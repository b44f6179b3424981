"""Local copies of remote videos: fetched once by each node that reads them, with a limit on the disk space.

A copy's name holds a hash of its address, of the version that the other side states, and its own SHA-256. So neither an
outdated copy nor a copy of other content is ever read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from geoflow.errors import GeoFlowError, InputError, SourceChanged, StoreError
from geoflow.files import locations, resources
from geoflow.files.hashing import file_sha256

CACHE_BYTES = 64 << 30  # beyond this, or beyond half the disk, the copies used longest ago are deleted
_FETCHING = "fetching-"
_STALE_S = 3600.0  # a fetch that has written nothing for this time was killed


def local_path(source: str, sha256: str = "") -> str:
    """Return the local file or folder of `source`. A remote source is fetched once per node, see `fetched`.

    Raises InputError if the URI cannot be fetched, or its content is not that of `sha256`.
    """
    if not locations.is_remote(source):
        return os.path.abspath(locations.local(source))
    return fetched(source, sha256)


def fetched(uri: str, sha256: str = "") -> str:
    """Return the path of a local copy, fetched if necessary; with `sha256`, of exactly that content.

    Raises InputError if there is no such file, it cannot be fetched, there is no room, or its content is different.
    """
    try:
        found = locations.stat(uri)
        if found is None and not locations.is_web(uri) and locations.is_folder(uri):
            raise InputError(f"{uri} is a folder; give a file or a pattern such as {uri.rstrip('/')}/*.mp4")
        if found is None:
            raise InputError(f"{uri} cannot be fetched: there is no such file; check the address")
        folder = _folder()
        key = f"{_hash(uri)}-{_hash(found.version)}"
        with _alone(folder, key):
            path = _copy(folder, key) or _fetch(uri, folder, key, found.size)
            os.utime(path)
    except StoreError as error:
        raise InputError(f"{uri} cannot be fetched: {error}") from error
    except OSError as error:
        raise InputError(f"{uri} cannot be kept in {error.filename or 'the cache'}: {error.strerror}") from error
    if sha256 and not path.name.startswith(f"{key}-{sha256[:24]}"):
        raise SourceChanged(f"{uri} has changed: it was replaced or written to since it was first read; run again")
    return str(path)


def forget(uris: Iterable[str]) -> None:
    """Delete the local copies of these addresses."""
    with contextlib.suppress(OSError, GeoFlowError):
        wanted = {_hash(uri) for uri in uris}
        for path in _folder().iterdir():
            if path.name.partition("-")[0] in wanted:
                _delete(path)


def _folder() -> Path:
    folder = resources.cache_folder() / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fetch(uri: str, folder: Path, key: str, size: int) -> Path:
    _make_room(folder, size)
    draft = folder / f"{_FETCHING}{key}"
    try:
        locations.fetch(uri, draft)
        suffix = os.path.splitext(locations.basename(uri))[1][:16]
        path = folder / f"{key}-{file_sha256(str(draft))[:24]}{suffix}"
        os.replace(draft, path)
    except FileNotFoundError:
        raise InputError(f"{uri} cannot be fetched: it was removed meanwhile; check the address") from None
    finally:
        _delete(draft)
    for old in folder.glob(f"{_hash(uri)}-*"):
        if old != path:
            _delete(old)
    return path


def _copy(folder: Path, key: str) -> Path | None:
    return next(folder.glob(f"{key}-*"), None)


def _make_room(folder: Path, size: int) -> None:
    """Delete the copies that were used longest ago, until another copy of `size` bytes fits."""
    entries = sorted((e.stat().st_mtime, e.stat().st_size, Path(e.path)) for e in os.scandir(folder) if e.is_file())
    total = sum(row[1] for row in entries)
    most = min(CACHE_BYTES, (shutil.disk_usage(folder).free + total) // 2)
    for used, held, path in entries:
        if total + size <= most:
            break
        if path.name.startswith(_FETCHING) and abs(time.time() - used) < _STALE_S:
            continue
        total -= held
        _delete(path)
    if size > (free := shutil.disk_usage(folder).free):
        raise InputError(
            f"a copy takes {size / 2**20:,.0f} MiB, but {folder} has {free / 2**20:,.0f} MiB free; "
            "set GEOFLOW_CACHE to a folder on a larger disk"
        )


@contextlib.contextmanager
def _alone(folder: Path, key: str) -> Iterator[None]:
    """Lock one copy.

    Several actors of a node want the same video at the same time: one fetches it and the others wait.
    """
    with open(folder.parent / f"inputs-{key[0]}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
