"""What tells the work on one video from any other work on it: the key that parts carry, and that a store is made of.

The key says which pixels were read, and by which pipeline with which settings; not who worked, when, or where.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from geoflow.segments import ELSEWHERE, VideoInfo

_LENGTH = 20  # hexadecimal digits; 80 bits, and short enough for a file name


def describe_work(video: VideoInfo, pipeline: str) -> str:
    """All that the key is made of, as JSON: facts of the video as it is read, the pipeline's fingerprint, how it reads.

    `pipeline` is the JSON of the run that every store carries. Where files lie is left out: the same content may have
    moved. Masks and known cameras count by the checksum of their content.
    """
    run = json.loads(pipeline)
    work = {"video": video.content(), "fingerprint": run.get("fingerprint", ""), "reading": reading_of(run)}
    return json.dumps(work, sort_keys=True, default=_plain)


def reading_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """How a run reads videos, of what every store carries of it; not where masks and known cameras lie."""
    return {name: value for name, value in (run.get("reading") or {}).items() if name not in ELSEWHERE}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def work_key(work: str) -> str:
    """The key of what `describe_work` describes.

    >>> len(work_key("{}"))
    20
    """
    return hashlib.sha256(work.encode()).hexdigest()[:_LENGTH]
