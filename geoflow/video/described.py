"""The description of an input as a run wants it: probed, and with the user's prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoflow.errors import InputError
from geoflow.segments import Prompt, VideoInfo
from geoflow.video.inputs import Input
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe
from geoflow.video.prompts import with_prompts


def describe_input(
    item: Input, options: ReadOptions, prompts: Mapping[str, tuple[Prompt, ...]], *, carries: bool = False
) -> tuple[VideoInfo, dict[str, Any]]:
    """Return what `probe` returns, with the prompts for this video.

    `carries` says that a stage finds objects in all frames from what the user shows in some. Raises InputError, also
    for labels of some frames only if no stage does so.
    """
    info, arrays = probe(item.source, item.name, options)
    if info.labelled and not carries:
        raise InputError(
            f"{info.labels} holds {len(info.labelled)} label images, and not one for each frame of the video, but no "
            "stage of the pipeline finds objects in the other frames; add one for the slot objects, such as "
            "embedded.carried_masks, or give a label image per frame"
        )
    return with_prompts(info, arrays["video.index"], prompts.get(item.name, ())), arrays
