"""Descriptions of inputs by their names alone, for a child process that probes: it crashes, hangs or errs as asked."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.video.inputs import Input


def describe(item: Input) -> tuple[VideoInfo, dict[str, Any]]:
    """Describe 40 frames of 8x8. A name may ask for trouble: corrupt, crash, hang, bug."""
    print("a library that prints must not damage the answers")
    if "corrupt" in item.name:
        raise InputError(f"{item.source} is not a video; re-encode it")
    if "crash" in item.name:
        os._exit(11)
    if "hang" in item.name:
        time.sleep(600)
    if "bug" in item.name:
        raise ValueError("a fault of the program, not of the input")
    index = np.arange(40)
    info = VideoInfo(item.name, item.source, "0", 40, 30.0, 8, 8, 8, 8)
    return info, {"video.index": index, "video.pts": index, "video.time": index / 30}
