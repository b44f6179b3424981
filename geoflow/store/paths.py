"""Where a run's output lies: the only place that knows file names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from geoflow.errors import StoreError

TEMPORARY = ".part"  # ends the name of a file that is still being written
_PART = re.compile(r"segment_(\d+)\.(?:(\w+)\.)?h5")  # once they had no key


@dataclass(frozen=True)
class RunPaths:
    """Every path of one run's output folder.

    >>> RunPaths("out").video("clip").as_posix()
    'out/videos/clip.h5'
    """

    out: str | os.PathLike[str]
    remote: str = ""  # URI of the folder that the one on this disk stands for, if the run's own lies elsewhere

    @property
    def home(self) -> str:
        """The run's folder by the name that its user knows."""
        return self.remote or str(self.root)

    @property
    def root(self) -> Path:
        return Path(self.out)

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def work(self) -> Path:
        """Unfinished work; removed when its video is done."""
        return self.root / ".work"

    @property
    def owner(self) -> Path:
        """Folder of what says which run writes here; there while one does."""
        return self.root / ".owner"

    @property
    def index(self) -> Path:
        return self.root / "index.parquet"

    @property
    def segments(self) -> Path:
        return self.root / "segments.parquet"

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def trace(self) -> Path:
        return self.root / "trace.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def report_page(self, name: str) -> Path:
        """The report's page on one video, for a run of several."""
        return self.root / self.report.stem / f"{_checked(name)}.html"

    @property
    def scores(self) -> Path:
        return self.root / "scores.json"

    def video(self, name: str) -> Path:
        """The store of one video. Raises StoreError for a name that would lead out of the folder."""
        return self.videos / f"{_checked(name)}.h5"

    def whole(self, relative: str) -> str | Path:
        """Where a file that is whole is read, given its path below the run's folder: a path, or a URI."""
        return f"{self.remote}/{relative}" if self.remote else self.root / relative

    def store(self, name: str) -> str | Path:
        """Where the finished store of a video is read."""
        return self.whole(self.relative(self.video(name)))

    def parts(self, name: str) -> Path:
        """Folder of the finished segments of a video that is not done yet."""
        return self.work / _checked(name)

    def part(self, name: str, segment: int, key: str) -> Path:
        """A finished segment's file; `key` is that of the work that it is a part of."""
        return self.parts(name) / f"segment_{segment:05d}.{key}.h5"

    def finished_parts(self, name: str, key: str) -> dict[int, Path]:
        """Segment number -> its whole part file, of the work `key`."""
        return dict(sorted((index, path) for index, found, path in self.all_parts(name) if found == key))

    def all_parts(self, name: str) -> list[tuple[int, str, Path]]:
        """Segment number, key ("" where it has none) and path of every part file, of whatever work."""
        folder = self.parts(name)
        paths = list(folder.iterdir()) if folder.is_dir() else []
        matches = [(path, _PART.fullmatch(path.name)) for path in paths]
        return [(int(match[1]), match[2] or "", path) for path, match in matches if match]

    def finished(self, name: str) -> Path:
        """The list of a video's finished segments: one JSON object per line."""
        return self.parts(name) / "finished.jsonl"

    def saved(self, name: str, segment: int, slot: str, key: str, kind: str) -> Path:
        """What a stage left of a segment; `kind` is fields or state."""
        return self.parts(name) / f"segment_{segment:05d}.{slot}.{key}.{kind}.npz"

    def surveyed(self, name: str, span: int, slot: str, key: str) -> Path:
        """What a stage found out about a span of a video."""
        return self.parts(name) / f"span_{span:05d}.{slot}.{key}.npz"

    def relative(self, path: Path) -> str:
        """A path below the run's folder as it is written into index.parquet, so that the folder can move."""
        return path.relative_to(self.root).as_posix()


def temporary(path: Path) -> Path:
    """The name a folder has until it is whole."""
    return path.with_name(path.name + TEMPORARY)


def draft(path: Path) -> Path:
    """A name for a file until it is whole that nobody else has: two may write the same file at the same time, and
    must not write into each other's."""
    return path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(3).hex()}{TEMPORARY}")


def drafts(path: Path) -> list[Path]:
    """Every draft of a file, whoever began it."""
    folder = path.parent
    return [p for p in folder.glob(f"*{TEMPORARY}") if p.name.startswith(f"{path.name}.")] if folder.is_dir() else []


def _checked(name: str) -> str:
    if not name or name.startswith(".") or any(c in name for c in "/\\\0\n"):
        raise StoreError(f"{name!r} cannot be a video's name: it must be a plain file name without a leading dot")
    return name
