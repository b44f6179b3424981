"""SAM 2.1 at full size on a GPU, with made-up weights: frames per second and peak memory; a JSON object a line.

`python -m geoflow.bench.sam2.gpu_objects JSON`. It also runs on a CPU with a small network, for a rehearsal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch

from geoflow.bench.geometry.gpu import device_name, timed
from geoflow.bench.sam2.made_up_sam2 import moving_discs, published_network, small_network
from geoflow.models.sam2 import Sam2, Shown, label_map
from geoflow.models.sam2.frame_pixels import frame_pixels

_HEIGHT, _WIDTH = 480, 640
_CLIP, _WARM = 16, 20  # different frames; and frames until memory is full


def measure_objects(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the device and the size of the weights, then a row for encoding alone and one for each number of objects,
    from frames to label maps.

    `job` has device, model (tiny or large), size (the working size), frames, objects (numbers of them), dtype (float32
    or bfloat16), and small (a network for a rehearsal). Each is done once before it is measured, so that kernels are
    loaded, with as many frames as fill the memory of an object.
    """
    torch.backends.cudnn.deterministic = True  # as in the backend
    device = torch.device(job["device"])
    made = small_network(size=job["size"]) if job["small"] else published_network(job["model"], job["size"])
    network = made.to(device)
    network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(20.0)  # all objects are seen, as is usual
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    yield {"device": device_name(device), "torch": torch.__version__, "weights_mb": weights / 1e6}
    model = Sam2(network, torch.bfloat16 if job["dtype"] == "bfloat16" else None)
    clip = moving_discs(_CLIP, _HEIGHT, _WIDTH)

    def encode(count: int) -> None:
        with torch.inference_mode(), model.autocast():
            for t in range(count):
                network.get_image_features(frame_pixels(clip[t % _CLIP], model.size, device)[None])

    def follow(objects: int, count: int) -> None:
        video_pass = model.begin()
        shown = {number: Shown(box=(60.0, 80.0, 220.0, 240.0)) for number in range(1, objects + 1)}
        for t in range(count):
            label_map(video_pass.step(t, clip[t % _CLIP], {} if t else shown), _HEIGHT, _WIDTH)

    encode(2)
    yield {"stage": "encode", **timed(encode, job["frames"], device)}
    for objects in job["objects"]:
        follow(objects, min(_WARM, job["frames"]))
        row = timed(lambda count, objects=objects: follow(objects, count), job["frames"], device)  # type: ignore[misc]
        yield {"stage": "objects", "objects": objects, **row}


if __name__ == "__main__":
    for row in measure_objects(json.loads(sys.argv[1])):
        print(json.dumps(row), flush=True)
