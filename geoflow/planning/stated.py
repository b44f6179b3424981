"""What a user states of the camera, and which stages keep to it: those that do not are named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from geoflow.fields import FIELDS
from geoflow.pipeline import Pipeline
from geoflow.segments import VideoInfo
from geoflow.stage import Stage

_POSES = "camera.cam_from_world"
_WORDS = {
    "intrinsics": "the known intrinsics",
    "distortion": "the known distortion of the lens",
    "poses": "the known poses",
    "scale": "the known scale",
}


@dataclass(frozen=True)
class Heed:
    """What of a stage matters here; plain values, since it travels to where videos are probed."""

    slot: str
    backend: str
    honours: frozenset[str]
    sees: bool  # it measures something in the pictures, so that the lens matters
    poses: bool  # it says where the camera is


Heeds = tuple[Heed, ...]


def heeds(pipeline: Pipeline) -> Heeds:
    """How each stage of a pipeline that what is stated matters to takes it."""
    rows = (_heed(spec.slot, spec.backend, spec.make_stage()) for spec in pipeline.stages)
    return tuple(row for row in rows if row.sees or row.poses)


def _heed(slot: str, backend: str, stage: Stage) -> Heed:
    made = () if stage.ordered else stage.outputs  # ordered stages pass on what others made
    sees = "frames.rgb" in stage.inputs and any(_is_3d(name) for name in made)
    return Heed(slot, backend, stage.honours, sees, _POSES in made)


def _is_3d(name: str) -> bool:
    """A field in 3D, or the camera that makes it so: what depends on where a pixel looks."""
    shape = FIELDS[name].shape.split()
    return (shape[-1:] == ["3"] and name != "frames.rgb") or shape[-2:] == ["4", "4"]


def as_heeded(info: VideoInfo, stages: Heeds) -> VideoInfo:
    """The video as these stages take it: with a note on each that does not keep to what is stated.

    `given_world` holds where the stage that says where the camera is keeps to the known poses, and `metric` where these
    are in metres besides.
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
