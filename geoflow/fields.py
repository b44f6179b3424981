"""The field table: every array that travels between stages, with its dtype, symbolic shape, unit and meaning.

Symbols bind within a group (the name up to its last dot), so `tracks.*` may cover other frames than
`geometry.*`. A row also says what a value looks like that nobody knows. The engine checks each stage's output, its
values included, against this table before anyone consumes it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.errors import ConfigError, StageError

# What a value that is not known looks like.
NEVER = "never"  # every value is known, and finite
ZERO = "0"  # finite throughout
NAN = "NaN"  # and never infinite
ANYTHING = "anything"  # where `holds` is False, values are not to be read


@dataclass(frozen=True)
class Field:
    """One row of the table: `shape` is symbolic, a number in it is literal.

    `holds` names the field of bool that says where values are known, and therefore finite; of a field with fewer axes
    than that one, a value is known where any of its is. Where it is "", the value itself tells.
    """

    name: str
    dtype: str
    shape: str
    unit: str
    meaning: str
    invalid: str = NEVER
    holds: str = ""
    depth: bool = False  # the value, or the last of its components, is a depth z: above 0 where it is known

    @property
    def group(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def per_frame(self) -> bool:
        """It has a row for each frame of the segment."""
        return self.shape.split()[0] == "T"


def _hand(side: str) -> list[Field]:
    def found(name: str, shape: str, unit: str, meaning: str) -> Field:
        return Field(f"hands.{side}.{name}", "float32", shape, unit, meaning, NAN, f"hands.{side}.valid")

    return [
        Field(f"hands.{side}.valid", "bool", "T", "", f"a {side} hand was found"),
        Field(f"hands.{side}.filled", "bool", "T", "", "valid, but not seen: put between two sights of the hand"),
        found("joints", "T 21 3", "scene", "21 joints, camera frame, MediaPipe order"),
        found("wrist", "T 4 4", "scene", "cam_from_wrist, the wrist's pose"),
        found("uv", "T 21 2", "px", "the joints in the image"),
        Field(f"hands.{side}.confidence", "float32", "T", "0..1", "the detector's score; 0 where not seen"),
        Field(
            f"hands.{side}.scale", "float32", "T", "scene/m", "scene units per metre; NaN: this hand is in metres", NAN
        ),
        found("mano_pose", "T 16 3", "rad", "MANO axis-angle: global, then 15 joints"),
        found("betas", "T 10", "", "MANO shape"),
    ]


def _points(group: str, unit: str, meaning: str) -> Field:
    return Field(f"{group}.points", "float16", "T H W 3", unit, meaning, ANYTHING, f"{group}.mask", depth=True)


def _intrinsics(group: str, holds: str, meaning: str) -> Field:
    return Field(f"{group}.intrinsics", "float32", "T 3 3", "px", meaning, NAN, f"{group}.{holds}")


_ROWS = [
    # Probed once per video, before its first segment; F counts the frames that will be decoded.
    Field("video.index", "int64", "F", "", "source frame number of each frame to decode"),
    Field("video.pts", "int64", "F", "stream time base", "presentation time stamp; -1 where the source has none"),
    Field("video.time", "float64", "F", "s", "true time of each frame since the start of the source"),
    Field("video.seek", "int64", "F 5", "", "where decoding must start for a frame that packets do not tell"),
    Field("video.cam_from_world", "float64", "F 4 4", "given", "known pose: maps world points into the camera", NAN),
    Field(
        "video.intrinsics", "float64", "F 3 3", "px", "known pinhole matrix of each frame that has a known pose", NAN
    ),
    Field("frames.rgb", "uint8", "T H W 3", "", "colour, RGB"),
    Field("frames.index", "int64", "T", "", "source frame number"),
    Field("frames.time", "float64", "T", "s", "true time since the start of the source"),
    Field(
        "frames.view", "uint8", "T", "code", "0 as usual, 1 first frame of another view (a cut), 2 too bare to follow"
    ),
    Field("frames.mask", "bool", "T H W", "", "True where the user's mask marks things that move or must be ignored"),
    _points("prior", "free scale per frame", "point map, camera frame"),
    Field("prior.mask", "bool", "T H W", "", "where prior.points holds"),
    _intrinsics("prior", "mask", "pinhole matrix of the prior"),
    _points("geometry", "scene", "temporally consistent point map, camera frame"),
    Field("geometry.mask", "bool", "T H W", "", "where geometry.points holds"),
    _intrinsics("geometry", "mask", "pinhole matrix of the point map"),
    _intrinsics("camera", "valid", "pinhole matrix"),
    Field(
        "camera.cam_from_world", "float32", "T 4 4", "scene", "maps world points into the camera", NAN, "camera.valid"
    ),
    Field("camera.depth", "float16", "T H W", "scene", "multi-view depth z", ZERO, depth=True),
    Field("camera.valid", "bool", "T", "", "the frame has a full pose"),
    Field("camera.motion", "uint8", "T", "code", "0 unknown, 1 moving, 2 still, 3 rotating in place"),
    Field("tracks.xyz", "float32", "T N 3", "scene", "world position", NAN),
    Field("tracks.visible", "bool", "T N", "", "seen in that frame"),
    Field("tracks.uv", "float32", "T N 2", "px", "position in the image", NAN, "tracks.visible"),
    Field("tracks.query", "float32", "N 4", "frame, scene", "query frame (counted in the video) and its x, y, z", NAN),
    *_hand("left"),
    *_hand("right"),
    Field("stitch.scale", "float32", "1", "", "factor that brought the segment to the video's scale", NAN),
    Field(
        "stitch.seam_residual", "float32", "1", "relative", "median depth gap left at the seam; NaN for the first", NAN
    ),
]

FIELDS: dict[str, Field] = {row.name: row for row in _ROWS}
# Those that say where something is known.
_TELLING = {row.holds for row in _ROWS if row.holds} | {row.name for row in _ROWS if row.invalid == ZERO}

VIEW_PLAIN, VIEW_CUT, VIEW_BARE = range(3)
MOTION_UNKNOWN, MOTION_MOVING, MOTION_STILL, MOTION_ROTATING = range(4)


def field(name: str) -> Field:
    """Look a field up. Raises ConfigError when the table does not know it."""
    try:
        return FIELDS[name]
    except KeyError:
        raise ConfigError(f"unknown field {name!r}; geoflow/fields.py lists them all") from None


def check(
    arrays: Mapping[str, np.ndarray],
    declared: tuple[str, ...],
    *,
    who: str,
    optional: tuple[str, ...] = (),
    num_frames: int | None = None,
) -> None:
    """Compare what a stage returned with what it declared and with the table: names, dtypes, shapes, then values.

    `num_frames` pins T for stages that return a row per frame of their segment; ordered stages may return
    other frames (stitch keeps the overlap back) and pass None.

    Raises StageError that names the field, what was expected and what was found.
    """
    undeclared = sorted(set(arrays) - set(declared) - set(optional))
    missing = sorted(set(declared) - set(arrays))
    if undeclared or missing:
        raise StageError(f"{who} returned undeclared {undeclared} and left out {missing}; its outputs are {declared}")
    bound: dict[tuple[str, str], int] = {}
    for name, array in arrays.items():
        row = field(name)
        if not isinstance(array, np.ndarray):
            raise StageError(f"{who}: {name} should be a numpy array of {row.dtype}, found {type(array).__name__}")
        if array.dtype != np.dtype(row.dtype):
            raise StageError(f"{who}: {name} should be {row.dtype}, found {array.dtype}")
        _check_shape(row, array.shape, bound, num_frames, who)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and (fault := _value_fault(field(name), array, arrays)):
            raise StageError(f"{who}: {name} {fault}")


def _check_shape(
    row: Field, shape: tuple[int, ...], bound: dict[tuple[str, str], int], num_frames: int | None, who: str
) -> None:
    symbols = row.shape.split()
    if len(symbols) != len(shape):
        raise StageError(f"{who}: {row.name} should have shape ({row.shape}), found {shape}")
    for symbol, size in zip(symbols, shape):
        if symbol.isdigit():
            expected = int(symbol)
        elif symbol == "T" and num_frames is not None:
            expected = num_frames
        else:
            expected = bound.setdefault((row.group, symbol), size)
        if size != expected:
            raise StageError(f"{who}: {row.name} should have {symbol}={expected} in ({row.shape}), found {shape}")


_Fault = tuple[str, np.ndarray, np.ndarray]  # what was expected, the values looked at, where they are not so

_BLOCK = 1 << 19  # values looked at together: their temporaries stay in the processor's cache
_HALF_EXPONENT, _HALF_SIGN = 0x7C00, -0x8000  # bits of float16: all of an infinity's or a NaN's; of -0.0


def _value_fault(row: Field, array: np.ndarray, arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with the values of a field of floats, "" when nothing is."""
    holds = _known(row, array, arrays)
    for part in _blocks(array):
        values, known = array[part], None if holds is None else holds[part]
        fault = _not_finite(row, values, known) or (_not_ahead(row, values, known) if row.depth else None)
        if fault is not None:
            expected, looked_at, wrong = fault
            i = int(np.flatnonzero(wrong.reshape(len(wrong), -1).any(1))[0])
            where = f" where {row.holds} is True" if row.holds and known is not None else ""
            return f"should be {expected}{where}, found {_seen(looked_at[i][wrong[i]])} in row {part.start + i}"
    return ""


