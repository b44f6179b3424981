"""The key that identifies the work on one video; parts and stores hold it.

The key depends on the pixels that were read, the pipeline and its settings; not on the run, the time or the machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from geoflow.segments import ELSEWHERE, VideoInfo

_LENGTH = 20  # hexadecimal digits; 80 bits, and short enough for a file name


def describe_work(video: VideoInfo, pipeline: str) -> str:
    """Return what the key is made of, as JSON: facts of the video as read, the pipeline's fingerprint, how it reads.

    `pipeline` is the JSON of the run that every store holds. Paths of files are left out: the same content may have
    moved. Masks, labels of objects and known cameras count by the checksum of their content.
    """
    run = json.loads(pipeline)
    work = {"video": video.content(), "fingerprint": run.get("fingerprint", ""), "reading": reading_of(run)}
    return json.dumps(work, sort_keys=True, default=_plain)


def reading_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run reads videos, without the paths of masks and known cameras."""
    return {name: value for name, value in (run.get("reading") or {}).items() if name not in ELSEWHERE}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def work_key(work: str) -> str:
    """Return the key of the work that `describe_work` describes.

    >>> len(work_key("{}"))
    20
    """
    return hashlib.sha256(work.encode()).hexdigest()[:_LENGTH]
