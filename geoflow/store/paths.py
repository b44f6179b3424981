"""The paths of a run's output: no other module knows the file names."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from geoflow.errors import StoreError

TEMPORARY = ".part"  # ends the name of a file that is still being written
_PART = re.compile(r"segment_(\d+)\.(?:(\w+)\.)?h5")  # parts of early versions have no key


@dataclass(frozen=True)
class RunPaths:
    """Every path of one run's output folder.

    >>> RunPaths("out").video("clip").as_posix()
    'out/videos/clip.h5'
    """

    out: str | os.PathLike[str]
    remote: str = ""  # URI of the run's folder, if it is elsewhere and the folder on this disk only stands for it

    @property
    def home(self) -> str:
        """Return the run's folder by the name that its user gave."""
        return self.remote or str(self.root)

    @property
    def root(self) -> Path:
        return Path(self.out)

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    @property
    def work(self) -> Path:
        """Return the folder of unfinished work; a video's part of it is deleted when the video is done."""
        return self.root / ".work"

    @property
    def owner(self) -> Path:
        """Return the folder that says which run writes here; it exists during a run."""
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
    def pipeline(self) -> Path:
        """Return the path of the run's settings as a pipeline file."""
        return self.root / "pipeline.yaml"

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
        """Return the path of the report's page on one video, for a run of several videos."""
        return self.root / self.report.stem / f"{_checked(name)}.html"

    @property
    def scores(self) -> Path:
        return self.root / "scores.json"

    def video(self, name: str) -> Path:
        """Return the path of a video's store. Raises StoreError for a name that would lead out of the folder."""
        return self.videos / f"{_checked(name)}.h5"

    def whole(self, relative: str) -> str | Path:
        """Return where a whole file is read: a path, or a URI. `relative` is its path below the run's folder."""
        return f"{self.remote}/{relative}" if self.remote else self.root / relative

    def store(self, name: str) -> str | Path:
        """Return where the finished store of a video is read: a path, or a URI."""
        return self.whole(self.relative(self.video(name)))

    def parts(self, name: str) -> Path:
        """Return the folder of finished segments of a video that is not done yet."""
        return self.work / _checked(name)

    def part(self, name: str, segment: int, key: str) -> Path:
        """Return the path of a finished segment; `key` is the key of the work that the segment is a part of."""
        return self.parts(name) / f"segment_{segment:05d}.{key}.h5"

    def finished_parts(self, name: str, key: str) -> dict[int, Path]:
        """Return the whole part files of the work `key` by the number of their segment."""
        return dict(sorted((index, path) for index, found, path in self.all_parts(name) if found == key))

    def all_parts(self, name: str) -> list[tuple[int, str, Path]]:
        """Return number of the segment, key ("" if it has none) and path of every part file, of any work."""
        folder = self.parts(name)
        paths = list(folder.iterdir()) if folder.is_dir() else []
        matches = [(path, _PART.fullmatch(path.name)) for path in paths]
        return [(int(match[1]), match[2] or "", path) for path, match in matches if match]

    def mesh_part(self, name: str, number: int, key: str) -> Path:
        """Return the path of an object's finished mesh, beside the segments; `key` is as in `part`."""
        return self.parts(name) / f"object_{number:03d}.{key}.h5"

    def mesh_parts(self, name: str) -> list[Path]:
        """Return every mesh file of a video that is not done yet, of any work."""
        folder = self.parts(name)
        return sorted(folder.glob("object_*.h5")) if folder.is_dir() else []

    def finished(self, name: str) -> Path:
        """Return the path of the list of a video's finished segments: one JSON object per line."""
        return self.parts(name) / "finished.jsonl"

    def saved(self, name: str, segment: int, slot: str, key: str, kind: str) -> Path:
        """Return the path of a stage's saved results for a segment; `kind` is fields or state."""
        return self.parts(name) / f"segment_{segment:05d}.{slot}.{key}.{kind}.npz"

    def surveyed(self, name: str, span: int, slot: str, key: str) -> Path:
        """Return the path of a stage's saved survey of a span of a video."""
        return self.parts(name) / f"span_{span:05d}.{slot}.{key}.npz"

    def relative(self, path: Path) -> str:
        """Return a path relative to the run's folder, as index.parquet holds it, so that the folder can be moved."""
        return path.relative_to(self.root).as_posix()


def temporary(path: Path) -> Path:
    """Return the name that a folder has until it is complete."""
    return path.with_name(path.name + TEMPORARY)


def draft(path: Path) -> Path:
    """Return a name that a file has until it is complete.

    It is unique: two processes that write the same file at the same time do not write into each other's draft.
    """
    return path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(3).hex()}{TEMPORARY}")


def drafts(path: Path) -> list[Path]:
    """Return every draft of a file, of any process."""
    folder = path.parent
    return [p for p in folder.glob(f"*{TEMPORARY}") if p.name.startswith(f"{path.name}.")] if folder.is_dir() else []


def _checked(name: str) -> str:
    if not name or name.startswith(".") or any(c in name for c in "/\\\0\n"):
        raise StoreError(f"{name!r} cannot be a video's name: it must be a plain file name without a leading dot")
    return name
