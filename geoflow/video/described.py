"""The description of an input as a run wants it: probed, and with the user's prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoflow.segments import Prompt, VideoInfo
from geoflow.video.inputs import Input
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe
from geoflow.video.prompts import with_prompts


def describe_input(
    item: Input, options: ReadOptions, prompts: Mapping[str, tuple[Prompt, ...]]
) -> tuple[VideoInfo, dict[str, Any]]:
    """Return what `probe` returns, with the prompts for this video. Raises InputError."""
    info, arrays = probe(item.source, item.name, options)
    return with_prompts(info, arrays["video.index"], prompts.get(item.name, ())), arrays
