"""What every backend keeps to, checked without Ray: for the tests, and for who writes one."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoflow import fields
from geoflow.backends import loading, pins
from geoflow.backends.catalogue import load_models
from geoflow.backends.torch_stage import TorchStage
from geoflow.engine.actor.condensed import with_condensed
from geoflow.engine.actor.splitting import can_split, process_in_halves
from geoflow.engine.actor.wire import pack_state, unpack_state
from geoflow.engine.actor.workfiles import load_state, save_state
from geoflow.engine.bridge.abroad import abroad
from geoflow.environments.checking import problems as env_problems
from geoflow.environments.interpreter import Interpreter
from geoflow.errors import ConfigError, StageError
from geoflow.files import resources
from geoflow.planning import environment_listing
from geoflow.segments import OBJECT, Segment, Span, VideoInfo
from geoflow.stage import STATED, Fields, SegmentRecord, Stage, condensed_fields, shared_fields, span_problem
from geoflow.values.field import COLOUR, COUNTING, GROWING, PINHOLE
from geoflow.values.object_names import MOST_OBJECTS

_FRAMES, _HEIGHT, _WIDTH = 6, 48, 64
_SHARED = 2  # frames of two neighbours
_NUMBER = 3  # of the made-up object
LABELS = "objects.label"  # a stage refines what the user gave, and is given and gives back the same field


def problems(
    backend: str, params: dict[str, Any] | None = None, *, run: bool = True, interpreter: Interpreter | None = None
) -> list[str]:
    """What is wrong with a backend, a sentence each; [] when it can go into a pipeline.

    Its declarations come first: fields, parameters, the ladder, its entry in models.yaml with the weights that `params`
    need, and the environments that pipelines run it in. With `run` it is then set up with `params` and given six grey
    frames of 64x48 in which nothing can be known: with and without its optional inputs, twice, on every rung of its
    ladder, and in halves where it can be split. A stage that works on spans surveys the frames first. One that works on
    objects is given one that a square of every frame shows; a StageError says that it can have no mesh. An ordered
    stage gets two segments, the second one also after another of its kind took over its state, and is asked to finish.
    What it raises there is raised here. Its results are compared with the field table. With an `interpreter` it works
    in that, as an environment that states it would have it.

    Raises ConfigError when there is no such backend, or `params` are not its own.
    """
    stage_class = loading.load(backend)
    stage = stage_class(loading.make_params(stage_class, params or {}, slot=stage_class.slot or "stage"))
    found = [*_declared(stage), *_parameters(stage), *_registered(backend, stage), *_environments(backend)]
    if found or not run:
        return found
    if interpreter is not None:
        stage = abroad(stage_class, backend, interpreter, backend)(stage.params)
    try:
        if stage.span == OBJECT:
            return list(_object_trial(stage, backend))
        return list(_ordered_trial(stage, backend) if stage.ordered else _trial(stage, backend))
    except StageError as error:
        return [str(error)]


def _declared(stage: Stage) -> list[str]:
    found = [] if stage.slot else ["slot is empty: name its role, such as prior"]
    names = [*stage.inputs, *stage.optional, *stage.outputs, *stage.optional_outputs]
    found += [f"{name} is no field: geoflow/fields.py lists them all" for name in names if name not in fields.FIELDS]
    if not stage.ordered and (twice := sorted({name for name in names if names.count(name) > 1} - {LABELS})):
        found.append(f"{', '.join(twice)} stand twice; only ordered stages give back what they are given")
    if stage.slot == "objects" and LABELS not in (*stage.inputs, *stage.optional):
        found.append(f"{LABELS} should be optional, too: where the user gave labels, these stay")
    unused = {"process", "compute"} if stage.span == OBJECT else set()
    for name, base in (("process", Stage), ("load", TorchStage), ("compute", TorchStage)):
        if name not in unused and isinstance(stage, base) and getattr(type(stage), name) is getattr(base, name):
            found.append(f"{name} is not written yet")
    if problem := span_problem(stage):
        found.append(problem)
    if unknown := sorted(stage.honours - set(STATED)):
        found.append(f"honours has {', '.join(unknown)}; what a user may state is {', '.join(STATED)}")
    return found


def _parameters(stage: Stage) -> list[str]:
    found = [
        f"parameter {row.name} has no description: write {row.name}: type = param(default, 'what it means')"
        for row in dataclasses.fields(stage.params)
        if not row.metadata.get("help")
    ]
    for rung in stage.ladder:
        try:
            loading.make_params(type(stage), rung, slot=stage.slot)
        except ConfigError as error:
            found.append(f"ladder: {error}")
    return found


def _registered(backend: str, stage: Stage) -> Iterator[str]:
    """Its entry in models.yaml, which is for what lies below actors/, and the weights it needs."""
    try:
        if backend in loading.names() and not backend.startswith("geoflow.") and backend not in load_models():
            yield f"configs/models.yaml has no entry {backend}: state its licence, weights and memory"
    except ConfigError as error:
        yield str(error)
    for name, own in stage.weights().items():
        try:
            _ = own or pins.pin(backend, name)
        except ConfigError as error:
            yield str(error)


def _environments(backend: str) -> Iterator[str]:
    """Of the pipelines' stages that have this backend, and the one that is called as it is."""
    wanted = {
        name for name, rows in environment_listing.users().items() if any(row["backend"] == backend for row in rows)
    }
    if (resources.folder("runtime_envs") / f"{backend}.yaml").is_file():
        wanted.add(backend)
    for name in sorted(wanted):
        try:
            found = env_problems(name)
        except ConfigError as error:
            found = [str(error)]
        yield from (f"environment {name}: {line}" for line in found)


