"""The field table: every array that travels between stages, with its dtype, symbolic shape, unit and meaning.

Symbols bind within a group (the name up to its last dot), so `tracks.*` may cover other frames than
`geometry.*`. The engine checks each stage's output against this table before anyone consumes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoflow.errors import ConfigError, StageError


@dataclass(frozen=True)
class Field:
    """One row of the table: `shape` is symbolic, a number in it is literal."""

    name: str
    dtype: str
    shape: str
    unit: str
    meaning: str

    @property
    def group(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def per_frame(self) -> bool:
        """It has a row for each frame of the segment."""
        return self.shape.split()[0] == "T"


def _hand(side: str) -> list[Field]:
    return [
        Field(f"hands.{side}.valid", "bool", "T", "", f"a {side} hand was found; all else is NaN where False"),
        Field(f"hands.{side}.filled", "bool", "T", "", "valid, but not seen: put between two sights of the hand"),
        Field(f"hands.{side}.joints", "float32", "T 21 3", "scene", "21 joints, camera frame, MediaPipe order"),
        Field(f"hands.{side}.wrist", "float32", "T 4 4", "scene", "cam_from_wrist, the wrist's pose"),
        Field(f"hands.{side}.uv", "float32", "T 21 2", "px", "the joints in the image"),
        Field(f"hands.{side}.confidence", "float32", "T", "0..1", "the detector's score; 0 where not seen"),
        Field(f"hands.{side}.scale", "float32", "T", "scene/m", "scene units per metre; NaN: this hand is in metres"),
        Field(f"hands.{side}.mano_pose", "float32", "T 16 3", "rad", "MANO axis-angle: global, then 15 joints"),
        Field(f"hands.{side}.betas", "float32", "T 10", "", "MANO shape"),
    ]


_ROWS = [
    # Probed once per video, before its first segment; F counts the frames that will be decoded.
    Field("video.index", "int64", "F", "", "source frame number of each frame to decode"),
    Field("video.pts", "int64", "F", "stream time base", "presentation time stamp; -1 where the source has none"),
    Field("video.time", "float64", "F", "s", "true time of each frame since the start of the source"),
    Field("video.seek", "int64", "F 5", "", "where decoding must start for a frame that packets do not tell"),
    Field("frames.rgb", "uint8", "T H W 3", "", "colour, RGB"),
    Field("frames.index", "int64", "T", "", "source frame number"),
    Field("frames.time", "float64", "T", "s", "true time since the start of the source"),
    Field(
        "frames.view", "uint8", "T", "code", "0 as usual, 1 first frame of another view (a cut), 2 too bare to follow"
    ),
    Field("frames.mask", "bool", "T H W", "", "True where the user's mask marks things that move or must be ignored"),
    Field("prior.points", "float16", "T H W 3", "free scale per frame", "point map, camera frame; 0 where invalid"),
    Field("prior.mask", "bool", "T H W", "", "where prior.points holds"),
    Field("prior.intrinsics", "float32", "T 3 3", "px", "pinhole matrix of the prior"),
    Field("geometry.points", "float16", "T H W 3", "scene", "temporally consistent point map, camera frame"),
    Field("geometry.mask", "bool", "T H W", "", "where geometry.points holds"),
    Field("geometry.intrinsics", "float32", "T 3 3", "px", "pinhole matrix of the point map"),
    Field("camera.intrinsics", "float32", "T 3 3", "px", "pinhole matrix"),
    Field("camera.cam_from_world", "float32", "T 4 4", "scene", "maps world points into the camera; NaN where unknown"),
    Field("camera.depth", "float16", "T H W", "scene", "multi-view depth z; 0 where unknown"),
    Field("camera.valid", "bool", "T", "", "the frame has a full pose"),
    Field("camera.motion", "uint8", "T", "code", "0 unknown, 1 moving, 2 still, 3 rotating in place"),
    Field("tracks.xyz", "float32", "T N 3", "scene", "world position; NaN where unknown"),
    Field("tracks.visible", "bool", "T N", "", "seen in that frame"),
    Field("tracks.uv", "float32", "T N 2", "px", "position in the image; NaN where unknown"),
    Field("tracks.query", "float32", "N 4", "frame, scene", "query frame (counted in the video) and its x, y, z"),
    *_hand("left"),
    *_hand("right"),
    Field("stitch.scale", "float32", "1", "", "factor that brought the segment to the video's scale"),
    Field("stitch.seam_residual", "float32", "1", "relative", "median depth gap left at the seam; NaN for the first"),
]

FIELDS: dict[str, Field] = {row.name: row for row in _ROWS}

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
    """Compare what a stage returned with what it declared and with the table.

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
