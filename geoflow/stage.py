"""Stage: the one class a model author fills in. It knows no Ray.

    class MyDepth(Stage):
        slot = "prior"
        inputs = ("frames.rgb",)
        outputs = ("prior.points", "prior.mask", "prior.intrinsics")

        @dataclass(frozen=True)
        class Params(Stage.Params):
            fov_deg: float = param(60.0, "horizontal field of view to assume")

        def setup(self): ...
        def process(self, segment, fields): ...

A module under `actors/` holds exactly one Stage; its path is its name in a pipeline file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from geoflow.errors import StageError
from geoflow.segments import OBJECT, SPANS, Segment, Span, VideoInfo
from geoflow.values.object_names import MESH_FIELDS, MESH_SEEN

Fields = dict[str, np.ndarray]
Read = Callable[[], Iterator[Fields]]  # the frames of a span, some at a time
SHARED = "span."  # begins the names under which `process` finds what `survey` returned
CONDENSED = "condensed."  # begins the names under which `survey` finds what `condense` returned

# What a user may state of the camera: `VideoInfo.known_intrinsics`, `VideoInfo.distortion`, and `video.cam_from_world`
# in the given unit.
STATED = ("intrinsics", "distortion", "poses", "scale")


def param(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    bound_by_run: bool = False,
) -> Any:
    """A stage parameter: its default, one line that says what it means, and the range of what can work.

    `bound_by_run`: the run fills it in (see `Pipeline.bound`). It says where to and not what, so it is no setting, and
    no part of what identifies the stage's work.
    """
    limits = {name: value for name, value in (("ge", at_least), ("le", at_most)) if value is not None}
    return dataclasses.field(default=default, metadata={"help": help, "limits": limits, "bound_by_run": bound_by_run})


def bound_by_run(params: type) -> frozenset[str]:
    """Names of the parameters of a Params class that the run fills in."""
    return frozenset(row.name for row in dataclasses.fields(params) if row.metadata.get("bound_by_run"))


@dataclass(frozen=True)
class SegmentRecord:
    """What the run knows of one finished segment; ordered stages get them all in `finish`."""

    index: int
    start: int
    stop: int
    status: str  # "complete", or "incomplete" when an optional stage failed on it
    seconds: dict[str, float]  # slot -> seconds of work
    ladder: dict[str, int]  # slot -> level of its ladder that worked; 0 is the full setting
    notes: tuple[str, ...] = ()


class Stage:
    """Turns fields of a segment into new fields.

    `process` gets every field of `inputs`, and of `optional` those that exist, as read-only arrays whose
    dtypes and shapes the field table states; it returns `outputs`, all of them, and any of `optional_outputs`.
    Unless it is `ordered`, it must keep nothing of one segment for the next but what another actor, which has not
    seen the first, would work out the same.

    Ordered stages see the segments of a video one by one, from the first to the last. What they carry over
    they hand out through `state()` after each segment and get back through `restore()` before the next, so
    that a new actor can take over after a crash. `finish` is called once after the last segment.

    A stage whose `span` is a chapter or the whole video works in two steps. `survey` is called once for each span of
    a video, by whichever actor. `process` is then called for each segment of the span, and finds among its fields what
    `survey` returned. An optional stage whose `survey` fails is left out of all segments of the span.

    Such a stage may also ask, by `surveyed`, for fields of the frames that it surveys. They come condensed: `condense`
    is called for each segment that shows frames of the span, before `survey`, and makes a few numbers of each frame's
    fields. A field is there only if no stage that it comes from is ordered or works on spans itself.

    A stage whose `span` is an object makes meshes: `process_object` is called for each object of a video after the last
    segment, and `process` never. An object for which an optional stage fails has no mesh, and the store says why.
    """

    slot: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...]] = ()
    optional: tuple[str, ...] = ()  # an instance may ask for fewer, as its parameters say
    surveyed: tuple[str, ...] = ()  # of these, what `condense` takes
    outputs: ClassVar[tuple[str, ...]] = ()
    optional_outputs: tuple[str, ...] = ()  # returned only when what they are made from was given
    ordered: ClassVar[bool] = False
    span: ClassVar[str] = "segment"  # what it works on at a time: segment, chapter, video or object
    chapter_length: int = 288  # frames of a chapter, about; an instance may set it, as its parameters say
    chapter_reach: int = 96  # frames of the next chapter that a chapter takes, too
    deterministic: ClassVar[bool] = True
    version: ClassVar[str] = "1"  # raise it when results change: saved work is keyed by it
    ladder: tuple[dict[str, Any], ...] = ()  # cheaper parameters to fall back to, one rung after another
    takes_meshes: ClassVar[bool] = False  # its `finish` gets `meshes` and `without_mesh`, too, as that of `write` does
    takes_prompts: ClassVar[bool] = False  # it finds the objects that the user shows: `segment.video.prompts`
    takes_text: ClassVar[bool] = False  # and prompts that are words; a stage with `takes_prompts` may not know any
    licence: ClassVar[str] = ""  # of code and weights; for a backend that has no entry in models.yaml
    commercial: ClassVar[bool | None] = None  # that licence allows commercial use; None: not stated
    metric: bool = False  # lengths that it gives are metres; an instance may say so by its parameters
    # Its lengths are metres where this field's are. Segments in which it could not take them over say so themselves.
    metric_by: str = ""
    # Its depth comes from comparing frames, and is right only where nothing moves; with `depth_by`, only if no stage
    # gives that field.
    depth_at_rest: ClassVar[bool] = False
    depth_by: ClassVar[str] = ""
    takes_sparse: bool = False  # it needs its inputs in some frames only; see `sparse`. An instance may say so
    divisible: ClassVar[bool] = True  # and at last half a segment at a time, where halves go together
    # What of `STATED` it keeps to where a user states it; what it does not is named, in the store and on the console.
    honours: frozenset[str] = frozenset()  # an instance may keep to more, as its parameters say

    @dataclass(frozen=True)
    class Params:
        """Typed parameters; subclass it and add fields made with `param`."""

    def __init__(self, params: Params | None = None) -> None:
        self.params: Any = self.Params() if params is None else params
        self.threads = 1  # how many CPU threads a call may use; the engine sets it before `setup`
        self.carried: dict[str, Any] = {}  # of an ordered stage: what it knows of the segments before

    def weights(self) -> dict[str, str]:
        """Names, in the backend's entry of models.yaml, of the weights that these parameters need, each with the folder
        to take them from; "" for where models.yaml has them. `setup` finds them with
        `geoflow.backends.weights.locate`."""
        return {}

    def sparse(self, given: Collection[str]) -> str:
        """Return the parameter, with its value, by which all frames get the outputs; "" if all get them anyway.

        `given` are the fields that the stages above give. A stage that computes some frames only, by its parameters,
        says so here: a stage below that needs all frames is then refused before anything starts.
        """
        return ""

    def warm(self) -> None:
        """Do what takes long once on a machine, such as compiling. Called before any run, by `geoflow envs build`."""

    def setup(self) -> None:
        """Load the model. Heavy imports belong here, never at the top of the module."""

    def survey(self, span: Span, read: Read) -> Fields:
        """Work out what the segments of a span share: arrays by names of the stage's own choice (spans only).

        `read()` gives the frames of the span from the first to the last, in pieces that follow each other: their
        `frames.rgb` and `frames.index`, and `frames.mask` where the user gave masks. Every call of it decodes them
        anew. An array NAME of `condense` is there as `condensed.NAME`, with a row for each frame of the piece; it is
        missing in pieces whose frames have none. `process` finds the array NAME of the result as `span.NAME`, and the
        span's first frame and the one after its last as `span.range`, (2,) int64. The arrays stay in memory until the
        last segment of the span is done: keep them small.
        """
        raise NotImplementedError

    def condense(self, segment: Segment, fields: Fields) -> Fields:
        """Return what `survey` needs of a segment's fields: arrays by names of the stage's own choice, a row per frame.

        It gets those of `surveyed` that exist, and is not called if none does. What it returns for all segments of a
        span is in memory at the same time: keep it small. It should compute little, and give the same on every rung of
        the ladder.
        """
        raise NotImplementedError

    def process(self, segment: Segment, fields: Fields) -> Fields:
        """Compute this stage's outputs for one segment."""
        raise NotImplementedError

    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        """Compute the mesh of object `number`: `mesh.vertices` and the other outputs (span "object" only).

        It is called once for each number that `objects.label` shows in any frame, after the last segment of the video.
        `read()` gives the fields of `inputs`, and of `optional` those that exist, as the store will have them: in the
        video's world, segment by segment, each frame of the video once. A segment that lacks one of `inputs` is left
        out. Every call of it reads them anew. An object that can have no mesh is a StageError that says why.
        """
        raise NotImplementedError

    def teardown(self) -> None:
        """Let go of what `setup` took."""

    def processes(self) -> tuple[int, ...]:
        """Ids of other processes that work for this stage: their memory and CPU time count as its own."""
        return ()

    def state(self) -> dict[str, Any]:
        """What an ordered stage carries to the next segment: numpy arrays, and plain values that JSON has, too.

        It is `carried`, which `process` reads and sets. A stage that keeps it in another form overrides both methods.
        """
        return dict(self.carried)

    def restore(self, state: dict[str, Any]) -> None:
        """Take up `state`; {} means before the first segment of a video."""
        self.carried = dict(state)

    def finish(self, video: VideoInfo, records: list[SegmentRecord]) -> dict[str, Any]:
        """After the last segment of a video (ordered stages only); returns plain values for the run's record."""
        return {}


