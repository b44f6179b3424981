"""Videos and segments as the pipeline sees them: metadata only, and planned lazily."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

# Facts of a VideoInfo that are only its name, its place, and texts about it: the same content may have moved, or have
# another name.
ELSEWHERE = frozenset({"name", "source", "masks", "labels", "objects", "cameras", "source_identity", "notes"})
# Facts that earlier versions did not have, with their values if not stated.
_ADDED = {
    "distortion": None,
    "cameras_sha256": "",
    "cameras_metric": False,
    "given_world": False,
    "labels_sha256": "",
    "labelled": (),
    "prompts": (),
    "stated_focal": None,
}


@dataclass(frozen=True)
class Prompt:
    """A user's prompt for an object in one frame: a box, points, or both, in processed pixels; or words for it."""

    object: int  # its number, 1 to 255
    frame: int  # source frame number; one of the frames that are processed
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom
    points: tuple[tuple[float, float, bool], ...] = ()  # x, y, and whether the point lies on the object
    text: str = ""  # words for the object, which stand alone; for a stage that `takes_text`


OBJECT = "object"
SPANS = ("segment", "chapter", "video", OBJECT)  # what a stage may work on at a time


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video that are known before its first frame is decoded.

    Sizes and intrinsics are for the *processed* frames (after rotation and resizing), so every stage can use them
    directly. `source_*` describe the file.
    """

    name: str  # unique within the run and safe as a file name
    source: str  # absolute path or URI of the file or frame folder
    source_sha256: str
    num_frames: int  # frames that will be processed (after --fps and --limit)
    fps: float  # mean rate of the processed frames
    height: int
    width: int
    source_height: int
    source_width: int
    pixel_aspect: float = 1.0  # width over height of the source's pixels; `source_width` counts square pixels
    stream: int | None = None  # number of the video stream in the file
    # Shown part of upright stored pictures (height, width): rows [top, bottom), columns [left, right); None: all.
    cropped: tuple[int, int, int, int, int, int] | None = None
    pattern: str | None = None  # glob for the pictures of the frame folder that are frames
    rotation: int = 0  # clockwise quarter turns of the display matrix, in degrees: 0, 90, 180, 270
    intrinsics: tuple[float, float, float, float] | None = None  # known fx, fy, cx, cy in processed pixels
    masks: str | None = None  # folder with the user's masks for this video
    masks_sha256: str = ""
    labels: str | None = None  # folder with the user's labels of objects for this video
    labels_sha256: str = ""
    labelled: tuple[int, ...] = ()  # source frame numbers that have labels, if only some have; (): all, or none given
    prompts: tuple[Prompt, ...] = ()  # objects that the user marked, for a stage that finds them in all frames
    notes: tuple[str, ...] = ()  # sentences: what is unusual about the source, and how it was read
    metric: bool = False  # True when depths will be in metres
    source_identity: str = ""  # a geoflow.video.identity.Identity as text: identifies the source quickly
    distortion: tuple[float, float, float, float, float] | None = None  # k1, k2, p1, p2, k3 of the known lens (OpenCV)
    cameras: str | None = None  # where known poses were read from; stages get them as `video.cam_from_world`
    cameras_sha256: str = ""  # checksum of the poses and intrinsics of all frames
    cameras_metric: bool = False  # the unit of known poses is the metre
    given_world: bool = False  # the camera stage uses the known poses: its world and its unit are theirs
    stated_focal: float | None = None  # px of processed frames: what the source's metadata states; a hint, not known

    @property
    def known_intrinsics(self) -> np.ndarray | None:
        """Return the user's pinhole matrix, (3, 3) float32 in processed pixels; None if not given."""
        if self.intrinsics is None:
            return None
        fx, fy, cx, cy = self.intrinsics
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)

    def content(self) -> dict[str, Any]:
        """Return the facts that identify the work on the video, by name. Facts new since earlier versions only if
        stated."""
        facts = {name: value for name, value in vars(self).items() if name not in ELSEWHERE}
        return {name: value for name, value in facts.items() if name not in _ADDED or value != _ADDED[name]}


@dataclass(frozen=True)
class Segment:
    """Frames [start, stop) of a video. Neighbours share `overlap_before` / `overlap_after` frames."""

    video: VideoInfo
    index: int
    start: int
    stop: int
    overlap_before: int = 0
    overlap_after: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def is_first(self) -> bool:
        return self.index == 0

    @property
    def is_last(self) -> bool:
        return self.stop == self.video.num_frames

    def __str__(self) -> str:
        return f"{self.video.name}[{self.start}:{self.stop}]"