def _trial(stage: Stage, who: str) -> Iterator[str]:
    """Have it work on made-up fields, as it is and on every rung of its ladder."""
    segment = _segment(0, _FRAMES, _FRAMES)
    everything = made_up((*stage.inputs, *stage.optional), segment)
    for level in range(len(stage.ladder) + 1):
        rung = _cheaper(stage, level)
        rung.setup()
        try:
            shared = surveyed(rung, segment, everything, who)
            first = None
            if not level:
                least = made_up(stage.inputs, segment)
                _process(rung, segment, {**least, **surveyed(rung, segment, least, who)}, who)
                first = {**shared, **_process(rung, segment, {**everything, **shared}, who)}
                yield from _keeps_labels(rung, segment, {**everything, **shared}, who)
                shared = surveyed(rung, segment, everything, who)
            again = {**shared, **_process(rung, segment, {**everything, **shared}, who)}
            if first is not None and stage.deterministic and (name := _unlike(first, again)):
                yield f"{who} gave another {name} for the same segment a second time; is something kept of the first?"
            if not level and can_split(stage):
                _checked(rung, process_in_halves(rung, segment, {**everything, **shared}), segment, f"{who} in halves")
        finally:
            rung.teardown()


def _object_trial(stage: Stage, who: str) -> Iterator[str]:
    """Have it make the mesh of an object, as it is and on every rung of its ladder. Two segments come, read-only."""
    num_frames = 2 * _FRAMES
    pieces = []
    for index in range(2):
        piece = made_up((*stage.inputs, *stage.optional), _segment(index, (index + 1) * _FRAMES, num_frames))
        label = np.zeros_like(piece[LABELS])
        label[:, 8:16, 8:16] = _NUMBER
        label.flags.writeable = False
        pieces.append({**piece, LABELS: label})
    required = [{name: piece[name] for name in stage.inputs} for piece in pieces]
    video = _segment(0, _FRAMES, num_frames).video
    for level in range(len(stage.ladder) + 1):
        rung = _cheaper(stage, level)
        rung.setup()
        try:
            found = [_mesh(rung, video, given, who) for given in (required, pieces, pieces)]
            if stage.deterministic and (name := _unlike(found[1], found[2])):
                yield f"{who} gave another {name} for the same object a second time; is something kept of the first?"
        finally:
            rung.teardown()


def _mesh(stage: Stage, video: VideoInfo, pieces: list[Fields], who: str) -> Fields:
    """The mesh of the made-up object; {} where there can be none, since in grey frames nothing can be known."""
    try:
        result = stage.process_object(video, _NUMBER, lambda: iter(pieces))
    except StageError:
        return {}
    fields.check(result, stage.outputs, optional=stage.optional_outputs, who=who)
    return result


def _keeps_labels(stage: Stage, segment: Segment, everything: Fields, who: str) -> Iterator[str]:
    """Labels that the user gave stay where they are, whatever a backend finds there."""
    if LABELS not in everything or LABELS not in (*stage.outputs, *stage.optional_outputs):
        return
    given = np.zeros_like(everything[LABELS])
    given[:, 8:16, 8:16] = MOST_OBJECTS
    given.flags.writeable = False
    found = _process(stage, segment, {**everything, LABELS: given}, f"{who} with the user's labels").get(LABELS)
    if found is None or (found[given != 0] != given[given != 0]).any():
        yield f"{who} replaced labels of the user; see geoflow.geometry.labels.with_given"


