"""Reads a dataset with LeRobot's own reader, in an environment that has it: `python read_lerobot.py DATASET OUT.npz`.

Two things around that reader are ours where its environment lacks them. Wheels of torchvision that were built for
another torch cannot load their compiled operators, which reading needs none of. And torchvision's `VideoReader`, which
LeRobot's backend "pyav" calls, is gone from recent versions: the stand-in decodes with PyAV, too, and LeRobot compares
its time stamps as ever.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch


def with_torchvision() -> Any:
    """Import torchvision, with operators that do nothing if its own cannot be loaded."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        with_torchvision.kept = operators  # type: ignore[attr-defined]
        import torchvision
    if not hasattr(torchvision.io, "VideoReader"):
        torchvision.io.VideoReader = Frames
        torchvision.set_video_backend = lambda backend: None
    return torchvision


class Frames:
    """Decodes a video from a time on, as torchvision's `VideoReader` did."""

    def __init__(self, path: str, stream: str) -> None:
        import av

        self.container = av.open(path)
        self._from = 0.0

    def seek(self, seconds: float, keyframes_only: bool) -> None:
        self.container.seek(int(seconds * 1_000_000), backward=True, any_frame=False)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for frame in self.container.decode(video=0):
            rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
            yield {"data": rgb, "pts": float(frame.pts * frame.time_base)}


def main(root: str, out: str) -> None:
    with_torchvision()
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("local/run", root=root, video_backend="pyav")
    items = [dataset[i] for i in range(len(dataset))]
    arrays = {
        key: torch.stack([item[key] for item in items]).numpy() for key, value in items[0].items() if key != "task"
    }
    step = 1 / dataset.fps
    moved = LeRobotDataset(
        "local/run", root=root, video_backend="pyav", delta_timestamps={"observation.images.rgb": [-step, 0.0]}
    )
    arrays["before"] = torch.stack([moved[i]["observation.images.rgb"][0] for i in range(len(moved))]).numpy()
    part = LeRobotDataset("local/run", root=root, video_backend="pyav", episodes=[1])
    said = {
        "fps": dataset.fps,
        "tasks": [item["task"] for item in items],
        "episodes": dataset.num_episodes,
        "splits": dataset.meta.info["splits"],
        "part": part[0]["episode_index"].item(),
        "mean": {name: np.asarray(entry["mean"]).tolist() for name, entry in dataset.meta.stats.items()},
    }
    np.savez(out, **arrays)
    Path(out).with_suffix(".json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
