"""A check whether a source is unchanged: by its size and dates, by some of its blocks, and in doubt by its content.

Equal size and dates count as the same content: unlike a file's own date, its inode's date cannot be set back. Another
size, or other blocks, mean other content. All else (a copy, a `touch`) is hashed once per process.
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

_BLOCKS, _BLOCK = 16, 64 << 10  # of a file: 1 MiB is read, whatever the file's size
_DIGITS = 24


@dataclass(frozen=True)
class Identity:
    """Properties that identify a source without reading it all. For a frame folder they describe its pictures."""

    size: int  # bytes
    modified_ns: int  # of the file, or of the folder; 0 where unknown
    changed_ns: int  # of the inode, or of the newest among the pictures' inodes; 0 where unknown
    sample: str  # digest of some blocks; or of a folder's names and sizes; or of a remote file's version
    pattern: str | None = None  # which pictures of a folder belong to the source

    def to_text(self) -> str:
        """Return the identity as JSON, the form in which a VideoInfo and a store keep it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Identity | None:
        """Parse JSON; None if the text is not an identity, such as in a store of an earlier version."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None


def identify(source: str, pattern: str | None = None) -> Identity:
    """Return the identity of a local path or a URI. Of a file some blocks are read; nothing is fetched.

    `pattern` is for frame folders. Raises InputError if there is no such source, StoreError if a URI cannot be looked
    up.
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
    except OSError as error:  # in a folder it may be one picture, such as a broken link
        where = error.filename or source
        raise InputError(f"{where} cannot be read ({error.strerror}); check the path and the disk") from None


def is_same(path: str, sha256: str, known: Identity | None) -> bool:
    """Return whether a local path has the content `sha256`. `known` is the identity of this content, if there is one.

    Without `sha256` and `known` it cannot be checked, and the result is True. Raises OSError if the path cannot be
    read.
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
    """Check that a source is the same before and after the `with` block. `path` is its local path; `wanted` are the
    pictures of a folder that are read: then only these are looked at, so that a long folder is not listed for each
    segment.

    Raises SourceChanged, an InputError that names the source, if the source has changed before or changes meanwhile.
    """
    if locations.is_remote(source):  # a copy bears the hash of its content in its name
        yield
        return
    known = Identity.from_text(identity)
    before = _check(source, path, sha256, known, wanted)
    try:
        yield
    except InputError:
        _check(source, path, sha256, known, wanted)  # "the file was replaced" says more than "this frame is missing"
        raise
    if _brief(path, wanted, known) != before:
        _check(source, path, sha256, known, wanted)


def _check(
    source: str, path: str, sha256: str, known: Identity | None, wanted: Sequence[str] | None
) -> tuple[int, ...] | None:
    """Return size and dates of the source. Raises SourceChanged. A missing source is reported later by its reader."""
    try:
        now = _brief(path, wanted, known)
        if wanted is not None and known is not None and now[0] == known.modified_ns and now[1] <= known.changed_ns:
            return now
        same = is_same(path, sha256, known)
    except OSError:
        return None
    if not same:
        raise SourceChanged(f"{source} has changed: it was trimmed, replaced or written to since; run again")
    return now


def _brief(path: str, wanted: Sequence[str] | None, known: Identity | None) -> tuple[int, ...]:
    if wanted is None:
        return _glance(path, None if known is None else known.pattern)
    return os.stat(path).st_mtime_ns, max((os.stat(picture).st_ctime_ns for picture in wanted), default=0)


def _glance(path: str, pattern: str | None) -> tuple[int, int, int]:
    """Return size, date of the content and date of the inode, as in an Identity."""
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
    """Return the SHA-256 as `probe` gives it.

    Size and dates are in the cache's key, so that a changed source is read again.
    """
    return pictures_sha256(list_images(path, pattern)) if os.path.isdir(path) else file_sha256(path)


def still_there(source: str, sha256: str, identity: str, *, deep: bool = True) -> bool | None:
    """Return whether a source is unchanged; None if this needs a fetch, or needs reading and `deep` is False.

    Raises FileNotFoundError if the source is missing.
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
