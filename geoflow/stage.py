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
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from geoflow.segments import Segment, VideoInfo

Fields = dict[str, np.ndarray]

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
    """

    slot: ClassVar[str] = ""
    inputs: ClassVar[tuple[str, ...]] = ()
    optional: tuple[str, ...] = ()  # an instance may ask for fewer, as its parameters say
    outputs: ClassVar[tuple[str, ...]] = ()
    optional_outputs: tuple[str, ...] = ()  # returned only when what they are made from was given
    ordered: ClassVar[bool] = False
    deterministic: ClassVar[bool] = True
    version: ClassVar[str] = "1"  # raise it when results change: saved work is keyed by it
    ladder: tuple[dict[str, Any], ...] = ()  # cheaper parameters to fall back to, one rung after another
    licence: ClassVar[str] = ""  # of code and weights; for a backend that has no entry in models.yaml
    commercial: ClassVar[bool | None] = None  # that licence allows commercial use; None: not stated
    divisible: ClassVar[bool] = True  # and at last half a segment at a time, where halves go together
    # What of `STATED` it keeps to where a user states it; what it does not is named, in the store and on the console.
    honours: ClassVar[frozenset[str]] = frozenset()

    @dataclass(frozen=True)
    class Params:
        """Typed parameters; subclass it and add fields made with `param`."""

    def __init__(self, params: Params | None = None) -> None:
        self.params: Any = self.Params() if params is None else params
        self.threads = 1  # how many CPU threads a call may use; the engine sets it before `setup`

    def weights(self) -> dict[str, str]:
        """Names, in the backend's entry of models.yaml, of the weights that these parameters need, each with the folder
        to take them from; "" for where models.yaml has them. `setup` finds them with
        `geoflow.backends.weights.locate`."""
        return {}

    def setup(self) -> None:
        """Load the model. Heavy imports belong here, never at the top of the module."""

    def process(self, segment: Segment, fields: Fields) -> Fields:
        """Compute this stage's outputs for one segment."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Let go of what `setup` took."""

    def state(self) -> dict[str, Any]:
        """What an ordered stage carries to the next segment: numpy arrays, and plain values that JSON has, too."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up `state`; {} means before the first segment of a video."""

    def finish(self, video: VideoInfo, records: list[SegmentRecord]) -> dict[str, Any]:
        """After the last segment of a video (ordered stages only); returns plain values for the run's record."""
        return {}
