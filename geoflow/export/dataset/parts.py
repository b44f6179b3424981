"""Finished episodes of an export that may be stopped: what is whole is known by its key, and verified by its record."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from geoflow.export.dataset.episodes import Episode, described
from geoflow.export.dataset.kinds import DatasetKind, Part
from geoflow.export.dataset.passage import Passage
from geoflow.files.locations import is_remote
from geoflow.store.reader import Video, open_video
from geoflow.store.schema import IDENTITY, PARTS, WORK
from geoflow.store.whole import store_error, write_whole

_RECORD = "part.json"
_FILES = "files"
_BLOCK = 1 << 20


def key_of(kind: DatasetKind, episode: Episode, identity: str, shared: dict[str, Any]) -> str:
    """Return the key of an episode's part: it changes with the store, the frames, the options and what is shared.

    The split is no part of it: a part is the same on either side.
    """
    entry = {name: value for name, value in described(episode).items() if name != "split"}
    text = json.dumps([type(kind).__name__, vars(kind), entry, identity, shared], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def identity_of(video: Video) -> str:
    """Return what tells a store from an earlier one of the same name: its work, and its size and date on this disk."""
    attrs = video.file.attrs
    said = [str(attrs.get(name, "")) for name in (WORK, PARTS, IDENTITY)]
    if not is_remote(str(video.path)):
        stat = os.stat(video.path)
        said += [str(stat.st_size), str(stat.st_mtime_ns)]
    return "|".join(said)


def write_part(kind: DatasetKind, episode: Episode, folder: Path, shared: dict[str, Any]) -> None:
    """Write an episode into `folder`, which is whole once it has its record. Runs in a process of the pool.

    Raises StoreError that says why the episode cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    files = folder / _FILES
    try:
        files.mkdir(parents=True)
        with open_video(episode.store) as video:
            facts = kind.write(Passage(video, episode.start, episode.stop, episode.step), episode, files, shared)
        found = {path.relative_to(files).as_posix(): _digest(path) for path in _files_below(files)}
        write_whole(folder / _RECORD, json.dumps({"facts": facts, "files": found}).encode())
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise store_error(folder, error) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def finished_part(episode: Episode, folder: Path) -> Part | None:
    """Return the part in `folder` if it is whole: every file of its record is there with its size and checksum."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        files = folder / _FILES
        if {path.relative_to(files).as_posix() for path in _files_below(files)} != set(record["files"]):
            return None
        if any(_digest(files / name) != tuple(digest) for name, digest in record["files"].items()):
            return None
        return Part(episode, files, record["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> tuple[int, str]:
    """Return size and checksum of a file."""
    found, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
            size += len(block)
    return size, found.hexdigest()
