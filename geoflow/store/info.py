"""The contents of a store for `geoflow info`: as a dictionary and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.geometry.hands.hand_smoothing import jitter
from geoflow.store.lazy import Hand
from geoflow.store.meshes import mesh_datasets
from geoflow.store.object_poses import pose_datasets
from geoflow.store.reader import Video
from geoflow.store.schema import ATTRIBUTES, SECONDS_PREFIX, SEGMENTS, datasets
from geoflow.store.writer import motion_summary

if TYPE_CHECKING:
    from rich.console import RenderableType


def describe(video: Video) -> dict[str, Any]:
    """Return attributes, datasets with their sizes, and totals over the video, as values of JSON types.

    `totals` has frames_posed, path_length (scene units), geometry_coverage, motion, tracks, hands_left and
    hands_right (frames), hands_left_jitter_mm and hands_right_jitter_mm (how much a wrist trembles before the camera:
    its root mean square distance from the middle of its neighbours, where it was seen), hands (how many different
    ones), objects, meshes, seconds per slot and the largest seam residual, each only if the file has it. `recovered` is
    a sentence on what was recovered; `remarks` are sentences on what was not, and why.
    """
    attributes = {name: video.file.attrs[name] for name in ATTRIBUTES if name != "pipeline"}
    attributes = {name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()}
    held = {}
    for name, row in datasets().items():
        if name in video.file:
            dataset = video.file[name]
            held[name] = {
                "shape": list(dataset.shape),
                "dtype": row.dtype,
                "unit": row.unit,
                "bytes": int(dataset.id.get_storage_size()),
            }
    if video.objects is not None:
        held |= mesh_datasets(video.file) | pose_datasets(video.file)
    return {
        "path": str(video.path),
        "bytes": video.file.id.get_filesize(),
        **attributes,
        "datasets": held,
        "segments": len(video.segments),
        "totals": _totals(video),
        "recovered": video.recovered,
        "remarks": video.remarks,
    }


def _totals(video: Video) -> dict[str, Any]:
    totals: dict[str, Any] = {}
    if (cameras := video.cameras) is not None:
        totals["frames_posed"] = int(cameras.valid.sum())
        totals["path_length"] = float(np.nansum(np.linalg.norm(np.diff(cameras.centers, axis=0), axis=-1)))
        totals["motion"] = motion_summary(np.bincount(cameras.motion, minlength=4))
    if "geometry/mask" in video.file:
        totals["geometry_coverage"] = float(np.mean([video.mask[i].mean() for i in range(len(video))]))
    if video.tracks is not None:
        totals["tracks"] = len(video.tracks)
    for side in ("left", "right"):
        if video.hands is not None and (hand := getattr(video.hands, side)) is not None:
            totals[f"hands_{side}"] = int(hand.valid.sum())
            if np.isfinite(trembling := _trembling_mm(hand, video)):
                totals[f"hands_{side}_jitter_mm"] = trembling
    if video.hands is not None and video.hands.all is not None:
        totals["hands"] = len(video.hands.all.numbers)
    if (objects := video.objects) is not None:
        totals["objects"] = len(objects)
        totals["meshes"] = sum(row.has_mesh for row in objects.values())
    seconds: dict[str, float] = {}
    for row in video.segments:
        for name, value in row.items():
            if name.startswith(SECONDS_PREFIX) and np.isfinite(value):
                slot = name.removeprefix(SECONDS_PREFIX)
                seconds[slot] = seconds.get(slot, 0.0) + float(value)
    totals["seconds"] = {slot: round(value, 3) for slot, value in seconds.items()}
    residuals = [row["seam_residual"] for row in video.segments if np.isfinite(row["seam_residual"])]
    if residuals:
        totals["seam_residual_max"] = float(max(residuals))
    return totals


def _trembling_mm(hand: Hand, video: Video) -> float:
    if hand.metres_per_unit is None:
        return float("nan")
    seen = hand.valid if hand.filled is None else hand.valid & ~hand.filled
    return 1e3 * jitter(hand.wrist[:, :3, 3] * hand.metres_per_unit[:, None], video.frame_time, seen)


def render(summary: dict[str, Any]) -> RenderableType:
    """Return the dictionary of `describe` as a table for the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False)
    for name in ("path", "source", "status", "num_frames", "width", "height", "fps", "metric", "segments"):
        facts.add_row(name, str(summary[name]))
    for name, value in summary["totals"].items():
        if name == "seconds":
            value = ", ".join(f"{slot} {seconds:.1f}" for slot, seconds in value.items())
        facts.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    table = Table("dataset", "shape", "dtype", "unit", "KiB", box=None, header_style="bold")
    table.columns[0].no_wrap = True
    for name, entry in summary["datasets"].items():
        shape = " x ".join(map(str, entry["shape"]))
        table.add_row(name, shape, entry["dtype"], entry["unit"], f"{entry['bytes'] / 1024:,.0f}")
    table.add_row(SEGMENTS, str(summary["segments"]), "table", "", "")
    return Group(Text(summary["recovered"]), facts, table, *(Text(line, style="yellow") for line in summary["remarks"]))
