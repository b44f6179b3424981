"""What a folder of videos holds beside the inputs that are taken from it, so that nothing is left out in silence."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from geoflow.files.locations import is_uri
from geoflow.video.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, suffix_of

_MOST = 20_000  # folders that are looked into: a wrong path must not cost a walk through a whole disk
_SHOWN = 4  # suffixes that are named


@dataclass
class _Found:
    """What lies in a folder and is no input of the run."""

    videos_below: int = 0
    films_below: int = 0  # folders that hold pictures alone
    pictures: int = 0  # beside videos
    hidden: int = 0
    unknown: list[str] = field(default_factory=list)  # suffixes of the other files


def left_out(args: Sequence[str | Path], sources: Iterable[str]) -> list[tuple[str, str]]:
    """Return folders among `args`, each with a sentence on what of it is left out and how to take it.

    `sources` are the inputs that `expand_inputs` found. Only local folders are looked at.
    """
    taken = set(sources)
    found = []
    for folder in dict.fromkeys(folder for arg in args for folder in _folders(os.fspath(arg))):
        said = _sentence(folder, _look(folder, taken))
        if said:
            found.append((folder, said))
    return found


def _folders(arg: str) -> list[str]:
    if is_uri(arg) or "\0" in arg:
        return []
    path = os.path.expanduser(arg)
    matches = [path] if os.path.lexists(path) else sorted(glob.glob(path))
    return [match for match in matches if os.path.isdir(match)]


def _look(folder: str, taken: set[str]) -> _Found:
    found = _Found()
    for k, (place, names) in enumerate(islice(_walk(folder), _MOST)):
        here = os.path.abspath(place)
        videos = [n for n in names if suffix_of(n) in VIDEO_SUFFIXES]
        pictures = [n for n in names if suffix_of(n) in IMAGE_SUFFIXES]
        missed = [n for n in videos if not n.startswith(".") and os.path.join(here, n) not in taken]
        if k == 0:
            is_film = here in taken
            found.pictures = 0 if is_film else len(pictures)
            found.hidden = sum(n.startswith(".") and not n.startswith("._") for n in videos)
            plain = (n for n in names if n not in {*videos, *pictures} and not n.startswith("."))
            found.unknown = [suffix_of(n) or "no suffix" for n in plain]
        elif missed:
            found.videos_below += len(missed)
        elif pictures and not videos and here not in taken:
            found.films_below += 1
    return found


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith("."))
        yield place, names


def _sentence(folder: str, found: _Found) -> str:
    parts = []
    if found.videos_below or found.films_below:
        below = [
            _count(n, what) for n, what in ((found.videos_below, "video"), (found.films_below, "frame folder")) if n
        ]
        parts.append(f"{' and '.join(below)} in its subfolders: for the next level give '{folder.rstrip('/')}/*'")
    if found.pictures:
        parts.append(f"{_count(found.pictures, 'picture')} beside its videos: frames of a film need a folder of theirs")
    if found.hidden:
        parts.append(f"{_count(found.hidden, 'hidden video')}, whose name starts with a point: rename to take it")
    if found.unknown:
        kinds = list(dict.fromkeys(found.unknown))
        named = ", ".join(kinds[:_SHOWN]) + (", ..." if len(kinds) > _SHOWN else "")
        parts.append(f"{_count(len(found.unknown), 'file')} of no kind of video ({named})")
    return f"left out: {'; '.join(parts)}" if parts else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