def made_by(stage: Stage) -> tuple[str, ...]:
    """The fields that a stage makes itself, and does not only take and pass on."""
    taken = {*stage.inputs, *stage.optional}
    return tuple(name for name in (*stage.outputs, *stage.optional_outputs) if name not in taken)


def closes(stage: Stage) -> bool:
    """Whether a stage only brings on what others made: it is ordered, and gives nothing or what it takes."""
    return stage.ordered and (not stage.outputs or not {*stage.inputs, *stage.optional}.isdisjoint(stage.outputs))


def condensed_fields(result: Any, segment: Segment, who: str) -> Fields:
    """What is passed on of a result of `condense`: arrays by name and first frame. Raises StageError for what is none.

    `geoflow.engine.actor.condensed` takes the names apart again.
    """
    if not isinstance(result, dict) or not all(isinstance(array, np.ndarray) for array in result.values()):
        raise StageError(f"{who}: condense should return a dict of numpy arrays, found {type(result).__name__}")
    for name, array in result.items():
        if array.dtype.kind not in "biufc" or array.shape[:1] != (len(segment),):
            found = f"{array.dtype} {array.shape}"
            raise StageError(
                f"{who}: condense should return numbers for each of {len(segment)} frames, {name}: {found}"
            )
    return {f"{CONDENSED}{segment.start}.{name}": array for name, array in result.items()}


