"""The field table: every array that is passed between stages, with all facts about it.

A row gives an array's name, dtype, symbolic shape, unit and meaning, its space, the value that stands for unknown, its
form in the store, and how it is joined at a seam; `geoflow.values.field` explains the words. Everything else follows
from the table: the engine's check of each stage's output, `stitch`, `write`, the store's datasets, `verify`, and the
reference page. A new field is a new row.

Symbols bind within a group (the name up to its last dot), so `tracks.*` may cover other frames than `geometry.*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, StageError
from geoflow.values.field import (
    ALWAYS,
    ANYTHING,
    CAMERA,
    COLOUR,
    COUNTING,
    DEPTH,
    EITHER,
    FRAME_FIRST,
    GROWING,
    IMAGE,
    LATER,
    MIX,
    MOST,
    NAN,
    NEVER,
    NUMBER,
    PAST,
    PINHOLE,
    PLACEMENT,
    POSE,
    SCORE,
    TOGETHER,
    WHOLE,
    WITH_GROUP,
    WORLD,
    ZERO,
    Field,
    Stored,
    Switch,
)
from geoflow.values.field_values import value_fault
from geoflow.values.mesh_values import mesh_fault
from geoflow.values.object_names import MESH, MESH_SEEN, kind_of, name_for, object_of

MOTION_UNKNOWN, MOTION_MOVING, MOTION_STILL, MOTION_ROTATING = range(4)
MOTION_NAMES = ("unknown", "moving", "still", "rotating")
DOUBT_NONE, DOUBT_UNMATCHED, DOUBT_REVERSED, DOUBT_FAR_OFF, DOUBT_FOCAL, DOUBT_STATED, DOUBT_ASSUMED = range(7)
DOUBT_NAMES = ("none", "unmatched", "near or far", "far off", "focal unsure", "lens stated", "lens assumed")
UNIT_OWN, UNIT_PRIOR, UNIT_TOO_FEW, UNIT_UNSTEADY = range(4)
UNIT_NAMES = ("own", "prior", "few priors", "unsteady prior")
LENS_UNKNOWN, LENS_GIVEN, LENS_FROM_STATED, LENS_FROM_PRIOR, LENS_FROM_GUESS = range(5)
LENS_NAMES = ("unknown", "given", "from stated", "from prior", "from guess")
DEPTH_NONE, DEPTH_ALIGNED, DEPTH_SCALED, DEPTH_MATCHED, DEPTH_FLAT, DEPTH_CONTRARY, DEPTH_UNSEEN = range(7)
DEPTH_NAMES = ("none", "aligned", "scaled", "matched", "flat prior", "contrary prior", "unseen")
GEOMETRY_OF_NOTHING, GEOMETRY_OF_CAMERA, GEOMETRY_OF_PRIOR = range(3)
SOURCE_NAMES = ("nothing", "camera", "prior")
VIEW_PLAIN, VIEW_CUT, VIEW_BARE = range(3)
VIEW_NAMES = ("plain", "cut", "bare")
OBJECT_UNASKED, OBJECT_SEEN, OBJECT_LOST, OBJECT_AWAITED = range(4)
OBJECT_STATES = ("unasked", "seen", "lost", "awaited")
HAND_NONE, HAND_LEFT, HAND_RIGHT = range(3)
HAND_SIDES = ("none", "left", "right")

_RGB = Switch("rgb", False, "store the frames themselves, too")
_PRIOR = Switch("prior", True, "store the prior's depth and mask")
_POINTS = Switch("points", False, "store full point maps beside depth")

_IN_STORE = (Stored(presence=WITH_GROUP),)
_NOT_STORED: tuple[Stored, ...] = ()

_FLAT = "of MANO, absolute: no mean pose is added, and the identity is the flat hand"


def _hand(group: str, axes: str, meaning: str) -> list[Field]:
    """Return the rows of one hand per frame (`axes` T), or of R hands (`axes` T R)."""
    valid, filled, scale = (f"{group}.{name}" for name in ("valid", "filled", "scale"))

    def found(name: str, shape: str, unit: str, meaning: str, **more: Any) -> Field:
        return Field(f"{group}.{name}", "float32", shape, unit, meaning, NAN, valid, fade=TOGETHER, **more)

    return [
        Field(valid, "bool", axes, "", meaning, fade=EITHER, filler=filled, stored=_IN_STORE),
        Field(
            filled, "bool", axes, "", "valid, but not seen: put between two sights of the hand", within=valid,
            fade=TOGETHER,
        ),
        found(
            "joints", f"{axes} 21 3", "scene", "21 joints", space=CAMERA, metres=scale, stored=_IN_STORE,
            conventions="MediaPipe's order: wrist, then four joints of each finger from thumb to little finger",
        ),
        found(
            "wrist", f"{axes} 4 4", "scene", "cam_from_wrist, the wrist's pose", space=CAMERA, form=POSE, metres=scale,
            stored=_IN_STORE,
        ),
        found("uv", f"{axes} 21 2", "px", "the joints in the image", space=IMAGE, stored=_IN_STORE),
        Field(
            f"{group}.confidence", "float32", axes, "0..1", "the detector's score", ZERO, within=valid, form=SCORE,
            fade=TOGETHER, stored=_IN_STORE,
        ),
        Field(
            scale, "float32", axes, "scene/m", "scene units per metre; NaN: this hand is in metres", NAN, within=valid,
            metres=scale, fade=TOGETHER,
        ),
        found(
            "mano_pose", f"{axes} 16 3", "rad", "axis-angle of the whole hand (cam_from_hand), then of 15 joints",
            conventions=_FLAT + "; a left hand's are its own: y and z have the other sign in its mirror image",
        ),
        found(
            "betas", f"{axes} 10", "", "MANO shape",
            conventions="of MANO's right-hand model; a left hand has those of the right hand in the mirror",
        ),
        found(
            "mano_scale", f"{axes}", "scene/m", "joints are those of MANO's hand, about the wrist, times this",
            metres=scale,
        ),
        found(
            "vertices", f"{axes} 778 3", "scene", "vertices of MANO's hand", space=CAMERA, metres=scale,
            conventions="the triangles are those of the user's MANO file; those of a left hand turn the other way",
        ),
    ]  # fmt: skip


def _points(group: str, unit: str, meaning: str, fade: str, *stored: Stored) -> Field:
    return Field(
        f"{group}.points", "float16", "T H W 3", unit, meaning, ANYTHING, f"{group}.mask", space=CAMERA, form=DEPTH,
        fade=fade, stored=stored,
    )  # fmt: skip


def _intrinsics(group: str, holds: str, meaning: str, fade: str, stored: tuple[Stored, ...] = _IN_STORE) -> Field:
    return Field(
        f"{group}.intrinsics", "float32", "T 3 3", "px", meaning, NAN, f"{group}.{holds}", within="", space=IMAGE,
        form=PINHOLE, fade=fade, stored=stored,
    )  # fmt: skip


_ROWS = [
    # Probed once per video, before its first segment; F counts the frames that will be decoded.
    Field(
        "video.index", "int64", "F", "", "source frame number of each frame to decode", form=COUNTING,
        fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "video.pts", "int64", "F", "stream time base", "presentation time stamp; -1 where the source has none",
        fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "video.time", "float64", "F", "s", "true time of each frame since the start of the source", form=GROWING,
        fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "video.seek", "int64", "F 5", "", "where decoding must start for a frame that packets do not tell",
        fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "video.cam_from_world", "float64", "F 4 4", "given", "known pose: maps world points into the camera", NAN,
        space=WORLD, form=POSE, fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "video.intrinsics", "float64", "F 3 3", "px", "known pinhole matrix of each frame that has a known pose", NAN,
        space=IMAGE, form=PINHOLE, fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "frames.rgb", "uint8", "T H W 3", "", "colour, RGB", space=IMAGE, form=COLOUR, fade=PAST,
        stored=(Stored(switch=_RGB),),
    ),
    Field(
        "frames.index", "int64", "T", "", "source frame number", form=COUNTING, fade=LATER,
        stored=(Stored(fill=-1, presence=ALWAYS),),
    ),
    Field(
        "frames.time", "float64", "T", "s", "true time since the start of the source", form=GROWING, fade=LATER,
        stored=(Stored(fill=float("nan"), presence=ALWAYS),),
    ),
    # A segment's first frame lacks the frame before it, and its last frame the frame after it: the nearer segment is
    # better.
    Field(
        "frames.view", "uint8", "T", "code",
        "0 as usual, 1 first frame of another view (a cut), 2 too bare to follow", codes=VIEW_NAMES,
    ),
    Field(
        "frames.blur", "float32", "T", "0..1", "0 sharp, 1 without any detail; NaN if there is nothing to see", NAN,
        within="", fade=LATER,
    ),
    Field(
        "frames.brightness", "float32", "T", "0..1", "brightness of the bright parts: the 90th percentile", fade=LATER,
    ),
    Field("frames.overexposed", "float32", "T", "0..1", "share of the pixels whose channels are all full", fade=LATER),
    Field(
        "frames.small", "uint8", "T 72 128", "", "the frame in grey and small, whatever its shape: for comparisons",
        fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "frames.mask", "bool", "T H W", "", "True where the user's mask marks things that move or must be ignored",
        space=IMAGE, fade=PAST, stored=_NOT_STORED,
    ),
    _points(
        "prior", "free scale per frame", "point map of each frame by itself", LATER,
        Stored("prior/depth", "z", switch=_PRIOR, presence=WITH_GROUP, meaning="depth z of the prior"),
    ),
    Field(
        "prior.mask", "bool", "T H W", "", "where prior.points holds", space=IMAGE, fade=LATER,
        stored=(Stored(switch=_PRIOR, presence=WITH_GROUP),),
    ),
    _intrinsics("prior", "mask", "pinhole matrix of the prior", LATER, (Stored(switch=_PRIOR),)),
    _points(
        "geometry", "scene", "temporally consistent point map", MIX,
        Stored("geometry/depth", "z", presence=WITH_GROUP, meaning="temporally consistent depth z"),
        Stored(switch=_POINTS),
    ),
    Field(
        "geometry.mask", "bool", "T H W", "", "where geometry.points holds", space=IMAGE, fade=EITHER,
        stored=_IN_STORE,
    ),
    _intrinsics("geometry", "mask", "pinhole matrix of the point map", MIX),
    Field(
        "geometry.source", "uint8", "T", "code",
        "what the frame's depth is made from: 0 nothing, 1 the camera stage's many views, 2 the fused prior", ZERO,
        codes=SOURCE_NAMES,
    ),
    _intrinsics("camera", "valid", "pinhole matrix", MIX),
    Field(
        "camera.cam_from_world", "float32", "T 4 4", "scene", "maps world points into the camera", NAN, "camera.valid",
        space=WORLD, form=POSE, fade=MIX, stored=_IN_STORE,
        conventions="of a camera that only turns, the rotation stands beside a translation of NaN, and valid is False",
    ),
    Field(
        "camera.depth", "float16", "T H W", "scene", "multi-view depth z", ZERO, space=CAMERA, form=DEPTH, fade=MIX,
        stored=_IN_STORE,
    ),
    Field("camera.valid", "bool", "T", "", "the frame has a full pose", fade=EITHER, stored=_IN_STORE),
    Field(
        "camera.motion", "uint8", "T", "code",
        "what the camera does: 0 unknown, 1 moving, 2 still, 3 rotating in place", ZERO, codes=MOTION_NAMES,
    ),
    Field(
        "camera.quality", "float32", "T", "0..1",
        "share of the points followed in the frame that its pose explains (within 2 px, in front of the camera); lower "
        "where the prior's order of near and far differs", ZERO, within="camera.valid", form=SCORE, fade=TOGETHER,
    ),
    Field(
        "camera.doubt", "uint8", "T", "code",
        "why a frame of a moving camera has no pose: 0 no reason of its own, 1 its points belong to no structure, "
        "2 near and far cannot be told apart, 3 it lies far off the path, 4 nothing tells the focal length; or what a "
        "pose rests on: 4 a focal length that the pictures hardly tell, 5 one that the file states, since they do not "
        "tell it, 6 an assumed one", ZERO,
        codes=DOUBT_NAMES,
    ),
    Field(
        "camera.focal_error", "float32", "T", "relative",
        "standard deviation of the focal length, relative to it; NaN if it was given", NAN, within="camera.valid",
        fade=TOGETHER,
    ),
    Field(
        "camera.unit", "uint8", "T", "code",
        "the unit of poses and depth: 0 one of their own, as no prior was given; 1 the prior's; one of their own 2 "
        "since too few frames have a prior, 3 since the prior's scale differs too much between frames", ZERO,
        codes=UNIT_NAMES,
    ),
    Field(
        "camera.lens", "uint8", "T", "code",
        "where the focal length is from: 0 not said, 1 given; or found, and begun with 2 what the file states, 3 the "
        "prior's, 4 a guess", ZERO,
        codes=LENS_NAMES,
    ),
    Field(
        "camera.depth_source", "uint8", "T", "code",
        "what the frame's depth is: 0 none or not said, 1 the prior's, aligned to what keyframes know, 2 the same, "
        "only scaled, 3 found in several views; none, since 4 the prior has no relief where keyframes see some, 5 both "
        "differ in shape, 6 keyframes and prior share too few pixels", ZERO,
        codes=DEPTH_NAMES,
    ),
    Field(
        "tracks.xyz", "float32", "T N 3", "scene", "position", NAN, "tracks.visible", within="", space=WORLD,
        fade=WHOLE, stored=_IN_STORE,
    ),
    Field(
        "tracks.visible", "bool", "T N", "", "the track is seen in that frame, and its position is known there",
        fade=WHOLE, stored=_IN_STORE,
    ),
    Field(
        "tracks.uv", "float32", "T N 2", "px", "position in the image", NAN, "tracks.visible", within="", space=IMAGE,
        fade=WHOLE, stored=_IN_STORE,
    ),
    Field(
        "tracks.camera_xyz", "float32", "T N 3", "scene",
        "position where the point is seen, if points were followed as the camera sees them", NAN, space=CAMERA,
        fade=WHOLE,
    ),
    Field(
        "tracks.query", "float32", "N 4", "frame, scene", "query frame (counted in the video) and its x, y, z", NAN,
        space=WORLD, form=FRAME_FIRST, fade=WHOLE, stored=_IN_STORE,
    ),
    Field(
        "tracks.id", "int32", "N", "",
        "number of the point in the video, from 1: a point that goes on from segment to segment keeps it", form=NUMBER,
        fade=WHOLE,
    ),
    Field(
        "tracks.object", "uint8", "N", "",
        "the object (objects.label) on which the point was picked; 0: on none", fade=WHOLE,
    ),
    Field(
        "tracks.row", "int32", "N", "",
        "row of the user's file of queries that asked for the point, from 0; -1: nobody asked for it", fade=WHOLE,
        stored=(Stored(fill=-1),),
    ),
    # The main hand of each side: in each frame, of the hands of that side, the one with the most votes for it, and the
    # larger one, so nearer (`geoflow.geometry.hands.hand_sides.main_hands`).
    *_hand("hands.left", "T", "a left hand was found"),
    *_hand("hands.right", "T", "a right hand was found"),
    # All hands, R = `max_hands` rows. The main hands are among them.
    *_hand("hands.all", "T R", "there is a hand in this row"),
    Field(
        "hands.all.id", "int32", "T R", "",
        "number of the hand in the video, from 1: a hand keeps its number and, as far as rows are free, its row", ZERO,
        within="hands.all.valid", form=NUMBER, fade=TOGETHER, stored=_IN_STORE,
    ),
    Field(
        "hands.all.side", "uint8", "T R", "code",
        "side that the hand's frames vote for: 0 none, 1 left, 2 right", ZERO, within="hands.all.valid", fade=TOGETHER,
        stored=_IN_STORE, codes=HAND_SIDES,
    ),
    Field(
        "hands.all.right", "float32", "T R", "0..1",
        "the detector's probability that it is a right hand, mean over the hand's frames", NAN, "hands.all.valid",
        fade=TOGETHER, stored=_IN_STORE,
    ),
    Field(
        "hands.all.found", "int32", "T", "", "hands in the frame: more than are valid where there were too few rows",
        fade=MOST, stored=_IN_STORE,
    ),
    Field(
        "objects.label", "uint8", "T H W", "",
        "number of the object that each pixel shows, 1 to 255; 0 background", space=IMAGE, fade=LATER,
    ),
    Field(
        "objects.state", "uint8", "T 256", "code",
        "what is known of the object with the column's number: 0 no stage was asked for it, 1 it is seen, 2 it is "
        "lost: hidden, out of the picture, or not found again, 3 the frame comes before its first prompt, so labels "
        "say nothing about it", ZERO, fade=LATER, codes=OBJECT_STATES,
    ),
    Field(
        "objects.box", "float32", "T R 6", "px",
        "what the user's words named, in the frame in which they were looked for: number of the object, score (0..1), "
        "left, top, right, bottom", NAN, space=IMAGE, fade=LATER,
    ),
    # Places that a later visit may see again, P of a segment, each with K features and a small picture (h w). They lie
    # beside the parts of a store until it is put together (`geoflow.store.closing`), and not in the store.
    Field(
        "places.frame", "int64", "P", "", "frame of the place, counted in the video", form=COUNTING, fade=WHOLE,
        stored=_NOT_STORED,
    ),
    Field(
        "places.uv", "float32", "P K 2", "px", "features in the image", NAN, space=IMAGE, fade=WHOLE,
        stored=_NOT_STORED,
    ),
    Field(
        "places.xyz", "float32", "P K 3", "scene", "points of the features", NAN, space=CAMERA, fade=WHOLE,
        stored=_NOT_STORED,
    ),
    Field(
        "places.descriptor", "uint8", "P K 128", "", "RootSIFT descriptors of the features, times 512", fade=WHOLE,
        stored=_NOT_STORED,
    ),
    Field("places.gray", "uint8", "P h w", "", "the small picture", space=IMAGE, fade=WHOLE, stored=_NOT_STORED),
    Field(
        "places.depth", "float16", "P h w", "scene", "its depth z", ZERO, space=CAMERA, form=DEPTH, fade=WHOLE,
        stored=_NOT_STORED,
    ),
    # Frames that two chapters share, each with both poses in the video's world: `stitch` fades one into the other.
    Field("joint.frame", "int64", "J", "", "frame, counted in the video", form=COUNTING, fade=PAST, stored=_NOT_STORED),
    Field(
        "joint.before", "float32", "J 4 4", "video", "cam_from_world by the earlier chapter", NAN, space=WORLD,
        form=POSE, fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "joint.after", "float32", "J 4 4", "video", "cam_from_world by the later chapter", NAN, space=WORLD, form=POSE,
        fade=PAST, stored=_NOT_STORED,
    ),
    # Per object: between stages, `mesh.3.vertices` is the row `mesh.vertices` for object 3. V vertices, F faces. Meshes
    # come after `stitch`; geoflow/store/meshes.py describes them in the store.
    Field(
        "mesh.vertices", "float32", "V 3", "mesh", "vertices in units and axes of the mesh itself", fade=PAST,
        stored=_NOT_STORED,
    ),
    Field(
        "mesh.faces", "int32", "F 3", "", "triangles: numbers of their vertices, counter-clockwise from outside",
        fade=PAST, stored=_NOT_STORED,
    ),
    Field("mesh.colours", "uint8", "V 3", "", "colour of each vertex, RGB", fade=PAST, stored=_NOT_STORED),
    Field(
        "mesh.world_from_mesh", "float32", "4 4", "scene", "maps vertices into the world: rotation, scale and place",
        space=WORLD, form=PLACEMENT, fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "mesh.frame", "int64", "1", "", "source frame number that the mesh was made from", fade=PAST,
        stored=_NOT_STORED,
    ),
    # Optional: a backend that measures surfaces gives it. `_missing` does not ask for it.
    Field(
        "mesh.seen", "bool", "V", "",
        "the vertex was measured in some frame; False where the surface was closed up without being seen", fade=PAST,
        stored=_NOT_STORED,
    ),
    # Per object: how it moves. Found when a store is put together; geoflow/store/object_poses.py describes them there.
    Field(
        "pose.world_from_object", "float32", "T 4 4", "scene",
        "maps the object's points, and its mesh, from their place in the world in frame `reference` to that in each "
        "frame: the identity while the object stands still", NAN, space=WORLD, form=PLACEMENT, fade=PAST,
        stored=_NOT_STORED,
    ),
    Field(
        "pose.residual", "float32", "T", "scene",
        "RMS distance of the followed points from where the pose puts them", NAN, space=CAMERA, fade=PAST,
        stored=_NOT_STORED,
    ),
    Field(
        "pose.points", "int32", "T", "", "followed points that agree on the pose; 0 where it is unknown", fade=PAST,
        stored=_NOT_STORED,
    ),
    Field(
        "pose.centre", "float32", "3", "scene", "median of the object's points in frame `reference`", space=WORLD,
        fade=PAST, stored=_NOT_STORED,
    ),
    Field(
        "pose.reference", "int64", "1", "",
        "source frame number that poses count from: that of the mesh if the pose is known there", fade=PAST,
        stored=_NOT_STORED,
    ),
    # What `write` finds out about the frames that it writes; geoflow/quality/ computes it.
    Field(
        "quality.score", "float32", "T", "0..1",
        "how far the frame's depth and pose can be believed; see docs/quality.md for the formula", NAN, fade=PAST,
    ),
    Field("quality.coverage", "float32", "T", "0..1", "share of the pixels with depth", NAN, fade=PAST),
    Field(
        "quality.depth_gap", "float32", "T", "relative",
        "median difference of depth and the depth that frames 3 and 8 before and after have of the same points", NAN,
        fade=PAST,
    ),
    Field(
        "quality.photometric", "float32", "T", "-1..1",
        "correlation of the picture with those of the same frames, at the same points", NAN, fade=PAST,
    ),
    Field(
        "quality.flicker", "float32", "T", "relative",
        "change of the depth of the same points from the frame before, as a whole", NAN, fade=PAST,
    ),
    Field(
        "quality.parallax", "float32", "T", "picture widths",
        "median shift of points to the same frames, beyond that of turning: little tells little about depth", NAN,
        fade=PAST,
    ),
    Field(
        "quality.track_residual", "float32", "T", "px",
        "median distance of tracked points from where the same frames place them", NAN, fade=PAST,
    ),
    Field(
        "quality.hand_jitter", "float32", "T", "hand sizes",
        "how far the joints lie from the middle between the frames before and after, median over joints and hands", NAN,
        fade=PAST,
    ),
    Field(
        "stitch.scale", "float32", "1", "", "factor that brought the segment to the video's scale", NAN, fade=PAST,
        stored=(Stored(fill=1, presence=ALWAYS),),
    ),
    Field(
        "stitch.seam_residual", "float32", "1", "relative", "median depth gap left at the seam; NaN for the first", NAN,
        fade=PAST, stored=(Stored(presence=ALWAYS),),
    ),
    Field("stitch.metric", "bool", "1", "", "scene units are metres; given where some stage states it", fade=PAST),
    Field(
        "stitch.depth_ratio", "float32", "1", "relative",
        "depth of the camera branch over that of geometry where both are in metres: neither is scaled to the other",
        NAN, fade=PAST,
    ),
]  # fmt: skip

FIELDS: dict[str, Field] = {row.name: row for row in _ROWS}

# What a part of a store holds beside its datasets, for when the store is put together.
BESIDE = tuple(name for name in FIELDS if name.startswith(("places.", "joint.")))


def field(name: str) -> Field:
    """Return a field's row. For a field of an object (`mesh.3.vertices`) it is the row of its kind, with its own name.

    Raises ConfigError if the table has no such field.
    """
    row = FIELDS.get(kind_of(name))
    if row is None:
        raise ConfigError(f"unknown field {name!r}; geoflow/fields.py lists them all")
    return row if row.name == name else replace(row, name=name)


def switches() -> list[Switch]:
    """Return the switches of `write`: each controls the datasets whose rows name it."""
    return list(dict.fromkeys(row.switch for entry in FIELDS.values() for row in entry.stored if row.switch))


def wanted_fields(on: Mapping[str, bool]) -> list[str]:
    """Return the fields of a store with these switches on, including the fields that say where they hold."""
    rows = [row for row in FIELDS.values() if any(not s.switch or on.get(s.switch.name, False) for s in row.stored)]
    return list(dict.fromkeys(name for row in rows for name in (row.name, row.outside) if name))


def check(
    arrays: Mapping[str, np.ndarray],
    declared: tuple[str, ...],
    *,
    who: str,
    optional: tuple[str, ...] = (),
    num_frames: int | None = None,
) -> None:
    """Compare what a stage returned with what it declared and with the table: names, dtypes, shapes, then values.

    `num_frames` sets T for stages that return one row per frame of their segment. Ordered stages may return other
    frames (stitch holds the overlap back), so None is passed for them.

    Raises StageError that names the field, what was expected and what was found.
    """
    undeclared = sorted(name for name in arrays if kind_of(name) not in {*declared, *optional})
    missing = sorted(_missing(arrays, declared, optional))
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
        row = field(name)
        if array.dtype.kind == "f" and (fault := value_fault(row, array, _holding(row, arrays))):
            raise StageError(f"{who}: {name} {fault}")
    for group in sorted({row.rpartition(".")[0] for row in arrays if kind_of(row).startswith(f"{MESH}.")}):
        mesh = {name.rpartition(".")[2]: array for name, array in arrays.items() if name.rpartition(".")[0] == group}
        if fault := mesh_fault(mesh):
            raise StageError(f"{who}: {group}.{fault}")


def _missing(names: Iterable[str], declared: tuple[str, ...], optional: tuple[str, ...]) -> set[str]:
    """Return missing fields: declared fields, and, for every object with own fields, all fields of its kind.

    A stage may give one mesh as `mesh.vertices`, or the meshes of several objects as `mesh.3.vertices`.
    """
    kinds = {kind_of(name) for name in names}
    own = {name for name in (*declared, *optional) if name.startswith(f"{MESH}.") and name != MESH_SEEN}
    numbers = {number for name in names if (number := object_of(name)) is not None}
    lacking = {name_for(name, number) for name in own for number in numbers} - set(names)
    return lacking | (set(declared) - kinds)


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


def _holding(row: Field, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return where values are known, for as many of the array's first axes as stated; None if no field states it."""
    if (holds := arrays.get(row.holds)) is None:
        return None
    symbols = FIELDS[row.holds].shape.split()
    return holds if row.shape.split()[: len(symbols)] == symbols else np.array([part.any() for part in holds], bool)