def _ordered_trial(stage: Stage, who: str) -> Iterator[str]:
    """Two segments and the end of a video, with one actor and with another that takes over from it."""
    num_frames = 2 * _FRAMES - _SHARED
    first, second = _segment(0, _FRAMES, num_frames), _segment(1, num_frames, num_frames)
    given = [made_up((*stage.inputs, *stage.optional), segment) for segment in (first, second)]
    other = _cheaper(stage, 0)
    for actor in (stage, other):
        actor.setup()
    try:
        stage.restore({})
        _process(stage, first, given[0], who)
        state = _carried(stage, who)
        stage.restore(state)
        expected = _process(stage, second, given[1], who)
        other.restore(state)
        found = _process(other, second, given[1], f"{who} taking over")
        if stage.deterministic and (name := _unlike(expected, found)):
            yield f"{who} gave another {name} after a new actor took over; `state` and `restore` carry too little"
        records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in (first, second)]
        yield from _plain(other.finish(first.video, records), f"{who}: finish")
    finally:
        for actor in (stage, other):
            actor.teardown()


def _segment(index: int, stop: int, num_frames: int) -> Segment:
    video = VideoInfo("grey", "grey.mp4", "", num_frames, 30.0, _HEIGHT, _WIDTH, _HEIGHT, _WIDTH)
    before, after = (_SHARED if index else 0), (_SHARED if stop < num_frames else 0)
    return Segment(video, index, stop - _FRAMES, stop, before, after)


def _cheaper(stage: Stage, level: int) -> Stage:
    """A new stage of the kind, so many rungs down its ladder."""
    params = stage.params
    for rung in stage.ladder[:level]:
        params = dataclasses.replace(params, **rung)
    return type(stage)(params)


def _process(stage: Stage, segment: Segment, given: Fields, who: str) -> Fields:
    return _checked(stage, stage.process(segment, given), segment, who)


def surveyed(stage: Stage, segment: Segment, given: Fields, who: str) -> Fields:
    """What the segment finds of a survey of its frames, read-only as in runs; {} of a stage that works on segments."""
    if stage.span == "segment":
        return {}
    video, index = segment.video, segment.index
    span = Span(video, stage.span, 0, segment.start, segment.stop, index, index)
    frames = made_up(("frames.rgb", "frames.index"), segment)
    frames |= {name: given[name] for name in ("frames.rgb", "frames.index", "frames.mask") if name in given}
    pieces = [{name: array[rows] for name, array in frames.items()} for rows in (slice(0, 4), slice(4, None))]
    condensed: Fields = {}
    if taken := {name: given[name] for name in stage.surveyed if name in given}:
        condensed = condensed_fields(stage.condense(segment, taken), segment, who)

    def read() -> Iterator[Fields]:
        return with_condensed(pieces, segment.start, condensed)

    shared = shared_fields(stage.survey(span, read), span, who)
    for array in shared.values():
        array.flags.writeable = False
    return shared


def _checked(stage: Stage, result: Fields, segment: Segment, who: str) -> Fields:
    frames = None if stage.ordered else len(segment)
    fields.check(result, stage.outputs, optional=stage.optional_outputs, who=who, num_frames=frames)
    return result


def _carried(stage: Stage, who: str) -> dict[str, Any]:
    """The state as another actor gets it: through the object store, and through a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "state")
        try:
            save_state(path, stage.state())
        except (TypeError, ValueError) as error:
            raise StageError(f"{who}: state should hold arrays and plain values that JSON has: {error}") from error
        return unpack_state(pack_state(load_state(path)))


def _unlike(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> str:
    """The name of a field in which two results differ, "" if none."""
    names = first.keys() | second.keys()
    same = {n for n in first.keys() & second.keys() if first[n].tobytes() == second[n].tobytes()}
    return min(names - same, default="")


def _plain(result: Any, who: str) -> Iterator[str]:
    try:
        json.dumps(result)
    except (TypeError, ValueError) as error:
        yield f"{who} should return plain values that JSON has: {error}"


def made_up(names: tuple[str, ...], segment: Segment) -> Fields:
    """Fields of the right form in which nothing can be known: grey pictures, all else invalid; read-only as in runs."""
    size = {
        "T": len(segment),
        "F": segment.video.num_frames,
        "H": segment.video.height,
        "W": segment.video.width,
        "N": 0,
        "R": 2,
        "V": 3,
        **dict.fromkeys("PJ", 0),  # no place, and no chapter that meets another
        **dict.fromkeys("Khw", 4),
    }
    arrays = {}
    for name in names:
        row = fields.field(name)
        shape = [int(symbol) if symbol.isdigit() else size[symbol] for symbol in row.shape.split()]
        arrays[name] = np.full(shape, row.unknown, row.dtype)
        if row.form == COLOUR:
            arrays[name][:] = 128
        elif row.form == PINHOLE:
            arrays[name][:] = _camera(segment.video)
        elif row.form in (COUNTING, GROWING):
            arrays[name][:] = np.arange(len(arrays[name])) + (segment.start if row.per_frame else 0)
        arrays[name].flags.writeable = False
    return arrays


def _camera(video: VideoInfo) -> np.ndarray:
    width, height = video.width, video.height
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32)
