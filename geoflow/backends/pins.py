"""The weights that `configs/models.yaml` pins: one row for each name that a backend uses for weights.

    {repo: owner/name, revision: COMMIT, files: {PATH: SHA256 or null}}     a model of the Hugging Face hub
    {space: owner/name, …} and {dataset: owner/name, …}                     other repositories of the hub
    {url: https://…/FILE, sha256: SHA256}                                   one file from anywhere; `name` renames it
    {manual: where to register, folder: mano, files: {PATH: SHA256 or null}}    files that only the user can get

This module runs in any model's environment: it needs only the standard library and yaml.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from geoflow.backends.hub import HubFiles
from geoflow.backends.sources import ManualFiles, Source, UrlFile
from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.values.yaml_text import parse_yaml

_HUB = {"repo": "model", "space": "space", "dataset": "dataset"}
_KEYS = {  # of a row, by the key that gives its kind: required keys, and optional keys
    **dict.fromkeys(_HUB, (("revision", "files"), ())),
    "url": (("sha256",), ("name",)),
    "manual": (("folder", "files"), ()),
}
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


@functools.lru_cache(maxsize=1)  # parsing takes 13 to 25 ms, and every stage's signature needs it
def parse(text: bytes) -> dict[str, Any]:
    """Parse models.yaml into plain values; do not change them. Raises ConfigError if the text cannot be parsed."""
    found = parse_yaml(text, "configs/models.yaml") or {}
    if not isinstance(found, dict):
        raise ConfigError(f"configs/models.yaml should hold a mapping of backends, found {type(found).__name__}")
    return found


def pinned(backend: str) -> dict[str, Source]:
    """Return the sources that models.yaml pins for a backend, by name; {} if the backend needs none.

    Raises ConfigError if a row cannot be read.
    """
    path = resources.folder("configs") / "models.yaml"
    entry = parse(path.read_bytes()).get(backend)
    return sources(entry.get("weights") if isinstance(entry, dict) else None, f"{path}: {backend}")


def pin(backend: str, name: str, known: Mapping[str, Source] | None = None) -> Source:
    """Return the source of the weights that a backend calls `name`. `known` holds the pins, if already read.

    Raises ConfigError if models.yaml pins no such files.
    """
    there = pinned(backend) if known is None else known
    if name not in there:
        has = f"it has {', '.join(there)}" if there else "it pins none for this backend"
        raise ConfigError(
            f"{backend} needs the weights {name!r}, which configs/models.yaml does not pin ({has}); add them to "
            f"`weights` of the entry {backend!r} there, or give the stage your own folder"
        )
    return there[name]


def sources(rows: Any, where: str) -> dict[str, Source]:
    """Return the sources of an entry's `weights` by name; {} for an entry that describes their origin in words."""
    if not isinstance(rows, Mapping):
        return {}
    return {str(name): source_of(row, f"{where}: weights.{name}") for name, row in rows.items()}


def source_of(row: Any, where: str) -> Source:
    """Return the source that a row describes; `where` names it. Raises ConfigError that says what is wrong."""
    kinds = [key for key in _KEYS if isinstance(row, Mapping) and key in row]
    if len(kinds) != 1:
        raise ConfigError(f"{where} should have exactly one of {', '.join(_KEYS)}, found {row!r:.80}")
    (kind,) = kinds
    must, may = _KEYS[kind]
    _check_keys(row, {kind, *must}, {*may}, where)
    if kind == "url":
        return _url_file(row, where)
    files = _files(row["files"], where)
    if kind == "manual":
        _expect(row, "manual", lambda text: bool(text.strip()), "how the user gets the files", where)
        _expect(row, "folder", _is_plain_name, "a plain name such as mano", where)
        return ManualFiles(files, row["manual"].strip().rstrip("."), row["folder"])
    _expect(row, kind, _REPO.fullmatch, "owner/name", where)
    _expect(row, "revision", _COMMIT.fullmatch, "a commit of 40 hexadecimal digits", where)
    return HubFiles(files, row[kind], row["revision"], _HUB[kind])  # type: ignore[arg-type]


def _url_file(row: Mapping[str, Any], where: str) -> UrlFile:
    _expect(row, "url", _is_web_address, "http(s)://host/path", where)
    _expect(row, "sha256", _SHA256.fullmatch, "64 hexadecimal digits", where)
    name = row.get("name", urlsplit(row["url"]).path.rpartition("/")[2])
    _expect({"name": name}, "name", _is_plain_name, "a file name, since the URL does not end in one", where)
    return UrlFile({name: row["sha256"]}, row["url"])


def _check_keys(row: Mapping[str, Any], must: set[str], may: set[str], where: str) -> None:
    if lacking := sorted(must - row.keys()):
        raise ConfigError(f"{where} lacks {', '.join(lacking)}")
    if unknown := sorted(str(key) for key in row.keys() - must - may):
        raise ConfigError(f"{where} has unknown keys {', '.join(unknown)}; it may have {', '.join(sorted(must | may))}")


def _expect(row: Mapping[str, Any], key: str, fits: Any, wanted: str, where: str) -> None:
    if not isinstance(row[key], str) or not fits(row[key]):
        raise ConfigError(f"{where}.{key} should be {wanted}, found {row[key]!r:.80}")


def _files(files: Any, where: str) -> dict[str, str | None]:
    """Return files with their SHA-256. Raises ConfigError for a name that leads out of the folder."""
    if not isinstance(files, Mapping) or not files:
        raise ConfigError(f"{where}.files should be a mapping of files to their SHA-256 or null, found {files!r:.80}")
    for name, digest in files.items():
        if not isinstance(name, str) or not all(_is_plain_name(part) for part in name.split("/")):
            raise ConfigError(f"{where}.files: {name!r:.80} should be a path below the folder")
        if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
            raise ConfigError(f"{where}.files: {name} should have 64 hexadecimal digits or null, found {digest!r:.80}")
    return dict(files)


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port
        return False