def known(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return where a field's values are known: a bool array with the field's axes of frames, pixels and tracks.

    The field's row gives the value for unknown, and names the field that says where values are known, if there is one.

    >>> known("camera.motion", {"camera.motion": np.array([0, 3], np.uint8)})
    array([False,  True])
    """
    row, array = FIELDS[name], arrays[name]
    there = np.ones(array.shape[: len(row.axes)], bool)
    if row.invalid == NAN:
        there = np.isfinite(array).reshape(*there.shape, -1).all(-1)
    elif row.invalid != NEVER:
        there = (array != 0).reshape(*there.shape, -1).any(-1)
    if (told := arrays.get(row.outside)) is None:
        return there
    if told.ndim > there.ndim:
        told = np.array([part.any() for part in told], bool)
    return there & told.reshape(*told.shape, *[1] * (there.ndim - told.ndim))


def telling() -> list[str]:
    """Return the fields that say where something is known: masks, and values that are 0 where unknown."""
    rows = FIELDS.values()
    by_value = {row.name for row in rows if row.depth and row.invalid == ZERO and row.stored}
    return sorted(({row.holds for row in rows} | by_value) & FIELDS.keys())


def known_share(arrays: Mapping[str, np.ndarray], count: int | None = None) -> dict[str, tuple[int, int]]:
    """Return field -> (values known, values) in the first `count` rows, for fields that say where something is known.

    >>> known_share({"camera.valid": np.array([True, False]), "frames.index": np.arange(2)})
    {'camera.valid': (1, 2)}
    """
    found = {}
    for name in telling():
        if name in arrays:
            array = arrays[name][:count]
            bits = array.view(np.int16) if array.dtype == np.float16 else array
            found[name] = int(np.count_nonzero(bits)), array.size
    return found
