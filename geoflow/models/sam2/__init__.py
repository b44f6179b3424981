"""SAM 2.1 (Ravi et al. 2024, arXiv:2408.00714): objects that are shown once, in all frames of a video.

    from geoflow.models.sam2 import Shown, from_pretrained, label_map

    model = from_pretrained("sam2.1-hiera-large", device="cuda", dtype=torch.bfloat16)
    run = model.begin()
    for t, rgb in enumerate(frames):  # (H, W, 3) uint8
        shown = {7: Shown(box=(40, 30, 120, 90))} if t == 0 else {}
        sights = run.step(t, rgb, shown)  # {7: Sight}: logits (h, w) float32, h = w = a quarter of the working size
        label = label_map(sights, *rgb.shape[:2])  # (H, W) uint8: 7 on the object, 0 elsewhere

The network is that of transformers, without its processors, which need torchvision. A run keeps of the past what the
network reads of it: its memory and its `state` have one size however long the video is. Each object has a session of
its own, so no object changes what is found of another; the features of a frame are computed once for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoflow.models.on_demand import on_demand

if TYPE_CHECKING:
    from geoflow.models.sam2.object_session import Shown
    from geoflow.models.sam2.pretrained import from_pretrained
    from geoflow.models.sam2.sight_labels import label_map
    from geoflow.models.sam2.video_pass import Sam2, Sight, VideoPass

__all__ = ["Sam2", "Shown", "Sight", "VideoPass", "from_pretrained", "label_map"]

_MODULES = {
    "Sam2": "video_pass",
    "Shown": "object_session",
    "Sight": "video_pass",
    "from_pretrained": "pretrained",
    "VideoPass": "video_pass",
    "label_map": "sight_labels",
}

__getattr__ = on_demand(__name__, _MODULES)
