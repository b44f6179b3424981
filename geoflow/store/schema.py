"""Schema 1 of the store: every dataset, attribute and column, each with dtype, shape, unit and meaning.

The datasets follow from the field table (`geoflow.fields`). Readers of one schema version can rely on this: names and
dtypes never change; datasets whose presence is `EXTRA` may be absent, and new `EXTRA` datasets may appear. T is the
number of frames of the video, N the number of its tracks, R the rows for hands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoflow.fields import FIELDS, MOTION_NAMES, VIEW_NAMES
from geoflow.quality.quality_columns import QUALITY_COLUMNS
from geoflow.values.field import ALWAYS, COLUMN, FRAME, QUERY, ROWS, TRACKS, Field, Stored

__all__ = ["FRAME", "MOTION_NAMES", "QUERY", "ROWS", "TRACKS", "VIEW_NAMES"]

SCHEMA = 1


@dataclass(frozen=True)
class Dataset:
    """One dataset: `row` is the field that fills it, and `stored` the entry of that row for the dataset."""

    name: str
    row: Field
    stored: Stored

    @property
    def field(self) -> str:
        return self.row.name

    @property
    def dtype(self) -> str:
        return self.stored.dtype or self.row.dtype

    @property
    def shape(self) -> str:
        return self.row.shape.rpartition(" ")[0] if self.stored.take else self.row.shape

    @property
    def unit(self) -> str:
        return self.row.unit

    @property
    def layout(self) -> str:
        return self.row.layout

    @property
    def take(self) -> str:
        return self.stored.take

    @property
    def group(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def is_whole(self) -> bool:
        """Whether it holds all of its field, in a row for each frame."""
        return not self.take and self.layout in (FRAME, ROWS)

    @property
    def fill(self) -> float:
        """Return the value of frames for which the field is missing."""
        return self.row.unknown if self.stored.fill is None else self.stored.fill

    @property
    def meaning(self) -> str:
        """Return a sentence on what it holds, and which value stands for unknown."""
        words = [self.stored.meaning or self.row.meaning]
        if self.row.space in ("camera", "world"):
            words[0] += f" ({self.row.space} frame)"
        if invalid := self.invalid:
            words.append(invalid)
        words += [self.row.conventions] if self.row.conventions else []
        words += ["the attribute `codes` names the numbers"] if self.row.codes else []
        return "; ".join(words)

    @property
    def invalid(self) -> str:
        """Return what stands in the file for an unknown value; "" if all values are known."""
        if self.row.invalid == "never" or self.row.codes:
            return ""
        where = f"where {self.row.outside.replace('.', '/')} is False" if self.row.outside else "where unknown"
        return f"{self.row.unknown:g} {where}".replace("nan", "NaN")

    def is_wanted(self, fields: Mapping[str, object], switches: Mapping[str, bool]) -> bool:
        """Return whether these fields fill it, and its switch, if it has one, is on."""
        needs = {self.field, self.row.outside or self.field} if self.layout == FRAME else {self.field}
        return needs <= fields.keys() and (
            self.stored.switch is None or bool(switches.get(self.stored.switch.name, False))
        )


def datasets() -> dict[str, Dataset]:
    """Return every possible dataset of a store, by name, in the order of the field table."""
    rows = [
        Dataset(stored.name or row.name.replace(".", "/"), row, stored)
        for row in FIELDS.values()
        if row.layout not in ("", COLUMN)
        for stored in row.stored
    ]
    return {row.name: row for row in rows}


DECODED = ("frames.rgb", "frames.mask")  # what is read from the source again


def not_held(names: Sequence[str], switches: Mapping[str, bool]) -> dict[str, str]:
    """Which of these fields cannot be read back frame by frame from what a run wrote, each with the remedy.

    >>> not_held(["objects.label", "frames.rgb", "geometry.points"], {})
    {'geometry.points': 'set write.points=true'}
    """
    found = {}
    for name in names:
        rows = [row for row in datasets().values() if row.field == name and row.is_whole]
        needed = [row.stored.switch for row in rows]
        if name in DECODED or any(switch is None or switches.get(switch.name, False) for switch in needed):
            continue
        on = [f"set write.{switch.name}=true" for switch in needed if switch is not None]
        found[name] = on[0] if on else "a store has no row of it for each frame"
    return found


def columns() -> dict[str, Dataset]:
    """Return the fields with one number per segment, by their column of the table of segments."""
    rows = [row for row in FIELDS.values() if row.layout == COLUMN and row.stored]
    return {row.stored[0].name or row.name.rpartition(".")[2]: Dataset(row.name, row, row.stored[0]) for row in rows}


def num_tracks(held: Mapping[str, Any]) -> int:
    """Return the number of tracks in a file: the rows of its datasets with a row per track."""
    return next((len(held[name]) for name, row in datasets().items() if row.layout == QUERY and name in held), 0)


def num_hand_rows(held: Mapping[str, Any]) -> int:
    """Return how many hands a frame has rows for, in a file or in fields; 0 without hands."""
    for row in datasets().values():
        symbols = row.shape.split()
        array = held.get(row.name, held.get(row.field))
        if "R" in symbols and array is not None:
            return int(array.shape[symbols.index("R")])
    return 0


SEGMENTS = "segments"
TRACK_ID = "tracks/id"

# Attributes of the file: name -> (Python type, meaning).
ATTRIBUTES: dict[str, tuple[type, str]] = {
    "geoflow_schema": (int, "version of this table"),
    "geoflow_version": (str, "version of the library that wrote the file"),
    "source": (str, "absolute path or URI of the video"),
    "source_sha256": (str, "checksum of the source; empty where it has none"),
    "fps": (float, "mean rate of the stored frames, 1/s"),
    "num_frames": (int, "T"),
    "height": (int, "H, px"),
    "width": (int, "W, px"),
    "metric": (bool, "True if scene units are metres; otherwise the whole video has one unknown scale"),
    "status": (str, "complete, or incomplete when an optional stage failed on a segment"),
    "pipeline": (str, "JSON: every parameter, seed, backend version, weights revision, licence"),
}

NOTES = "notes"  # an attribute that may be absent: JSON list of how the source was read, mended, or looked wrong

# Only where places were seen again and the path was bent: JSON list of pairs of frames, with the gap between both
# visits before and after, in scene units and rad; see `geoflow.geometry.loops.bending.Closed`.
LOOPS = "loops"

# Not in files of earlier versions: JSON that identifies the source as it was read: size, dates, a digest of some
# blocks. If these leave a doubt, the source's checksum decides.
IDENTITY = "source_identity"

# Attributes that files of earlier versions lack.
EXTRA_ATTRIBUTES: dict[str, tuple[type, str]] = {
    "recovered": (str, "what was recovered of the video, and what was not and why: a sentence"),
    "lacking": (str, "what of the video is missing in all or in part, such as: poses, depth, hands (not computed)"),
}
# Not in files of earlier versions: JSON of the work that all parts of the file belong to; see `geoflow.store.work_key`.
WORK = "work"
PARTS = "parts"  # of the table of segments, JSON: key of a work -> number of segments that belong to it

METRIC = "metric"  # the file's attribute, and the column of segments from which it follows, if there is one

STATUSES = ("complete", "incomplete")

SECONDS_PREFIX = "seconds_"  # one column per slot

# Columns of the `segments` table beside those that fields become: name -> (numpy dtype, or "str", meaning).
_PLACE = {
    "index": ("int64", "number of the segment in the video"),
    "start": ("int64", "first frame, counted in the video"),
    "stop": ("int64", "one past the last frame; neighbours overlap"),
    "status": ("str", "complete, or incomplete when an optional stage failed on it"),
}
_RECORD = {
    "ladder": ("str", "JSON object: slot -> ladder level that worked, 0 the full setting"),
    "notes": ("str", "JSON list of remarks: stages without results here, and why; stages that found nothing valid"),
}


def segment_columns() -> dict[str, tuple[str, str]]:
    """Return the columns of the `segments` table: name -> (numpy dtype, or "str", meaning). Columns seconds_<slot>
    follow `status`. Columns of fields that are not in every store may be missing."""
    given = {name: (row.dtype, row.meaning) for name, row in columns().items()}
    return {**_PLACE, **given, **QUALITY_COLUMNS, **_RECORD}


def required_columns() -> list[str]:
    """Return the columns that every `segments` table has."""
    given, later = columns(), QUALITY_COLUMNS
    names = [name for name in segment_columns() if name not in later]
    return [name for name in names if name not in given or given[name].stored.presence == ALWAYS]


# Columns of index.parquet, a row per input: name -> (Arrow type, meaning).
INDEX_COLUMNS: dict[str, tuple[str, str]] = {
    "name": ("string", "name of the video, unique in the run"),
    "source": ("string", "absolute path or URI of the input"),
    "source_sha256": ("string", "checksum of the source"),
    "status": ("string", "complete, failed, or unfit: left out by --skip-unfit"),
    "reason": ("string", "why it failed or is unfit; empty when complete"),
    "path": ("string", "the store, relative to the run's folder; empty when there is none"),
    "num_frames": ("int64", "frames stored"),
    "fps": ("float64", "1/s"),
    "height": ("int32", "px"),
    "width": ("int32", "px"),
    "metric": ("bool", "scene units are metres"),
    "segments": ("int64", "number of segments of the video"),
    "incomplete_segments": ("int64", "segments on which an optional stage failed"),
    "frames_posed": ("int64", "frames with a full camera pose; null if no stage looks for poses"),
    "camera_quality": ("float64", "how far the poses can be believed, 0..1: the median of `camera/quality` over them"),
    "geometry_coverage": ("float64", "share of pixels with geometry, 0..1; NaN without geometry"),
    "tracks": ("int64", "tracks with a place in the world; null if no stage looks for tracks"),
    "frames_with_hands": ("int64", "frames with a hand; null if no stage looks for hands"),
    "motion": ("string", "what the camera does, by share of frames"),
    "objects": ("int64", "objects that have a label or a mesh; null if no stage looks for objects"),
    "recovered": ("string", "what was recovered, and what was not and why: a sentence"),
    "lacking": ("string", "what of it is missing in all or in part, such as: poses, depth, hands (not computed)"),
    "notes": ("string", "JSON list of how the source was read, mended, or looked wrong"),
    **{name: ("string" if kind == "str" else kind, meaning) for name, (kind, meaning) in QUALITY_COLUMNS.items()},
    "seam_residual": ("float32", "largest `seam_residual` of its segments; null if there is no seam"),
    "seconds": ("float64", "work of all stages on this video, s"),
    "key": ("string", "key of the work that the store holds: it shows whether the row and the file belong together"),
}

# Columns of segments.parquet: the table's columns with the video's name in front.
VIDEO_COLUMN = "video"
