"""What driver and workers say to each other about the objects of a video. It is sent to every model's environment."""

from __future__ import annotations

from dataclasses import dataclass

from geoflow.store.paths import RunPaths


@dataclass(frozen=True)
class ObjectWork:
    """Where the finished segments of a video lie, which work they are parts of, and which course of it."""

    paths: RunPaths
    key: str
    segments: int  # how many there are
    course: str = ""  # digest of the last segment's part: it follows from all parts before; "" where nobody looked


@dataclass(frozen=True)
class FoundObjects:
    """The objects of a video: `seen` are all, `made` those that have a mesh already, from segments of `course`."""

    seen: tuple[int, ...]
    made: tuple[int, ...]
    course: str
