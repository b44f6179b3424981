"""Schema 1 of the store: every dataset, attribute and column in one table, each with dtype, shape, unit and meaning.

Readers of one schema version may rely on: names and dtypes never change, datasets marked optional may be absent,
and new optional datasets may appear. T is the number of frames of the video, N the number of its tracks.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = 1

# How a dataset is laid out in the file.
FRAME = "frame"  # dense map: one frame per chunk, so that one frame can be read without its neighbours
ROWS = "rows"  # a few numbers per frame: contiguous
TRACKS = "tracks"  # (T, N, ...): written only where a segment has tracks, the rest reads as the fill value
QUERY = "query"  # (N, ...): a row per track


@dataclass(frozen=True)
class Dataset:
    """One row of the table: `field` is the pipeline's field that fills it, `option` the write parameter it needs."""

    name: str
    dtype: str
    shape: str
    unit: str
    field: str
    layout: str
    meaning: str
    fill: float = 0  # what frames read as for which the field is missing
    take: str = ""  # "z": the depth component of a point map
    mask: str = ""  # field that says where this one holds
    option: str = ""  # the parameter of `write` that asks for it
    extra: bool = False  # may be absent though its group is there

    @property
    def group(self) -> str:
        return self.name.rpartition("/")[0]


_NAN = float("nan")


def _hand(side: str) -> list[Dataset]:
    def row(name: str, shape: str, unit: str, meaning: str, fill: float = _NAN, extra: bool = False) -> Dataset:
        dtype = "bool" if name in ("valid", "filled") else "float32"
        return Dataset(
            f"hands/{side}/{name}", dtype, shape, unit, f"hands.{side}.{name}", ROWS, meaning, fill=fill, extra=extra
        )

    return [
        row("valid", "T", "", f"a {side} hand was found", fill=0),
        row("filled", "T", "", "valid, but not seen: put between two sights of the hand", fill=0, extra=True),
        row("joints", "T 21 3", "scene", "21 joints, camera frame; NaN where not valid"),
        row("wrist", "T 4 4", "scene", "cam_from_wrist; NaN where not valid"),
        row("uv", "T 21 2", "px", "the joints in the image; NaN where not valid"),
        row("confidence", "T", "0..1", "the detector's score; 0 where not seen", fill=0),
        row("scale", "T", "scene/m", "scene units per metre; NaN where the hand is in metres", extra=True),
        row("mano_pose", "T 16 3", "rad", "MANO axis-angle: global, then 15 joints", extra=True),
        row("betas", "T 10", "", "MANO shape", extra=True),
    ]


_ROWS = [
    Dataset("frames/index", "int64", "T", "", "frames.index", ROWS, "source frame number", fill=-1),
    Dataset("frames/time", "float64", "T", "s", "frames.time", ROWS, "time since the start of the source", fill=_NAN),
    Dataset(
        "frames/view", "uint8", "T", "code", "frames.view", ROWS,
        "where the view changes completely, or is too bare to follow; the attribute `codes` names the numbers",
        extra=True,
    ),
    Dataset("frames/rgb", "uint8", "T H W 3", "", "frames.rgb", FRAME, "colour, RGB", option="rgb", extra=True),
    Dataset(
        "prior/depth", "float16", "T H W", "free scale per frame", "prior.points", FRAME,
        "depth z of the prior; 0 where invalid", take="z", mask="prior.mask", option="prior",
    ),
    Dataset(
        "prior/intrinsics", "float32", "T 3 3", "px", "prior.intrinsics", ROWS,
        "pinhole matrix of the prior", fill=_NAN, option="prior", extra=True,
    ),
    Dataset("prior/mask", "bool", "T H W", "", "prior.mask", FRAME, "where prior/depth holds", option="prior"),
    Dataset(
        "geometry/depth", "float16", "T H W", "scene", "geometry.points", FRAME,
        "temporally consistent depth z; 0 where invalid", take="z", mask="geometry.mask",
    ),
    Dataset("geometry/mask", "bool", "T H W", "", "geometry.mask", FRAME, "where geometry/depth holds"),
    Dataset(
        "geometry/intrinsics", "float32", "T 3 3", "px", "geometry.intrinsics", ROWS,
        "pinhole matrix of the point map", fill=_NAN,
    ),
    Dataset(
        "geometry/points", "float16", "T H W 3", "scene", "geometry.points", FRAME,
        "point map, camera frame; 0 where invalid", mask="geometry.mask", option="points", extra=True,
    ),
    Dataset("camera/intrinsics", "float32", "T 3 3", "px", "camera.intrinsics", ROWS, "pinhole matrix", fill=_NAN),
    Dataset(
        "camera/cam_from_world", "float32", "T 4 4", "scene", "camera.cam_from_world", ROWS,
        "maps world points into the camera; NaN where not valid, but for the rotation of a camera that only turns",
        fill=_NAN,
    ),
    Dataset("camera/depth", "float16", "T H W", "scene", "camera.depth", FRAME, "multi-view depth z; 0 where unknown"),
    Dataset("camera/valid", "bool", "T", "", "camera.valid", ROWS, "the frame has a full pose"),
    Dataset(
        "camera/motion", "uint8", "T", "code", "camera.motion", ROWS,
        "what the camera does; the attribute `codes` names the numbers", extra=True,
    ),
    Dataset(
        "tracks/xyz", "float32", "T N 3", "scene", "tracks.xyz", TRACKS,
        "world position; NaN where unknown and outside the track's segment", fill=_NAN,
    ),
    Dataset("tracks/visible", "bool", "T N", "", "tracks.visible", TRACKS, "the track is seen in that frame"),
    Dataset(
        "tracks/uv", "float32", "T N 2", "px", "tracks.uv", TRACKS, "place in the image; NaN where unknown", fill=_NAN
    ),
    Dataset(
        "tracks/query", "float32", "N 4", "frame, scene", "tracks.query", QUERY,
        "query frame (counted in the video) and its world x, y, z",
    ),
    *_hand("left"),
    *_hand("right"),
    Dataset(
        "objects/label", "uint8", "T H W", "", "objects.label", FRAME,
        "number of the object that each pixel shows, 1 to 255; 0 background; the attribute `numbers` lists them",
    ),
]  # fmt: skip

