"""What every backend keeps to, checked without Ray: for the tests, and for who writes one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from geoflow import backends, fields
from geoflow.errors import ConfigError, StageError
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Stage

_FRAMES, _HEIGHT, _WIDTH = 6, 48, 64


def problems(backend: str, params: dict[str, Any] | None = None, *, run: bool = True) -> list[str]:
    """What is wrong with a backend, a sentence each; [] when it can go into a pipeline.

    With `run` it is set up with `params` and given six grey frames of 64x48 in which nothing can be known, with and
    without its optional inputs; what it raises there is raised here. Its results are compared with the field table.

    Raises ConfigError when there is no such backend, or `params` are not its own.
    """
    stage_class = backends.load(backend)
    stage = stage_class(backends.make_params(stage_class, params or {}, slot=stage_class.slot or "stage"))
    found = [*_declared(stage), *_parameters(stage_class)]
    return found if found or not run else _trial(stage, backend)


def _declared(stage: Stage) -> list[str]:
    found = [] if stage.slot else ["slot is empty: name its role, such as prior"]
    names = [*stage.inputs, *stage.optional, *stage.outputs, *stage.optional_outputs]
    found += [f"{name} is no field: geoflow/fields.py lists them all" for name in names if name not in fields.FIELDS]
    if not stage.ordered and (twice := sorted({name for name in names if names.count(name) > 1})):
        found.append(f"{', '.join(twice)} stand twice; only ordered stages give back what they are given")
    if type(stage).process is Stage.process:
        found.append("process is not written yet")
    return found


def _parameters(stage_class: type[Stage]) -> list[str]:
    rows = dataclasses.fields(stage_class.Params)
    found = [
        f"parameter {row.name} has no description: write {row.name}: type = param(default, 'what it means')"
        for row in rows
        if not row.metadata.get("help")
    ]
    for rung in stage_class.ladder:
        try:
            backends.make_params(stage_class, rung, slot=stage_class.slot)
        except ConfigError as error:
            found.append(f"ladder: {error}")
    return found


def _trial(stage: Stage, who: str) -> list[str]:
    """Have it work on made-up fields."""
    segment = Segment(VideoInfo("grey", "grey.mp4", "", _FRAMES, 30.0, _HEIGHT, _WIDTH, _HEIGHT, _WIDTH), 0, 0, _FRAMES)
    stage.setup()
    try:
        for given in (stage.inputs, (*stage.inputs, *stage.optional)):
            stage.restore({})
            result = stage.process(segment, made_up(given, segment))
            frames = None if stage.ordered else _FRAMES
            fields.check(result, stage.outputs, optional=stage.optional_outputs, who=who, num_frames=frames)
    except StageError as error:
        return [str(error)]
    finally:
        stage.teardown()
    return []


def made_up(names: tuple[str, ...], segment: Segment) -> Fields:
    """Fields of the right form in which nothing can be known: grey pictures, all else invalid; read-only as in runs."""
    size = {"T": len(segment), "F": len(segment), "H": segment.video.height, "W": segment.video.width, "N": 0}
    arrays = {}
    for name in names:
        row = fields.field(name)
        shape = [int(symbol) if symbol.isdigit() else size[symbol] for symbol in row.shape.split()]
        arrays[name] = np.full(shape, 128 if name == "frames.rgb" else 0, row.dtype)
        if name.endswith("intrinsics"):
            arrays[name][:] = _camera(segment.video)
        if name.endswith("cam_from_world"):
            arrays[name][:] = np.nan
        if name in ("frames.index", "frames.time"):
            arrays[name] = np.arange(len(segment)).astype(row.dtype)
        arrays[name].flags.writeable = False
    return arrays


def _camera(video: VideoInfo) -> np.ndarray:
    width, height = video.width, video.height
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32)
