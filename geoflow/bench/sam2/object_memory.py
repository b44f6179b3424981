"""Memory of a process that follows objects through a long video, with what is dropped of the past and without.

`python -m geoflow.bench.sam2.object_memory JSON` prints {"rows": [...]}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from geoflow.bench.geometry.geometry_child import resident_mb
from geoflow.bench.sam2.made_up_sam2 import moving_discs, small_network
from geoflow.models.sam2 import Sam2, Shown
from geoflow.models.sam2.object_session import ObjectSession

_BOX = (6.0, 8.0, 22.0, 24.0)
_CLIP = 50  # different frames, over and over


def measure_memory(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the resident memory, the size of the state and the CPU seconds so far, at every `every` frames.

    `job` has frames, objects, size (the working size of the network), every, and pruned.
    """
    torch.set_num_threads(1)
    if not job["pruned"]:
        ObjectSession.prune = lambda self, t: None  # type: ignore[method-assign]
    video_pass, clip = Sam2(small_network(size=job["size"])).begin(), moving_discs(_CLIP)
    shown = {number: Shown(box=_BOX) for number in range(1, job["objects"] + 1)}
    began = time.process_time()
    for t in range(job["frames"]):
        video_pass.step(t, clip[t % _CLIP], {} if t else shown)
        if (t + 1) % job["every"] == 0:
            state = sum(array.nbytes for array in video_pass.state().values()) if job["pruned"] else None
            row = {"frame": t + 1, "resident_mb": resident_mb("VmRSS"), "cpu_seconds": time.process_time() - began}
            yield {**row, **({"state_mb": state / 1e6} if state is not None else {})}


if __name__ == "__main__":
    print(json.dumps({"rows": list(measure_memory(json.loads(sys.argv[1])))}))