DATASETS: dict[str, Dataset] = {row.name: row for row in _ROWS}

REQUIRED = ("frames/index", "frames/time")
SEGMENTS = "segments"

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
    "metric": (bool, "True when scene units are metres; else the whole video is up to one scale"),
    "status": (str, "complete, or incomplete when an optional stage failed on a segment"),
    "pipeline": (str, "JSON: every parameter, seed, backend version, weights revision, licence"),
}

NOTES = "notes"  # an attribute that may be absent: JSON list of how the source was read, mended, or looked wrong

# Not in files of earlier versions: what the source was known by when it was read, JSON: size, dates, a digest of some
# blocks. Where these leave a doubt, its checksum decides.
IDENTITY = "source_identity"

# Attributes that files of earlier versions lack.
EXTRA_ATTRIBUTES: dict[str, tuple[type, str]] = {
    "recovered": (str, "what was recovered of the video, and what was not and why: a sentence"),
    "lacking": (str, "what of it is missing in all or in part, such as: poses, depth, hands (not computed)"),
}
# Not in files of earlier versions: JSON, what all parts of the file are parts of; see `geoflow.store.work_key`.
WORK = "work"
PARTS = "parts"  # of the table of segments, JSON: key of a work -> how many of the segments are parts of it

STATUSES = ("complete", "incomplete")
MOTION_NAMES = ("unknown", "moving", "still", "rotating")  # camera/motion 0..3
VIEW_NAMES = ("plain", "cut", "bare")  # frames/view 0..2

SECONDS_PREFIX = "seconds_"  # one column per slot

# Columns of the `segments` table: name -> (numpy dtype, or "str", meaning); seconds_<slot> columns follow `status`.
SEGMENT_COLUMNS: dict[str, tuple[str, str]] = {
    "index": ("int64", "number of the segment in the video"),
    "start": ("int64", "first frame, counted in the video"),
    "stop": ("int64", "one past the last frame; neighbours overlap"),
    "status": ("str", "complete, or incomplete when an optional stage failed on it"),
    "scale": ("float32", "factor that brought it to the video's scale; NaN where it could not be connected"),
    "seam_residual": (
        "float32",
        "median relative depth gap left at the seam before it; NaN for the first",
    ),
    "ladder": ("str", "JSON object: slot -> ladder level that worked, 0 the full setting"),
    "notes": ("str", "JSON list of remarks: stages it is without, and why; stages that found nothing valid"),
}

# Columns of index.parquet, a row per input: name -> (Arrow type, meaning).
INDEX_COLUMNS: dict[str, tuple[str, str]] = {
    "name": ("string", "name of the video, unique in the run"),
    "source": ("string", "absolute path or URI of the input"),
    "source_sha256": ("string", "checksum of the source"),
    "status": ("string", "complete or failed"),
    "reason": ("string", "why it failed; empty when complete"),
    "path": ("string", "the store, relative to the run's folder; empty when failed"),
    "num_frames": ("int64", "frames stored"),
    "fps": ("float64", "1/s"),
    "height": ("int32", "px"),
    "width": ("int32", "px"),
    "metric": ("bool", "scene units are metres"),
    "segments": ("int64", "segments the video was cut into"),
    "incomplete_segments": ("int64", "segments on which an optional stage failed"),
    "frames_posed": ("int64", "frames with a full camera pose; null where no stage looks for any"),
    "geometry_coverage": ("float64", "share of pixels with geometry, 0..1; NaN without geometry"),
    "motion": ("string", "what the camera does, by share of frames"),
    "objects": ("int64", "objects that have a label or a mesh; null where no stage looks for any"),
    "recovered": ("string", "what was recovered, and what was not and why: a sentence"),
    "lacking": ("string", "what of it is missing in all or in part, such as: poses, depth, hands (not computed)"),
    "seconds": ("float64", "work of all stages on this video, s"),
    "key": ("string", "of the work that the store holds: it tells whether the row and the file belong together"),
}

# Columns of segments.parquet: the table's columns with the video's name in front.
VIDEO_COLUMN = "video"
