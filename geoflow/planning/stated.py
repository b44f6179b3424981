"""What a user states about the camera, and which stages use it: stages that do not are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from geoflow.fields import FIELDS
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.stage import Stage, made_by

_POSES = "camera.cam_from_world"
_WORDS = {
    "intrinsics": "the known intrinsics",
    "distortion": "the known distortion of the lens",
    "poses": "the known poses",
    "scale": "the known scale",
}


@dataclass(frozen=True)
class Heed:
    """The properties of a stage that matter here; plain values, since they travel to the actors that probe videos."""

    slot: str
    backend: str
    honours: frozenset[str]
    sees: bool  # the stage measures in the pictures, so the lens matters
    poses: bool  # the stage says where the camera is


Heeds = tuple[Heed, ...]


def heeds(pipeline: Pipeline) -> Heeds:
    """Return the stages for which the user's statements matter, with how each uses them."""
    rows = (_heed(spec.slot, spec.backend, spec.make_stage()) for spec in pipeline.stages)
    return tuple(row for row in rows if row.sees or row.poses)


def _heed(slot: str, backend: str, stage: Stage) -> Heed:
    made = made_by(stage)
    sees = "frames.rgb" in stage.inputs and any(_is_3d(name) for name in made)
    return Heed(slot, backend, stage.honours, sees, _POSES in made)


def _is_3d(name: str) -> bool:
    """Return whether a field is in 3D, or is the camera that makes it so: it depends on where a pixel looks."""
    shape = FIELDS[name].shape.split()
    return (shape[-1:] == ["3"] and name != "frames.rgb") or shape[-2:] == ["4", "4"]


def as_heeded(info: VideoInfo, stages: Heeds) -> VideoInfo:
    """Return the video as these stages see it: with a note on each stage that does not use a statement.

    `given_world` is True if the stage that says where the camera is uses the known poses; `metric` is True if these
    poses are also in metres.
    """
    stated = set(_stated(info))
    notes = [
        f"{row.slot} ({row.backend}) does not use {_WORDS[what]}"
        for row in stages
        for what in _WORDS
        if what in stated - row.honours and (row.poses if what in ("poses", "scale") else row.sees)
    ]
    keepers = [row for row in stages if row.poses]
    if "distortion" in stated and any("distortion" in row.honours for row in keepers):
        notes.append(
            "frames keep the lens's distortion; camera/intrinsics are of the pinhole camera nearest to the lens"
        )
    if "poses" in stated and not keepers:
        notes.append("no stage of the pipeline uses the known poses")
    given = "poses" in stated and bool(keepers) and all("poses" in row.honours for row in keepers)
    scaled = given and info.cameras_metric and all("scale" in row.honours for row in keepers)
    if not (notes or given):
        return info
    return replace(info, notes=(*info.notes, *notes), given_world=given, metric=info.metric or scaled)


def _stated(info: VideoInfo) -> Iterator[str]:
    if info.intrinsics is not None:
        yield "intrinsics"
    if info.distortion is not None:
        yield "distortion"
    if info.cameras_sha256:
        yield "poses"
        if info.cameras_metric:
            yield "scale"
