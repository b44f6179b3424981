"""Whether a source is still the one it was: by its size and dates, by some blocks of it, and on doubt by its content.

Equal size and dates are taken as the same content: the date of an inode cannot be set back as the date of a file can.
Another size, or other blocks, are other content. Whatever lies between (a copy, a `touch`) is hashed once per process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

from geoflow.errors import GeoFlowError, InputError, SourceChanged
from geoflow.files import locations
from geoflow.files.hashing import file_sha256, pictures_sha256
from geoflow.video.sequence import list_images

_BLOCKS, _BLOCK = 16, 64 << 10  # of a file: 1 MiB is read whatever its size
_DIGITS = 24


@dataclass(frozen=True)
class Identity:
    """What tells a source from another at a glance. Of a frame folder it is that of its pictures."""

    size: int  # bytes
    modified_ns: int  # of the file, or of the folder; 0 where unknown
    changed_ns: int  # of the inode, or of the newest among the pictures' inodes; 0 where unknown
    sample: str  # digest of some blocks; of a folder's names and sizes; of what another machine says of its version
    pattern: str | None = None  # which pictures of a folder count

    def to_text(self) -> str:
        """As JSON: how a VideoInfo and a store carry it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Identity | None:
        """None for what is not an identity, such as that of a store of an earlier version."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


def identify(source: str, pattern: str | None = None) -> Identity:
    """Look at a local path or a URI; of a file some blocks are read, nothing is fetched. `pattern` is for folders.

    Raises InputError when there is no such source, StoreError when a URI cannot be looked at.
    """
    if locations.is_remote(source):
        found = locations.stat(source)
        if found is None:
            raise InputError(f"{source} does not exist; check the address")
        version = hashlib.sha256(found.version.encode()).hexdigest()[:_DIGITS]
        return Identity(found.size, int(found.modified * 1e9), 0, version)
    path = os.path.abspath(locations.local(source))
    try:
        pattern = pattern if os.path.isdir(path) else None
        size, modified, changed = _glance(path, pattern)
        return Identity(size, modified, changed, _sample(path, size, pattern), pattern)
    except OSError as error:  # of a folder it may be one picture, such as a link that leads nowhere
        where = error.filename or source
        raise InputError(f"{where} cannot be read ({error.strerror}); check the path and the disk") from None


def is_same(path: str, sha256: str, known: Identity | None) -> bool:
    """Whether what lies at a local path has the content of `sha256`, whose identity was `known`, if it is.

    Without either it cannot be told, and is believed. Raises OSError when it cannot be read.
    """
    pattern = None if known is None else known.pattern
    now = _glance(path, pattern)
    if known is not None:
        if now == (known.size, known.modified_ns, known.changed_ns):
            return True
        if now[0] != known.size or _sample(path, now[0], pattern) != known.sample:
            return False
    return not sha256 or _content(path, pattern, *now) == sha256


@contextlib.contextmanager
def unchanged(
    source: str, path: str, sha256: str, identity: str = "", wanted: Sequence[str] | None = None
) -> Iterator[None]:
    """Have a source read that is the same before and after. `path` is where it lies here, `wanted` the pictures of a
    folder that are read: then only these are looked at, so that a long folder is not listed for each segment.

    Raises SourceChanged, an InputError that names the source, when it is, or becomes, another one.
    """
    if locations.is_remote(source):  # a copy bears the hash of its content in its name
        yield
        return
    known = Identity.from_text(identity)
    before = _check(source, path, sha256, known, wanted)
    try:
        yield
    except InputError:
        _check(source, path, sha256, known, wanted)  # that it is another file says more than what that lacks
        raise
    if _brief(path, wanted, known) != before:
        _check(source, path, sha256, known, wanted)


def _check(
    source: str, path: str, sha256: str, known: Identity | None, wanted: Sequence[str] | None
) -> tuple[int, ...] | None:
    """What a glance at the source gives. Raises SourceChanged; a source that is gone is left to whoever reads it."""
    try:
        now = _brief(path, wanted, known)
        if wanted is not None and known is not None and now[0] == known.modified_ns and now[1] <= known.changed_ns:
            return now
        same = is_same(path, sha256, known)
    except OSError:
        return None
    if not same:
        raise SourceChanged(f"{source} is not the one it was: it was trimmed, replaced or written to since; run again")
    return now


def _brief(path: str, wanted: Sequence[str] | None, known: Identity | None) -> tuple[int, ...]:
    if wanted is None:
        return _glance(path, None if known is None else known.pattern)
    return os.stat(path).st_mtime_ns, max((os.stat(picture).st_ctime_ns for picture in wanted), default=0)


def _glance(path: str, pattern: str | None) -> tuple[int, int, int]:
    """Size, date of the content and date of the inode, as an Identity has them."""
    status = os.stat(path)
    if not os.path.isdir(path):
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns
    pictures = [os.stat(picture) for picture in list_images(path, pattern)]
    newest = max((picture.st_ctime_ns for picture in pictures), default=0)
    return sum(picture.st_size for picture in pictures), status.st_mtime_ns, newest


def _sample(path: str, size: int, pattern: str | None) -> str:
    digest = hashlib.sha256()
    if os.path.isdir(path):
        for picture in list_images(path, pattern):
            digest.update(b"%s:%d:" % (os.fsencode(os.path.basename(picture)), os.stat(picture).st_size))
        return digest.hexdigest()[:_DIGITS]
    with open(path, "rb") as file:
        for k in range(_BLOCKS):
            file.seek(k * max(0, size - _BLOCK) // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
            if size <= _BLOCK:
                break
    return digest.hexdigest()[:_DIGITS]


@lru_cache(maxsize=256)
def _content(path: str, pattern: str | None, size: int, modified_ns: int, changed_ns: int) -> str:
    """The SHA-256 as `probe` states it; size and dates are part of the key, so that a changed source is read anew."""
    return pictures_sha256(list_images(path, pattern)) if os.path.isdir(path) else file_sha256(path)


def still_there(source: str, sha256: str, identity: str, *, deep: bool = True) -> bool | None:
    """Whether a source is still the one; None when that cannot be told without fetching it, or without `deep` reading.

    Raises FileNotFoundError when there is none.
    """
    known = Identity.from_text(identity)
    try:
        if locations.is_remote(source):
            now = identify(source)
            if known is None:
                return None
            return True if now == known else None if now.size == known.size else False
        path = os.path.abspath(locations.local(source))
        size, modified, changed = _glance(path, None if known is None else known.pattern)
        if deep:
            return is_same(path, sha256, known)
        if known is None:
            return None
        if (size, modified, changed) == (known.size, known.modified_ns, known.changed_ns):
            return True
        return None if size == known.size and _sample(path, size, known.pattern) == known.sample else False
    except FileNotFoundError:
        raise
    except (OSError, GeoFlowError) as error:
        raise FileNotFoundError(str(error)) from error
