"""A package with the calls of nvidia-vipe 1.1 that the backend makes; it tracks nothing, but checks what it is given.

Its camera goes 0.1 to the right with each frame, and each pixel that no mask rules out is 2 ahead of it.
"""

from __future__ import annotations

from typing import Any


def make_pipeline(config: Any) -> Any:
    from vipe.pipeline.default import DefaultAnnotationPipeline

    return DefaultAnnotationPipeline(config)
