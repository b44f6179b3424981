"""The way from the user's inputs (files, folders, patterns, manifests, URIs) to videos with safe names."""

from __future__ import annotations

import codecs
import glob
import hashlib
import os
import posixpath
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

from geoflow.errors import ConfigError, InputError, StoreError
from geoflow.files import locations
from geoflow.files.locations import is_uri
from geoflow.values.plain import printable
from geoflow.video.sequence import matching
from geoflow.video.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, natural_key, suffix_of

MANIFEST_SUFFIXES = frozenset({".txt", ".csv", ".parquet"})
MANIFEST_COLUMNS = ("path", "uri", "video")
NAME_BYTES = 120  # file systems allow 255; the store adds suffixes of its own


@dataclass(frozen=True)
class Input:
    """One video to process: `name` is unique in the run and safe as a file name, `source` an absolute path or URI."""

    name: str
    source: str


@dataclass(frozen=True)
class Rejected:
    """An input that is not a video, and the reason."""

    source: str
    reason: str


def listed(inputs: Any) -> list[str]:
    """Return the paths that a caller in Python gives, one or several, as texts.

    Raises ConfigError if one cannot be a path.
    """
    if isinstance(inputs, (str, bytes, os.PathLike)):
        return [_path(inputs)]
    try:
        several = list(inputs)
    except TypeError:
        raise ConfigError(f"inputs should be a path, or a list of paths; found {inputs!r:.60}") from None
    return [_path(item) for item in several]


def _path(item: Any) -> str:
    if not isinstance(item, (str, bytes, os.PathLike)):
        raise ConfigError(f"inputs should be paths, found {type(item).__name__} {item!r:.60}")
    return os.fsdecode(item)


def expand_inputs(args: Sequence[str | Path], pattern: str | None = None) -> tuple[list[Input], list[Rejected]]:
    """Find the videos that `args` name, in order, each once. Return the videos, and the inputs that name no video.

    A video file is one video. A folder gives the videos directly in it; or, if it holds only pictures (or pictures that
    match `pattern`), one frame folder. A glob gives its matches. A manifest (.txt with one path per line and #
    comments; .csv or .parquet with a column path, uri or video) gives its entries, relative to the manifest. Whether a
    file really is a video is found by `probe`. Nothing is raised for bad input.
    """
    sources: dict[str, None] = {}
    rejected: dict[Rejected, None] = {}
    for arg in args:
        for item in _expand(os.fspath(arg), pattern, manifests=True):
            if isinstance(item, Rejected):
                rejected[item] = None
            else:
                sources[item] = None
    names = _unique_names(list(sources))
    return [Input(names[source], source) for source in sources], list(rejected)


def _expand(arg: str, pattern: str | None, manifests: bool) -> Iterator[str | Rejected]:
    try:
        yield from (_expand_uri if is_uri(arg) else _expand_path)(arg, pattern, manifests)
    except PermissionError as error:
        yield Rejected(arg, f"{error.filename or arg} may not be read by this user; allow it with: chmod +r")
    except (InputError, StoreError) as error:
        yield Rejected(arg, str(error))
    except OSError as error:
        yield Rejected(arg, f"cannot be read ({error.strerror or error}); check the path")
    except ValueError as error:  # a path that contains a null byte
        yield Rejected(printable(arg), f"is not a path ({error}); check it")


def _expand_path(arg: str, pattern: str | None, manifests: bool) -> Iterator[str | Rejected]:
    if not arg:
        yield Rejected(arg, "is empty; give a video, a folder, a pattern or a manifest")
        return
    path = arg if os.path.lexists(arg) else os.path.expanduser(arg)
    if not os.path.lexists(path):
        if _is_pattern(path):
            yield from _expand_glob(arg, path, pattern, manifests)
        else:
            yield Rejected(arg, "does not exist; check the path")
    elif os.path.isdir(path):
        yield from _expand_folder(path, pattern)
    elif suffix_of(path) in MANIFEST_SUFFIXES:
        if not manifests:
            raise InputError("is a manifest inside a manifest; list its videos directly")
        yield from _expand_manifest(path, path, pattern)
    elif suffix_of(path) in IMAGE_SUFFIXES:
        yield Rejected(arg, "is a single picture; give the folder that holds it, alone or with all frames of the video")
    else:
        yield os.path.abspath(path)


def _is_pattern(path: str) -> bool:
    return re.search(r"[*?[]", path) is not None