@dataclass(frozen=True)
class Span:
    """Frames [start, stop) of a video that a stage works on as a whole, with the segments `first` to `last` in it.

    A segment belongs to exactly one span of a kind. The frames of a chapter continue a little beyond its last segment.
    """

    video: VideoInfo
    kind: str  # one of SPANS
    index: int
    start: int
    stop: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def num_segments(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.kind} {self.index} of {self.video.name} [{self.start}:{self.stop}]"


@dataclass(frozen=True)
class VideoObject:
    """An object of a video, which a stage works on as one: all frames of the video may show it."""

    video: VideoInfo
    number: int  # 1 to 255, as in `objects.label`

    @property
    def start(self) -> int:
        """The first frame."""
        return 0

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return self.video.num_frames

    def __len__(self) -> int:
        return self.video.num_frames

    def __str__(self) -> str:
        return f"object {self.number} of {self.video.name}"


def count_segments(num_frames: int, size: int, overlap: int) -> int:
    """Return how many segments of at most `size` frames, with about `overlap` shared by neighbours, cover
    `num_frames`."""
    if num_frames <= size:
        return 1
    return math.ceil((num_frames - overlap) / (size - overlap))


def plan_segments(video: VideoInfo, size: int, overlap: int) -> Iterator[Segment]:
    """Cut a video into full segments, one at a time.

    All have `size` frames and share `overlap`, for any length of the video. So models see one shape, and the first
    segments stay the same when a video grows. The remaining frames form the last segment. If it had less than half the
    size, it would be too short to have much motion; then the last two segments share their frames evenly.

    >>> video = VideoInfo("v", "v.mp4", "", 200, 30.0, 1, 1, 1, 1)
    >>> [(s.start, s.stop) for s in plan_segments(video, size=96, overlap=24)]
    [(0, 96), (72, 168), (144, 200)]
    """
    num_frames, stride = video.num_frames, size - overlap
    count = count_segments(num_frames, size, overlap)
    last = (count - 1) * stride
    if count > 1 and num_frames - last < size / 2:
        before = last - stride
        last = before + (num_frames - before - overlap) // 2

    def start(k: int) -> int:
        return last if k == count - 1 else k * stride

    def stop(k: int) -> int:
        return num_frames if k == count - 1 else start(k + 1) + overlap

    for k in range(count):
        yield Segment(
            video,
            k,
            start(k),
            stop(k),
            overlap_before=stop(k - 1) - start(k) if k else 0,
            overlap_after=stop(k) - start(k + 1) if k < count - 1 else 0,
        )


def plan_chapters(video: VideoInfo, size: int, overlap: int, *, length: int, reach: int) -> Iterator[Span]:
    """Yield chapters of about `length` frames, made of consecutive segments, one at a time.

    The video is divided evenly. A segment belongs to the chapter in which it starts, and every segment lies completely
    in its chapter. A chapter also takes the first `reach` frames of the next chapter. So all chapters together have
    `reach` more frames per border than the video. This holds for any size of segments, as long as segments are shorter
    than chapters and share at most `reach` frames.

    >>> video = VideoInfo("v", "v.mp4", "", 700, 30.0, 1, 1, 1, 1)
    >>> [(c.start, c.stop, c.first, c.last) for c in plan_chapters(video, 96, 24, length=288, reach=96)]
    [(0, 456, 0, 4), (360, 700, 5, 9)]
    """
    count = max(1, round((video.num_frames - reach) / length))
    each = max(1, video.num_frames - reach) / count
    chapters = itertools.groupby(
        plan_segments(video, size, overlap), lambda segment: min(int(segment.start / each), count - 1)
    )
    found: list[Segment] = []
    index = 0
    for _, segments in chapters:
        following = list(segments)
        if found:
            yield _chapter(found, index, following[0].start + reach)
            index += 1
        found = following
    yield _chapter(found, index, video.num_frames)


def _chapter(segments: list[Segment], index: int, stop: int) -> Span:
    first, last = segments[0], segments[-1]
    stop = max(last.stop, min(stop, first.video.num_frames))
    return Span(first.video, "chapter", index, first.start, stop, first.index, last.index)


def whole_video(video: VideoInfo, size: int, overlap: int) -> Span:
    """Return the span of all frames."""
    count = count_segments(video.num_frames, size, overlap)
    return Span(video, "video", 0, 0, video.num_frames, 0, count - 1)
