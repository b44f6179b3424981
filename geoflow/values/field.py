"""A row of the field table: all facts that it can state about an array that is passed between stages."""

from __future__ import annotations

from dataclasses import dataclass

# The space of a value.
IMAGE = "image"  # pixels of the processed frame
CAMERA = "camera"  # the frame's camera: x right, y down, z forward
WORLD = "world"  # of the segment before `stitch`, of the video after it

# What stands for an unknown value.
NEVER = "never"  # every value is known, and finite
ZERO = "0"  # finite throughout
NAN = "NaN"  # never infinite
ANYTHING = "anything"  # where `holds` is False, values must not be read; a store has 0 there

# What is true of known values, besides being finite.
COLOUR = "colour"
DEPTH = "depth"  # the value, or the last of its components, is a depth z: above 0
PINHOLE = "pinhole matrix"  # focal lengths above 0
POSE = "pose"  # a rotation, a translation in scene units, and the last row 0 0 0 1
PLACEMENT = "placement"  # (4, 4) that maps something into the world, including its size
COUNTING = "counting"  # 0 or more, and strictly increasing from frame to frame
GROWING = "growing"  # never less than in the frame before
SCORE = "score"  # 0 to 1, and 0 where nothing was seen
NUMBER = "number"  # of a thing, counted from 1: its identity
FRAME_FIRST = "frame first"  # a frame counted in the video, then the rest

# How the frames that two neighbouring segments share become one.
LATER = "later"  # the later segment's value is taken: it is the same in both, or depends only on the frame
NEARER = "nearer"  # the known value; if both are, the one whose segment extends further beyond the frame
TOGETHER = "together"  # as NEARER, but only the field of `outside` decides: all values come from one segment
MIX = "mix"  # fades from the earlier segment's value to the later one's; if one is unknown, the other
EITHER = "either"  # True where at least one of both is
MOST = "most"  # the larger of both
WHOLE = "whole"  # the segment's own rows, including its overlaps; a point in both segments fades there
PAST = "past"  # it does not go through `stitch`: nothing there would change it, or it is made there

# How a value is brought to the video's world and scale; see `Field.moves`.
STAYS = "stays"
DEPTHS = "depths"  # times the scale, within float16's range; 0 where the scale is unknown
LENGTHS = "lengths"  # times the scale
PLACES = "places"  # by the similarity of the worlds
PLACEMENTS = "placements"  # followed by the similarity of the worlds
DIRECTIONS = "directions"  # turned with the world
POSES = "poses"  # of cameras, after the inverse of the similarity; poses in an unknown world are unknown

# The layout of a dataset in the file; see `Field.layout`.
FRAME = "frame"  # dense map: one frame per chunk, so that one frame can be read without its neighbours
ROWS = "rows"  # a few numbers per frame, also for each of R hands: contiguous
TRACKS = "tracks"  # (T, N, ...): written only where a segment follows the track; the rest reads as the fill value
QUERY = "query"  # (N, ...): a row per track
COLUMN = "column"  # a number per segment: a column of the table of segments

# When a store has a dataset.
ALWAYS = "always"
WITH_GROUP = "with its group"  # present if another dataset of its group is
EXTRA = "if given"

# The branches that have their own scale until `stitch` aligns them.
BRANCHES = ("geometry", "camera")


@dataclass(frozen=True)
class Switch:
    """A parameter of `write`: whether it stores the datasets that name it."""

    name: str
    default: bool
    help: str


@dataclass(frozen=True)
class Stored:
    """One dataset that a field becomes; empty values follow from the field's row."""

    name: str = ""  # "": the field's own, with slashes
    take: str = ""  # "z": only the depth of a point map
    dtype: str = ""
    fill: float | None = None  # the value where the field is missing; None: the value for unknown
    switch: Switch | None = None
    presence: str = EXTRA
    meaning: str = ""


@dataclass(frozen=True)
class Field:
    """One row of the table. `shape` is symbolic; a number in it is literal.

    `holds` names the bool field that says where values are known, and therefore finite. If the field has fewer axes
    than the bool field, a value is known where any of the bool field's values is True. "": the value itself shows it.

    `within` names the bool field outside which there is no value; a store then has the value for unknown there. None:
    the same as `holds`. "": values may also be known elsewhere.
    """

    name: str
    dtype: str
    shape: str
    unit: str
    meaning: str
    invalid: str = NEVER
    holds: str = ""
    within: str | None = None
    space: str = ""
    form: str = ""
    fade: str = NEARER
    filler: str = ""  # for a bool field: the field that says where it is True although nothing was seen, which is worse
    metres: str = ""  # field of the scene units per metre; NaN there: the value is in metres
    stored: tuple[Stored, ...] = (Stored(),)
    codes: tuple[str, ...] = ()  # meanings of the numbers 0, 1, ...
    conventions: str = ""

    def __repr__(self) -> str:
        shape = ", ".join(self.shape.split())
        return f"Field({self.name}: {self.dtype} ({shape}){f' {self.unit}' if self.unit else ''}, {self.meaning})"

    @property
    def group(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def slot(self) -> str:
        return self.name.partition(".")[0]

    @property
    def axes(self) -> tuple[str, ...]:
        """Return the symbols of its shape: frames, pixels, tracks. Further axes are components of one value."""
        return tuple(symbol for symbol in self.shape.split() if not symbol.isdigit())

    @property
    def per_frame(self) -> bool:
        """Return whether it has a row for each frame of the segment."""
        return self.shape.split()[0] == "T"

    @property
    def probed(self) -> bool:
        """Return whether it is known for the whole video before its first segment."""
        return self.slot == "video"

    @property
    def outside(self) -> str:
        """Return the name of the bool field outside which there is no value; "" if there is none."""
        return self.holds if self.within is None else self.within

    @property
    def unknown(self) -> float:
        """Return the value that the library writes for unknown."""
        return float("nan") if self.invalid == NAN else 0

    @property
    def depth(self) -> bool:
        return self.form == DEPTH

    @property
    def branch(self) -> str:
        """Return the branch whose scale its lengths have; fields made from cameras have the cameras' scale."""
        return self.slot if self.slot in BRANCHES else "camera"

    @property
    def moves(self) -> str:
        """Return how `stitch` moves it to the video's world and scale; this follows from unit, space and form."""
        if "scene" not in self.unit:
            return DIRECTIONS if self.space == WORLD else STAYS
        if self.form == DEPTH:
            return DEPTHS
        if self.space == WORLD:
            return {POSE: POSES, PLACEMENT: PLACEMENTS}.get(self.form, PLACES)
        return LENGTHS

    @property
    def joined(self) -> bool:
        """Return whether two segments' values of the same frame are joined, so that the earlier value is held back."""
        return self.per_frame and self.fade not in (LATER, WHOLE, PAST)

    @property
    def cut(self) -> bool:
        """Return whether `stitch` passes its rows on only up to the start of the next segment."""
        return self.per_frame and self.fade != WHOLE

    @property
    def layout(self) -> str:
        """Return its layout in the store, by its shape; "" if it has no place in a video's store."""
        symbols = self.shape.split()
        if symbols == ["1"]:
            return COLUMN
        for start, layout in ((["T", "H", "W"], FRAME), (["T", "N"], TRACKS), (["N"], QUERY), (["T"], ROWS)):
            if symbols[: len(start)] == start:
                return layout
        return ""