def _expand_folder(folder: str, pattern: str | None) -> Iterator[str | Rejected]:
    # Hidden files do not count: macOS leaves a `._clip.mp4` beside each clip on other systems' disks.
    names = sorted((n for n in os.listdir(folder) if not n.startswith(".")), key=natural_key)
    files = [n for n in names if not os.path.isdir(os.path.join(folder, n))]
    videos = [n for n in files if suffix_of(n) in VIDEO_SUFFIXES]
    pictures = [n for n in files if suffix_of(n) in IMAGE_SUFFIXES]
    if videos and not (pattern and matching(pictures, pattern)):
        yield from (os.path.abspath(os.path.join(folder, n)) for n in videos)
    elif pictures:
        yield os.path.abspath(folder)
    else:
        hint = (
            f"; for those in its {len(names) - len(files)} folders give '{folder}/*'" if len(names) > len(files) else ""
        )
        yield Rejected(folder, f"holds no video and no pictures{hint}")


def _expand_glob(arg: str, path: str, pattern: str | None, manifests: bool) -> Iterator[str | Rejected]:
    matches = sorted(glob.glob(path, recursive=True), key=natural_key)
    if not matches:
        yield Rejected(arg, "matches nothing; check the pattern")
        return
    # `*` also matches notes and subtitles: of its matches only videos and folders count, unless the pattern has a
    # suffix.
    named = suffix_of(path)
    usable = [
        m for m in matches if os.path.isdir(m) or suffix_of(m) in VIDEO_SUFFIXES or (named and suffix_of(m) == named)
    ]
    pictures = [m for m in usable if suffix_of(m) in IMAGE_SUFFIXES and not os.path.isdir(m)]
    if pictures:
        yield Rejected(
            arg, f"matches {len(pictures)} single pictures; give the folder that holds the frames{_choice(path)}"
        )
        usable = [m for m in usable if m not in set(pictures)]
    elif not usable:
        yield Rejected(arg, f"matches {len(matches)} files, none of them a video")
    for match in usable:
        yield from _expand(match, pattern, manifests)


def _choice(path: str) -> str:
    """Return how to choose exactly the pictures that a glob names."""
    folder, name = os.path.split(path)
    return f": {folder or '.'} --pattern '{name}'" if _is_pattern(name) and not _is_pattern(folder) else ""


def _expand_manifest(manifest: str, path: str, pattern: str | None) -> Iterator[str | Rejected]:
    """Expand a manifest; `path` is where it can be read."""
    entries = _manifest_entries(path)
    if not entries:
        yield Rejected(manifest, "lists no videos")
    for entry in entries:
        yield from _expand(entry if is_uri(entry) else _beside(manifest, entry), pattern, manifests=False)


def _beside(manifest: str, entry: str) -> str:
    """Return the path of an entry that is relative to its manifest."""
    if not is_uri(manifest):
        return os.path.join(os.path.dirname(os.path.abspath(manifest)), os.path.expanduser(entry))
    if os.path.isabs(entry):
        return entry
    scheme, _, path = manifest.partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(path), entry))}"


def _manifest_entries(manifest: str) -> list[str]:
    suffix = suffix_of(manifest)
    try:
        if suffix == ".txt":
            # Names of files may not be UTF-8: their bytes are kept as they are.
            with open(manifest, encoding=_encoding(manifest), errors="surrogateescape") as file:
                lines = [line.strip() for line in file]
            return [line for line in lines if line and not line.startswith("#")]
        return _csv_entries(manifest) if suffix == ".csv" else _parquet_entries(manifest)
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text; save it as UTF-8") from None


def _csv_entries(manifest: str) -> list[str]:
    import csv

    with open(manifest, encoding=_encoding(manifest), newline="") as file:
        try:
            reader = csv.DictReader(file, delimiter=_delimiter(file))
            column = _manifest_column([name.strip() for name in reader.fieldnames or []])
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            values = [(row[column] or "").strip() for row in reader]
        except csv.Error as error:
            raise InputError(f"is not a CSV table ({error})") from None
    return [value for value in values if value]


