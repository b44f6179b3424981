"""Remote files; the only module that uses fsspec. An address is a URI such as `s3://bucket/folder/clip.mp4`.

Credentials and endpoints come from the file systems' own configuration (environment variables, `~/.aws`,
`~/.config/fsspec`); none pass through GeoFlow.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from geoflow.errors import ConfigError, GeoFlowError, InputError, StoreError

# By their documentation, a file in these stores is visible only when its upload is complete. In other stores a file is
# uploaded under another name and then renamed.
_WHOLE_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"})
_WAITS_S = (2.0, 8.0, 30.0)  # between tries; the file systems themselves have tried before
_FINAL = (PermissionError, FileNotFoundError, IsADirectoryError, NotADirectoryError)  # trying again does not help
_FINAL_ERRNOS = {errno.ENAMETOOLONG, errno.EPERM, errno.EACCES, errno.ENOSYS}

# Answers of S3-like servers that do not support writing only if the file does not exist yet.
_NO_CONDITIONS = ("NotImplemented", "not implemented", "IfNoneMatch")

_PIECE, _PIECES = 16 << 20, 9000  # bytes of an upload's pieces, and their largest number: S3 allows 10,000

T = TypeVar("T")


@dataclass(frozen=True)
class Stat:
    """What is known of a file: its size, when it was changed (s since the epoch; 0 unknown), and its version."""

    size: int
    modified: float
    version: str


def is_uri(source: str) -> bool:
    """Return whether `source` is a URI, which is opened through fsspec."""
    return "://" in source


def is_remote(source: str | os.PathLike[str]) -> bool:
    """Return whether `source` is a URI of a remote place; `file://` is another way to write a local path."""
    return is_uri(os.fspath(source)) and scheme(os.fspath(source)) != "file"


def local(source: str | os.PathLike[str]) -> Path:
    """Return the path that a path or a `file://` URI names."""
    text = os.fspath(source)
    return Path(unquote(urlsplit(text).path)) if is_uri(text) else Path(text)


def scheme(uri: str) -> str:
    return uri.partition("://")[0].rpartition("::")[2].lower()


def is_web(uri: str) -> bool:
    """Return whether `uri` is a web address: it can be read, but not listed or written, and may contain ? and *."""
    return scheme(uri) in ("http", "https")


def join(uri: str, *names: str) -> str:
    return "/".join([uri.rstrip("/"), *names])


def path_of(uri: str) -> str:
    """Return the path of a URI in its file system; it is the same for all spellings of the URI. Raises ConfigError."""
    return _open(uri)[1].rstrip("/")


def basename(uri: str) -> str:
    return os.path.basename(unquote(urlsplit(uri).path).rstrip("/"))


def require_packages(uris: Iterable[str]) -> None:
    """Raise ConfigError that names the package to install, if this machine cannot use one of these file systems."""
    for uri in {scheme(uri): uri for uri in uris if is_remote(uri)}.values():
        with contextlib.suppress(ValueError):  # an unknown scheme is reported where the URI is used
            _class_for(uri)


def exists(uri: str) -> bool:
    return stat(uri) is not None


def stat(uri: str) -> Stat | None:
    """Look a file up; None if it does not exist or is a folder.

    Raises StoreError if the place cannot be reached, ConfigError if a package for it is missing.
    """

    def ask() -> Stat | None:
        fs, path = _open(uri)
        fs.invalidate_cache()  # other machines write, too
        try:
            info = fs.info(path)
        except FileNotFoundError:
            return None
        if info.get("type") == "directory":
            return None
        version = (fs.ukey(path), info.get("size"), info.get("ETag"), info.get("Last-Modified"), _modified(info))
        return Stat(int(info.get("size") or 0), _modified(info), repr(version))

    with _told(StoreError, f"cannot look at {uri}"):
        return _patiently(ask)


def is_folder(uri: str) -> bool:
    """Return whether `uri` is a folder. Raises InputError if the place cannot be reached."""
    with _told(InputError, "cannot be listed"):
        fs, path = _open(uri)
        return bool(fs.isdir(path))


def listing(uri: str) -> list[str]:
    """Return the URIs of what lies directly in a folder; [] if the folder does not exist. Raises StoreError."""

    def ask() -> list[str]:
        fs, path = _open(uri)
        fs.invalidate_cache()
        try:
            found = fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return [fs.unstrip_protocol(name) for name in found if name.rstrip("/") != path.rstrip("/")]

    with _told(StoreError, f"cannot list {uri}"):
        return _patiently(ask)


def matching(pattern: str) -> list[str]:
    """Return the URIs that match a pattern. Raises InputError."""
    with _told(InputError, "cannot be listed"):
        fs, path = _open(pattern)
        return [fs.unstrip_protocol(name) for name in fs.glob(path)]


def read(uri: str, start: int, stop: int) -> bytes:
    """Read bytes [start, stop) of a file. Raises OSError, which HDF5 can pass on."""

    def ask() -> bytes:
        fs, path = _open(uri)
        return bytes(fs.cat_file(path, start=start, end=stop))

    try:
        return _patiently(ask)
    except Exception as error:  # each file system has its own exceptions
        raise OSError(f"{uri} cannot be read: {_reason(error)}") from error


def content(uri: str) -> bytes | None:
    """Read a small file; None if it does not exist. Raises StoreError."""

    def ask() -> bytes | None:
        fs, path = _open(uri)
        fs.invalidate_cache()
        try:
            return bytes(fs.cat_file(path))
        except FileNotFoundError:
            return None

    with _told(StoreError, f"cannot read {uri}"):
        return _patiently(ask)


def create(uri: str, data: bytes) -> bool:
    """Write a small file if there is none of this name; return whether it was written. Raises StoreError.

    If several machines try at the same time, the stores of S3, Google and Azure let only one of them write. For other
    stores this is not certain: look a moment later whose file it is.
    """

    def make() -> bool:
        fs, path = _open(uri)
        fs.invalidate_cache()
        if scheme(uri) not in _WHOLE_AT_ONCE:
            fs.makedirs(fs._parent(path), exist_ok=True)
        try:
            fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError):  # not supported
            if fs.exists(path):
                return False
            fs.pipe_file(path, data)
        except OSError as error:
            if not any(word in str(error) for word in _NO_CONDITIONS):
                raise
            if fs.exists(path):
                return False
            fs.pipe_file(path, data)
        return True

    with _told(StoreError, f"cannot write {uri}"):
        return _patiently(make)


def write(uri: str, data: bytes) -> None:
    """Write a small file, with a single try. Raises StoreError."""
    with _told(StoreError, f"cannot write {uri}"):
        fs, path = _open(uri)
        fs.pipe_file(path, data)


def fetch(uri: str, target: Path) -> None:
    """Copy a file to this machine; `target` appears whole or not at all. Raises StoreError, or FileNotFoundError."""

    def get() -> None:
        fs, path = _open(uri)
        fs.get_file(path, part)

    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix="fetching-")
    os.close(handle)
    try:
        with _told(StoreError, f"{uri} cannot be fetched", missing=True):
            _patiently(get)
        os.replace(part, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def put(file: Path, uri: str) -> None:
    """Copy a local file to a URI; readers see the whole file or nothing. Tries again for most of a minute.

    Raises StoreError with the other side's answer.
    """

    def upload() -> None:
        fs, path = _open(uri)
        options = _in_small_pieces(fs, file.stat().st_size)
        if scheme(uri) in _WHOLE_AT_ONCE:
            fs.put_file(str(file), path, **options)
            return
        fs.makedirs(fs._parent(path), exist_ok=True)
        fs.put_file(str(file), f"{path}.part", **options)
        fs.mv(f"{path}.part", path)

    with _told(StoreError, f"cannot upload {uri}"):
        # "Not found" may concern the upload itself: its last step was done, the answer got lost, and the step is
        # repeated.
        _patiently(upload, final=(PermissionError,))


def remove(uri: str) -> None:
    """Delete a file or a folder, if it exists. Raises StoreError."""

    def delete() -> None:
        fs, path = _open(uri)
        fs.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):
            fs.rm(path, recursive=True)

    with _told(StoreError, f"cannot delete {uri}"):
        _patiently(delete)


def check_writable(uri: str) -> None:
    """Write a small file into the folder `uri`, delete it and list the folder.

    Raises ConfigError that says what is wrong.
    """
    trial = join(uri, f".writable-{uuid.uuid4().hex[:8]}")
    with _told(ConfigError, f"{uri} cannot be written"):
        fs, path = _open(trial)
        if scheme(uri) not in _WHOLE_AT_ONCE:
            fs.makedirs(fs._parent(path), exist_ok=True)
        fs.pipe_file(path, b"may this be written?")
        with contextlib.suppress(PermissionError):  # the right to delete is not needed
            fs.rm_file(path)
        fs.invalidate_cache()
        with contextlib.suppress(FileNotFoundError):  # without the right to list, a missing file may look forbidden
            fs.info(path)


# Below: fsspec itself


def _fsspec(uri: str) -> Any:
    try:
        import fsspec
    except ImportError as error:  # `geoflow-reader` leaves it to its user
        raise ConfigError(f"{uri} needs fsspec, which cannot be imported ({error}); pip install fsspec") from None
    return fsspec


def _class_for(uri: str) -> Any:
    fsspec = _fsspec(uri)
    try:
        return fsspec.get_filesystem_class(scheme(uri))
    except ImportError as error:
        from fsspec.registry import known_implementations

        needed = known_implementations.get(scheme(uri), {}).get("class", "").partition(".")[0]
        hint = f"pip install {needed}" if needed not in ("", "fsspec") else str(error)
        raise ConfigError(f"{scheme(uri)}:// needs a package that is not installed here: {hint}") from None
    except ValueError:
        raise ValueError(f"no file system is known for {scheme(uri)}://") from None


def _open(uri: str) -> tuple[Any, str]:
    _class_for(uri)
    fs, path = _fsspec(uri).core.url_to_fs(uri)
    return fs, str(path)


def _in_small_pieces(fs: Any, size: int) -> dict[str, int]:
    """Return options of `put_file` that bound its memory, if this file system has them.

    An upload of 400 MB to S3 takes 130 MB of memory with these options, and 770 MB without.
    """
    known = inspect.signature(getattr(fs, "_put_file", fs.put_file)).parameters
    piece = max(_PIECE, (size // _PIECES + _PIECE) // _PIECE * _PIECE)
    return {name: value for name, value in {"chunksize": piece, "max_concurrency": 4}.items() if name in known}


def _modified(info: dict[str, Any]) -> float:
    for key in ("LastModified", "mtime", "modified", "updated", "last_modified", "created"):
        value = info.get(key)
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, datetime):
            return value.timestamp()
    return 0.0


def _patiently(what: Callable[[], T], final: tuple[type[OSError], ...] = _FINAL) -> T:
    """Call a function; try again after each of `_WAITS_S` while it fails for reasons that may pass."""
    for wait in _WAITS_S:
        try:
            return what()
        except Exception as error:  # each file system has its own exceptions
            if not _may_pass(error, final):
                raise
            time.sleep(wait)
    return what()


def _may_pass(error: Exception, final: tuple[type[OSError], ...]) -> bool:
    if isinstance(error, (GeoFlowError, ImportError, ValueError, TypeError, *final)):
        return False
    if isinstance(error, OSError) and error.errno in _FINAL_ERRNOS:
        return False
    return "credential" not in f"{type(error).__name__} {error}".lower()


@contextlib.contextmanager
def _told(kind: type[GeoFlowError], what: str, missing: bool = False) -> Iterator[None]:
    """Turn whatever a file system raises into a GeoFlow error; with `missing`, except FileNotFoundError."""
    try:
        yield
    except GeoFlowError:
        raise
    except Exception as error:
        if missing and isinstance(error, FileNotFoundError):
            raise
        raise kind(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    if "credential" in f"{type(error).__name__} {text}".lower():
        remedy = "give credentials as its fsspec package reads them (environment variables, its configuration)"
    elif isinstance(error, PermissionError):
        remedy = "check the credentials and their permissions there"
    elif isinstance(error, FileNotFoundError):
        remedy = "check the address: there is no such bucket, folder or file"
    else:
        remedy = "check the address and the network"
    return f"{text} ({type(error).__name__}); {remedy}"
