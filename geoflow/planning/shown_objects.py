"""What `--objects` names, looked at before work starts: label images, or prompts for a stage that takes them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline
from geoflow.segments import Prompt
from geoflow.stage import OBJECT
from geoflow.video.prompts import read_prompts

_LABELS = "objects.label"


def check_objects(objects: str | None, names: Sequence[str], pipeline: Pipeline) -> dict[str, tuple[Prompt, ...]]:
    """The prompts that `--objects` names, by video; {} where it names label images or is not given.

    Raises ConfigError when no video can have any, or when the pipeline has no stage that takes prompts.
    """
    if objects is None:
        return {}
    if os.path.isdir(objects):
        if not any(os.path.isdir(os.path.join(objects, name)) for name in names):
            raise ConfigError(
                f"--objects {objects} holds no folder for any of the videos; expected label images such as "
                f"{os.path.join(objects, names[0], '00000.png')}"
            )
        return {}
    if not os.path.isfile(objects):
        raise ConfigError(
            f"--objects {objects} should be a folder with a folder of label images per video, or a file of prompts; "
            "there is none"
        )
    prompts = read_prompts(objects)
    if not carries_objects(pipeline):
        raise ConfigError(
            f"--objects {objects} holds prompts, and no stage of pipeline {pipeline.name!r} takes any; add a stage for "
            "the slot objects that does, or give label images"
        )
    if "" in prompts:
        if len(names) > 1:
            raise ConfigError(
                f"--objects {objects} does not say which video its rows are for, and there are {len(names)}; add a "
                f"column video with names such as {names[0]}"
            )
        prompts = {names[0]: (*prompts.pop("", ()), *prompts.get(names[0], ())), **prompts}
    _check_words(objects, prompts, pipeline)
    if unknown := sorted(set(prompts) - set(names)):
        raise ConfigError(
            f"--objects {objects} has prompts for {', '.join(unknown)}, which is none of the videos: {', '.join(names)}"
        )
    return prompts


def _check_words(objects: str, prompts: dict[str, tuple[Prompt, ...]], pipeline: Pipeline) -> None:
    """Raise ConfigError for a prompt of words that no stage understands."""
    words = [prompt for rows in prompts.values() for prompt in rows if prompt.text]
    if words and not any(spec.stage_class().takes_text for spec in pipeline.stages):
        taker = next(spec for spec in pipeline.stages if spec.stage_class().takes_prompts)
        raise ConfigError(
            f"--objects {objects} has the text {words[0].text!r} for object {words[0].object}, and {taker.backend} "
            "knows no words; give the object a box or points, or take a backend for the slot objects that finds words"
        )


def carries_objects(pipeline: Pipeline) -> bool:
    """Return whether a stage finds objects in all frames from what the user shows in some."""
    return any(spec.stage_class().takes_prompts for spec in pipeline.stages)


def without_idle(pipeline: Pipeline, objects: str | None) -> Pipeline:
    """Return the pipeline without stages that would have nothing to do: none is shown an object if `objects` is None.

    A stage that another cannot do without stays.
    """
    for spec in pipeline.stages if objects is None else ():
        if spec.stage_class().takes_prompts:
            with contextlib.suppress(ConfigError):
                pipeline = pipeline.without([spec.slot])
    return pipeline


def check_shown(pipeline: Pipeline, objects: str | None) -> None:
    """Raise ConfigError if a stage works on single objects and none can come.

    The run would end complete, without what it is for. `pipeline` is without idle stages.
    """
    labels = objects is not None or any(_LABELS in spec.make_stage().outputs for spec in pipeline.stages)
    if not labels and (idle := [spec.slot for spec in pipeline.stages if spec.stage_class().span == OBJECT]):
        raise ConfigError(
            f"pipeline {pipeline.name!r} has a stage {idle[0]!r} that works on objects, and none is shown; give "
            f"--objects, or leave it out with --without {idle[0]}"
        )