def _encoding(manifest: str) -> str:
    """Return UTF-16 if the file has its mark, as Windows writes lists of files; else UTF-8, with or without a mark."""
    with open(manifest, "rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _delimiter(file: TextIO) -> str:
    """Return the delimiter: spreadsheets write semicolons in countries with decimal commas, and tabs on request."""
    header = file.readline()
    file.seek(0)
    return max(",;\t", key=header.count)  # the comma if there is none of them


def _parquet_entries(manifest: str) -> list[str]:
    import pyarrow.lib
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(manifest) as file:
            column = _manifest_column(file.schema_arrow.names)
            values = file.read(columns=[column]).column(column).to_pylist()
    except pyarrow.lib.ArrowException as error:
        raise InputError(f"is not a Parquet table ({error})") from None
    return [str(value) for value in values if value]


def _manifest_column(columns: Sequence[str]) -> str:
    for column in MANIFEST_COLUMNS:
        if column in columns:
            return column
    found = ", ".join(columns) or "none"
    raise InputError(f"should have a column named path, uri or video; its columns are: {found}")


def _expand_uri(uri: str, pattern: str | None, manifests: bool) -> Iterator[str | Rejected]:
    suffix = suffix_of(locations.basename(uri))
    if not locations.is_remote(uri):
        yield from _expand_path(str(locations.local(uri)), pattern, manifests)
    elif suffix in MANIFEST_SUFFIXES:
        if not manifests:
            raise InputError("is a manifest inside a manifest; list its videos directly")
        yield from _expand_uri_manifest(uri, pattern)
    elif locations.is_web(uri):
        yield uri  # in a web address ? and * may have another meaning
    elif _is_pattern(uri):
        matches = _videos(locations.matching(uri))
        if not matches:
            yield Rejected(uri, "matches no video; check the pattern")
        yield from matches
    elif suffix in IMAGE_SUFFIXES:
        yield Rejected(uri, "is a single picture; give a video")
    elif suffix not in VIDEO_SUFFIXES and locations.is_folder(uri):
        yield from _expand_uri_folder(uri)
    else:
        yield uri


def _expand_uri_folder(uri: str) -> Iterator[str | Rejected]:
    names = locations.listing(uri)
    videos = _videos(names)
    if any(suffix_of(name) in IMAGE_SUFFIXES for name in names) and not videos:
        yield Rejected(uri, "holds pictures; frame folders are read from a local disk: copy it there, or make a video")
    elif not videos:
        yield Rejected(uri, f"holds no video; for videos in its subfolders give '{uri.rstrip('/')}/**'")
    yield from videos


def _videos(uris: Iterable[str]) -> list[str]:
    """Return the URIs that are videos and not hidden, in natural order."""
    found = [uri for uri in uris if suffix_of(uri) in VIDEO_SUFFIXES and not locations.basename(uri).startswith(".")]
    return sorted(found, key=natural_key)


def _expand_uri_manifest(uri: str, pattern: str | None) -> Iterator[str | Rejected]:
    with tempfile.TemporaryDirectory(prefix="geoflow-manifest-") as folder:
        copy = Path(folder) / f"manifest{suffix_of(locations.basename(uri))}"
        try:
            locations.fetch(uri, copy)
        except FileNotFoundError:
            raise InputError("does not exist; check the address") from None
        yield from _expand_manifest(uri, str(copy), pattern)


def _unique_names(sources: Sequence[str]) -> dict[str, str]:
    """Return a name for every source. Sources that would share a name all get a hash of their source, in any order."""
    names = {source: safe_name(source) for source in sources}
    for digits in (8, 64):
        groups: dict[str, list[str]] = {}
        for source, name in names.items():
            # On some file systems A.h5 and a.h5, or two encodings of é, are the same file.
            groups.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(source)
        for group in groups.values():
            if len(group) > 1:
                for source in group:
                    digest = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:digits]
                    names[source] = f"{_shorten(safe_name(source), NAME_BYTES - digits - 1)}-{digest}"
    return names


def safe_name(source: str) -> str:
    """Return a file-safe name for a source: its stem; all but letters, digits, `.`, `-`, `_` and spaces is replaced.

    >>> safe_name("/data/../my clip;rm -rf.mp4")
    'my clip_rm -rf'
    """
    base = os.path.basename((urlsplit(source).path if is_uri(source) else source).rstrip("/"))
    if is_uri(source):
        base = unquote(base).rpartition("/")[2]
    stem = os.path.splitext(base)[0] if suffix_of(base) in VIDEO_SUFFIXES else base
    name = re.sub(r"[^\w .-]", "_", stem).strip(" ")
    if name.startswith("."):
        name = "_" + name[1:]
    return _shorten(name, NAME_BYTES) or "video"


def _shorten(name: str, size: int) -> str:
    """Cut a name to `size` bytes of UTF-8, between characters."""
    return name.encode()[:size].decode("utf-8", "ignore").rstrip(" ")