def _known(row: Field, array: np.ndarray, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Where values are known, in as many of the array's first axes as that is said for; None where nothing says so."""
    if (holds := arrays.get(row.holds)) is None:
        return None
    symbols = FIELDS[row.holds].shape.split()
    return holds if row.shape.split()[: len(symbols)] == symbols else np.array([part.any() for part in holds], bool)


def _blocks(array: np.ndarray) -> Iterator[slice]:
    rows = max(1, _BLOCK * len(array) // max(array.size, 1)) if array.size else 1
    return (slice(start, start + rows) for start in range(0, len(array) if array.size else 0, rows))


def _not_finite(row: Field, values: np.ndarray, known: np.ndarray | None) -> _Fault | None:
    """Values that are not finite and should be."""
    if values.dtype == np.float16:  # numpy's own test of float16 takes several times as long
        odd = (values.view(np.int16) & _HALF_EXPONENT) == _HALF_EXPONENT
    else:
        odd = ~np.isfinite(values)
    if not odd.any():
        return None
    if row.invalid in (NEVER, ZERO):
        return "finite", values, odd
    if row.invalid == NAN and (infinite := odd & ~np.isnan(values)).any():
        return "finite or NaN", values, infinite
    if known is None:
        return None
    parts = odd.reshape(*known.shape, -1)
    few = parts.shape[-1] <= 4  # numpy is slow to reduce an axis that short
    wrong = known & (functools.reduce(np.logical_or, np.moveaxis(parts, -1, 0)) if few else parts.any(-1))
    return ("finite", values, wrong) if wrong.any() else None


def _not_ahead(row: Field, values: np.ndarray, known: np.ndarray | None) -> _Fault | None:
    """Depths that are not above 0 and should be; unknown ones are 0 where nothing else tells which those are."""
    z = values if row.invalid == ZERO else values[..., -1]
    bits = z.view(np.int16) if z.dtype == np.float16 else z  # they sort alike, and integers are compared faster
    if row.invalid == ZERO:
        wrong = (bits < 0) & (bits != _HALF_SIGN)
        return ("a depth of 0 or more", z, wrong) if wrong.any() else None
    if known is None:
        return None
    wrong = (bits <= 0) & known
    return ("a depth above 0", z, wrong) if wrong.any() else None


def _seen(values: np.ndarray) -> str:
    """A few words on wrong values: what they are, and how many."""
    values = values.reshape(-1)
    if np.isinf(values).any():
        limit = f" (float16 ends at {np.finfo(np.float16).max:.0f})" if values.dtype == np.float16 else ""
        return f"{np.count_nonzero(np.isinf(values))} infinite values{limit}"
    if np.isnan(values).any():
        return f"{np.count_nonzero(np.isnan(values))} that are NaN"
    return f"{values.min():.4g} and {len(values) - 1} more such" if len(values) > 1 else f"{values[0]:.4g}"


def known_share(arrays: Mapping[str, np.ndarray], count: int | None = None) -> dict[str, tuple[int, int]]:
    """How much is known of what the table has a row for that says so: field -> (values known, values), in the first
    `count` rows.

    >>> known_share({"camera.valid": np.array([True, False]), "frames.index": np.arange(2)})
    {'camera.valid': (1, 2)}
    """
    found = {}
    for name in sorted(_TELLING & arrays.keys()):
        array = arrays[name][:count]
        bits = array.view(np.int16) if array.dtype == np.float16 else array
        found[name] = int(np.count_nonzero(bits)), array.size
    return found
