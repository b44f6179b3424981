"""A row of the field table: all that it may say of an array that travels between stages."""

from __future__ import annotations

from dataclasses import dataclass

# The space that a value lives in.
IMAGE = "image"  # pixels of the processed frame
CAMERA = "camera"  # the frame's camera: x right, y down, z forward
WORLD = "world"  # of the segment before `stitch`, of the video after it

# What a value that is not known looks like.
NEVER = "never"  # every value is known, and finite
ZERO = "0"  # finite throughout
NAN = "NaN"  # and never infinite
ANYTHING = "anything"  # where `holds` is False, values are not to be read; a store has 0 there

# What is true of known values, apart from their being finite.
COLOUR = "colour"
DEPTH = "depth"  # the value, or the last of its components, is a depth z: above 0
PINHOLE = "pinhole matrix"  # focal lengths above 0
POSE = "pose"  # a rotation, a translation in scene units, and the last row 0 0 0 1
PLACEMENT = "placement"  # (4, 4) that maps something into the world, its size included
COUNTING = "counting"  # 0 or more, and more from frame to frame
GROWING = "growing"  # never less than in the frame before
SCORE = "score"  # 0 to 1, and 0 where nothing was seen
FRAME_FIRST = "frame first"  # a frame counted in the video, then the rest

# How the frames that two neighbouring segments share become one.
LATER = "later"  # the later segment's value is taken as it is: it is the same in both, or each frame's own
NEARER = "nearer"  # of two known values the one whose segment reaches further beyond the frame; else the known one
TOGETHER = "together"  # as NEARER, where the field of `outside` alone says which one is known: all of one segment
MIX = "mix"  # from the earlier segment's value to the later one's; where one is unknown, the other
EITHER = "either"  # True where one of both is
WHOLE = "whole"  # nothing is joined: the value is the segment's own, its overlaps included
PAST = "past"  # it does not come to `stitch` at all: nothing there would change it, or it is made there

# How a value is brought to the video's world and scale; see `Field.moves`.
STAYS = "stays"
DEPTHS = "depths"  # times the scale, within float16's range; 0 where the scale is unknown
LENGTHS = "lengths"  # times the scale
PLACES = "places"  # by the similarity of the worlds
PLACEMENTS = "placements"  # followed by the similarity of the worlds
DIRECTIONS = "directions"  # turned with the world
POSES = "poses"  # of cameras, after the inverse of the similarity; those of an unknown world are unknown

# How a dataset lies in the file; see `Field.layout`.
FRAME = "frame"  # dense map: one frame per chunk, so that one frame can be read without its neighbours
ROWS = "rows"  # a few numbers per frame: contiguous
TRACKS = "tracks"  # (T, N, ...): written only where a segment has tracks, the rest reads as the fill value
QUERY = "query"  # (N, ...): a row per track
COLUMN = "column"  # a number per segment: a column of the table of segments

# When a store has a dataset.
ALWAYS = "always"
WITH_GROUP = "with its group"  # wherever there is another dataset of its group
EXTRA = "if given"

# The branches that have a scale of their own until `stitch` brings them together.
BRANCHES = ("geometry", "camera")


@dataclass(frozen=True)
class Switch:
    """A parameter of `write`: whether it stores the datasets that name it."""

    name: str
    default: bool
    help: str


@dataclass(frozen=True)
class Stored:
    """One dataset that a field becomes; what is left empty follows from the field's row."""

    name: str = ""  # "": the field's own, with slashes
    take: str = ""  # "z": of a point map only the depth
    dtype: str = ""
    fill: float | None = None  # what reads where the field is missing; None: as what is not known
    switch: Switch | None = None
    presence: str = EXTRA
    meaning: str = ""


@dataclass(frozen=True)
class Field:
    """One row of the table. `shape` is symbolic; a number in it is literal.

    `holds` names the field of bool that says where values are known, and therefore finite; of a field with fewer axes
    than that one, a value is known where any of its is. Where it is "", the value itself tells.

    `within` names the field of bool outside which there is no value; a store then has what is not known there. None:
    the same as `holds`. "": values may be known elsewhere, too.
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
    filler: str = ""  # of a field of bool: the one that says where it holds and yet nothing was seen; that is worse
    metres: str = ""  # field of the scene units per metre; NaN there: the value is in metres and no scale is its own
    stored: tuple[Stored, ...] = (Stored(),)
    codes: tuple[str, ...] = ()  # what the numbers 0, 1, ... stand for
    conventions: str = ""

    @property
    def group(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def slot(self) -> str:
        return self.name.partition(".")[0]

    @property
    def axes(self) -> tuple[str, ...]:
        """The symbols of its shape: frames, pixels, tracks; what follows are components of one value."""
        return tuple(symbol for symbol in self.shape.split() if not symbol.isdigit())

    @property
    def per_frame(self) -> bool:
        """It has a row for each frame of the segment."""
        return self.shape.split()[0] == "T"

    @property
    def probed(self) -> bool:
        """It is known of the whole video before its first segment."""
        return self.axes[:1] == ("F",)

    @property
    def outside(self) -> str:
        """Name of the field of bool outside which there is no value; "" where none says so."""
        return self.holds if self.within is None else self.within

    @property
    def unknown(self) -> float:
        """What stands for a value that is not known wherever the library itself writes it."""
        return float("nan") if self.invalid == NAN else 0

    @property
    def depth(self) -> bool:
        return self.form == DEPTH

    @property
    def branch(self) -> str:
        """The branch whose scale its lengths have; what is made from cameras has the cameras'."""
        return self.slot if self.slot in BRANCHES else "camera"

    @property
    def moves(self) -> str:
        """How `stitch` brings it to the video's world and scale: this follows from its unit, space and form."""
        if "scene" not in self.unit:
            return DIRECTIONS if self.space == WORLD else STAYS
        if self.form == DEPTH:
            return DEPTHS
        if self.space == WORLD:
            return {POSE: POSES, PLACEMENT: PLACEMENTS}.get(self.form, PLACES)
        return LENGTHS

    @property
    def joined(self) -> bool:
        """Whether two segments' values of the same frame are joined to one, so that the earlier one is kept back."""
        return self.per_frame and self.fade not in (LATER, WHOLE, PAST)

    @property
    def cut(self) -> bool:
        """Whether `stitch` hands its rows on only up to where the next segment starts."""
        return self.per_frame and self.fade != WHOLE

    @property
    def layout(self) -> str:
        """How it lies in the store, by its shape; "" where there is no place for it in a video's store."""
        symbols = self.shape.split()
        if symbols == ["1"]:
            return COLUMN
        for start, layout in ((["T", "H", "W"], FRAME), (["T", "N"], TRACKS), (["N"], QUERY), (["T"], ROWS)):
            if symbols[: len(start)] == start:
                return layout
        return ""