def shared_fields(result: Any, span: Span, who: str) -> Fields:
    """What `process` finds of a result of `survey`, by the names it has there. Raises StageError for what is none."""
    if not isinstance(result, dict) or not all(isinstance(array, np.ndarray) for array in result.values()):
        raise StageError(f"{who}: survey should return a dict of numpy arrays, found {type(result).__name__}")
    if wrong := [name for name, array in result.items() if array.dtype.kind not in "biufc" or name == "range"]:
        raise StageError(f"{who}: survey should return arrays of numbers or booleans, none named range: {wrong[0]}")
    named = {SHARED + name: array for name, array in result.items()}
    return {**named, SHARED + "range": np.array([span.start, span.stop])}


def span_problem(stage: Stage) -> str:
    """What is wrong with the span that a stage states, a sentence; "" if nothing."""
    if stage.span not in SPANS:
        return f"span should be one of {', '.join(SPANS)}, found {stage.span!r}"
    if stage.span == "segment":
        return ""
    if stage.ordered:
        return f"span should be segment, found {stage.span}: an ordered stage sees all segments of a video anyway"
    if stage.span == OBJECT:
        return _object_problem(stage)
    if type(stage).survey is Stage.survey:
        return f"survey is not written yet, and span is {stage.span}"
    if unknown := sorted(set(stage.surveyed) - {*stage.inputs, *stage.optional}):
        return f"surveyed should name inputs or optional inputs, found {', '.join(unknown)}"
    if stage.surveyed and type(stage).condense is Stage.condense:
        return f"condense is not written yet, and surveyed has {', '.join(stage.surveyed)}"
    if stage.chapter_length < 1 or stage.chapter_reach < 0:
        return f"chapter_length should be 1 or more, and chapter_reach 0 or more, found {stage.chapter_length}, " + str(
            stage.chapter_reach
        )
    return ""


def _object_problem(stage: Stage) -> str:
    if type(stage).process_object is Stage.process_object:
        return f"process_object is not written yet, and span is {OBJECT}"
    if "objects.label" not in stage.inputs:
        return f"inputs should have objects.label, since span is {OBJECT}"
    if set(stage.outputs) != set(MESH_FIELDS) or set(stage.optional_outputs) - {MESH_SEEN}:
        outputs = f"outputs should be {', '.join(sorted(MESH_FIELDS))} and no others, since span is {OBJECT}"
        return f"{outputs}; {MESH_SEEN} may be optional"
    return ""
