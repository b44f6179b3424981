"""`depth`: a depth map per frame, in the layout that GeometryCrafter's users know, `depth/GeometryCrafter/NNN.npy`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.export.frames import Depths
from geoflow.store.reader import Video
from geoflow.store.whole import whole_folder

FORMATS = ("npy", "png", "pfm")
_FARTHEST = 65_000  # of the 65,535 steps of a 16-bit PNG
# Options of GeometryCrafter, written if it was used.
_OPTIONS = ("model_type", "window_size", "overlap", "downsample_ratio")


def export_depth(video: Video, out: Path, *, output_format: str = "npy") -> int:
    """Write the folder `out/depth`; return the number of frames T, all frames of the store.

    `GeometryCrafter/NNN.npy`, from 001 on, (H, W) float32 z in scene units, 0 where unknown. With `output_format`
    `png`: (H, W) uint16 in steps of `png_scale` scene units, 0 where unknown; with `pfm`: (H, W) float32. For each
    frame it is the geometry's depth if it has any, else the camera branch's. `depth_metadata.json` describes all
    frames, and `depth_metadata_segment_<start>_<stop>.json` each segment of the store; ranges are [start, stop), from
    0.

    Raises StoreError if the store has no depth or `out/depth` exists already, ConfigError for another format.
    """
    if output_format not in FORMATS:
        raise ConfigError(f"--set output_format={output_format}: expected one of {', '.join(FORMATS)}")
    depths = Depths(video)
    step = _png_step(video, depths) if output_format == "png" else None
    width = max(3, len(str(len(video))))
    with whole_folder(out / "depth") as draft:
        folder = draft / "GeometryCrafter"
        folder.mkdir()
        for i in range(len(video)):
            _write(folder / f"{i + 1:0{width}d}.{output_format}", depths[i][0], step)
        for name, entry in _metadata(video, output_format, step).items():
            (draft / name).write_text(json.dumps(entry, indent=2) + "\n")
    return len(video)


def _png_step(video: Video, depths: Depths) -> float:
    """Return the scene units per step, so that the farthest pixel fits: 1 mm if the scene is metric and fits."""
    farthest = max(float(depths[i][0].max()) for i in range(len(video)))
    return 0.001 if video.metric and farthest <= 0.001 * _FARTHEST else max(farthest, 1e-6) / _FARTHEST


def _write(path: Path, depth: np.ndarray, step: float | None) -> None:
    if path.suffix == ".npy":
        np.save(path, depth, allow_pickle=False)
        return
    import cv2

    if step is not None:
        # Known depth must not round to 0, which means unknown.
        steps = np.where(depth > 0, np.maximum(np.rint(depth / step), 1), 0)
        depth = steps.astype(np.uint16)
    if not cv2.imwrite(str(path), depth):
        raise StoreError(f"{path} could not be written; check the disk")


def _metadata(video: Video, output_format: str, step: float | None) -> dict[str, dict[str, Any]]:
    """Return the metadata by file name. The names of entries are those that GeometryCrafter's users know."""
    total = len(video)
    known = {stage.get("slot"): stage for stage in _stages(video)}
    geometry = known.get("geometry", {})
    params = geometry.get("params", {})
    common: dict[str, Any] = {
        "total_frames": total,
        "model": geometry.get("backend", "geoflow"),
        **{name: params[name] for name in _OPTIONS if name in params},
        "height": video.height,
        "width": video.width,
        "output_format": output_format,
        "metric": video.metric,
        "png_scale": step,
    }
    ranges = {"depth_metadata.json": (0, total)}
    for row in video.segments:
        start, stop = int(row["start"]), int(row["stop"])
        ranges[f"depth_metadata_segment_{start:06d}_{stop:06d}.json"] = (start, stop)
    return {
        name: {"num_frames": stop - start, "segment_start": start, "segment_end": stop, **common}
        for name, (start, stop) in ranges.items()
    }


def _stages(video: Video) -> list[dict[str, Any]]:
    stages = video.pipeline.get("stages", [])
    return [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
