"""Options for reading a video, set by the user before it enters the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from geoflow.errors import ConfigError
from geoflow.geometry.picture_size import shrunk_size
from geoflow.values.plain import real, several, text, whole
from geoflow.video.lens import Distortion, Pinhole, distortion_of, lens_of

LONGEST_SIDE = 16_384  # px; a frame of that size takes 800 MB
_SLOWEST, _FASTEST = 1e-7, 1e6  # 1/s: one frame in four months, and the fastest cameras
_PARTS = {"intrinsics": ("distortion", "calibrated_at"), "cameras": ("scale",), "size": ("long_side",)}
_ADDED = frozenset({"distortion", "calibrated_at", "cameras", "scale", "objects"})


@dataclass(frozen=True)
class ReadOptions:
    """Options that say how a source becomes frames; the same options are used for every input of a run.

    `intrinsics` are fx, fy, cx, cy in pixels of the source *as displayed*: as players show it, after the cropping that
    its container states, upright and with square pixels, before any resizing. A frame folder carries no times: for it,
    `fps` is its rate and drops no frame.

    Numbers may be NumPy's, `size` any two of them; `masks`, `objects` and `cameras` may be paths. `intrinsics` may be
    whatever `geoflow.video.lens.lens_of` takes: four numbers, more with `distortion`, a 3x3 matrix, or a mapping.

    Raises ConfigError for values that make no sense.
    """

    fps: float | None = None  # resample to this rate, by the true time of the frames; never invents frames
    size: tuple[int, int] | None = None  # (width, height) of the processed frames, exactly
    long_side: int | None = None  # shrink to this longer side, long strips less (`shrunk_size`); `size` overrides it
    limit: int | None = None  # stop after this many frames
    intrinsics: Pinhole | None = None
    masks: str | None = None  # folder that holds a folder of masks per video
    objects: str | None = None  # folder that holds a folder of label images per video, or a file of prompts
    stream: int | None = None  # number of the video stream in files that hold several; None: see `choose_stream`
    pattern: str | None = None  # for frame folders: take the pictures whose names match this, such as *.color.png
    distortion: Distortion | None = None  # k1, k2, p1, p2, k3 of the lens that `intrinsics` are of
    calibrated_at: tuple[int, int] | None = None  # (width, height) of the pictures that `intrinsics` hold for
    cameras: str | None = None  # known poses: a file, a model's folder, or a folder that holds one per video
    scale: float | None = None  # metres per unit of `cameras`

    def __post_init__(self) -> None:
        made = {
            "fps": _rate,
            "size": _size,
            "long_side": _side,
            "limit": _limit,
            "masks": text,
            "objects": text,
            "stream": _stream,
            "pattern": _pattern,
            "distortion": distortion_of,
            "calibrated_at": _size,
            "cameras": text,
            "scale": _scale,
        }
        self._take_lens()
        for name, make in made.items():
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, make(value, name))
        if self.scale is not None and self.cameras is None:
            raise ConfigError("--scale says how many metres a unit of known cameras is; name them with --cameras")
        if self.distortion is not None and self.intrinsics is None:
            raise ConfigError("distortion is of a lens whose fx, fy, cx and cy are known; give intrinsics, too")

    def _take_lens(self) -> None:
        """Put what `intrinsics` say beside fx, fy, cx, cy where it belongs."""
        if self.intrinsics is None:
            return
        lens = lens_of(self.intrinsics, "intrinsics")
        object.__setattr__(self, "intrinsics", lens.pinhole)
        for name, value in (("distortion", lens.distortion), ("calibrated_at", lens.size)):
            if value is not None:
                object.__setattr__(self, name, value)

    def described(self) -> dict[str, Any]:
        """Return plain values. New options that are not set are left out: earlier work keeps its key."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in _ADDED}


def read_options(stated: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> ReadOptions:
    """Make options of those that a pipeline file states; what is `given` on the command line takes their place.

    Values of None are not given. A camera that is given takes the place of the whole camera that the file states.
    Raises ConfigError for options that do not exist, and for values that make no sense.

    >>> read_options({"fps": 10, "limit": 50}, {"fps": 5, "limit": None}).described()["fps"]
    5.0
    """
    known = [field.name for field in fields(ReadOptions)]
    if unknown := [name for name in stated if name not in known]:
        raise ConfigError(f"{', '.join(unknown)}: no such option for reading; there are: {', '.join(known)}")
    given = {name: value for name, value in (given or {}).items() if value is not None}
    replaced = {part for whole, parts in _PARTS.items() if whole in given for part in parts}
    return ReadOptions(**{**{name: value for name, value in stated.items() if name not in replaced}, **given})


def _stream(value: Any, name: str) -> int:
    number = whole(value, name)
    if number < 0:
        raise ConfigError(f"{name} should be a stream's number in its file, 0 or more; found {value!r}")
    return number


def _pattern(value: Any, name: str) -> str:
    pattern = text(value, name)
    if "/" in pattern:
        raise ConfigError(f"{name} should match names of pictures, such as '*.color.png'; found {value!r}")
    return pattern


def _rate(value: Any, name: str) -> float:
    rate = real(value, name)
    if not rate > 0:
        raise ConfigError(f"{name} should be a positive number, found {value!r}")
    if not _SLOWEST <= rate <= _FASTEST:
        raise ConfigError(
            f"{name} should be a rate that film can have, {_SLOWEST:g} to {_FASTEST:g}/s, found {value!r}"
        )
    return rate


def _size(value: Any, name: str) -> tuple[int, int]:
    sides = [whole(side, name) for side in several(value, name)]
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"{name} should be a positive width and height such as 640x360, found {value!r}")
    return _side(sides[0], name), _side(sides[1], name)


def _scale(value: Any, name: str) -> float:
    scale = real(value, name)
    if not 1e-9 <= scale <= 1e9:
        raise ConfigError(f"{name} should be metres per unit of the cameras, above 0; found {value!r}")
    return scale


def _side(value: Any, name: str) -> int:
    side = whole(value, name)
    if not 1 <= side <= LONGEST_SIDE:
        raise ConfigError(f"{name} should be at least 1 and at most {LONGEST_SIDE} px, found {value!r}")
    return side


def _limit(value: Any, name: str) -> int:
    limit = whole(value, name)
    if limit < 1:
        raise ConfigError(f"{name} should be a number of frames, at least 1; found {value!r}")
    return limit


def processed_size(height: int, width: int, options: ReadOptions) -> tuple[int, int]:
    """Return height and width of the processed frames, from those of the source as displayed.

    >>> processed_size(1080, 1920, ReadOptions(long_side=640))
    (360, 640)
    >>> processed_size(120, 160, ReadOptions(long_side=640))
    (120, 160)
    """
    if options.size is not None:
        return options.size[1], options.size[0]
    return (height, width) if options.long_side is None else shrunk_size(height, width, options.long_side)


def scale_intrinsics(
    intrinsics: tuple[float, float, float, float], scale_x: float, scale_y: float
) -> tuple[float, float, float, float]:
    """Scale fx, fy, cx, cy to a resized image.

    Pixel centres are at integer coordinates, so an image spans [-0.5, width - 0.5) and a point moves to
    u' = (u + 0.5) * scale - 0.5.

    >>> scale_intrinsics((100.0, 100.0, 31.5, 23.5), 0.5, 0.5)
    (50.0, 50.0, 15.5, 11.5)
    """
    fx, fy, cx, cy = intrinsics
    return fx * scale_x, fy * scale_y, (cx + 0.5) * scale_x - 0.5, (cy + 0.5) * scale_y - 0.5
