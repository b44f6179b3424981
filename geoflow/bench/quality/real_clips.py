"""Parts of real clips with truth, at the small size and the frame rate of the calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.bench.footage.clips import FootageClip, Prepared, prepare
from geoflow.errors import InputError


@dataclass(frozen=True)
class RealPart:
    """Every `step`-th frame of a clip from the frame `first` on."""

    clip: str
    first: int
    step: int

    @property
    def name(self) -> str:
        return f"{self.clip}_{self.first}"


# Clips of `bench footage` that have true depth and true poses; the steps leave 5 to 15 frames a second where the clip
# has more. None of the clips that are held out for a last measurement is among them.
PARTS = (
    RealPart("kitchen_kinect", 0, 3),
    RealPart("kitchen_kinect", 150, 3),
    RealPart("tum_rpy", 0, 2),
    RealPart("tum_rpy", 150, 3),
    RealPart("tabletop_realsense", 0, 1),
    RealPart("hololens_office", 0, 1),
    RealPart("hololens_office", 150, 2),
    RealPart("iphone_door", 0, 4),
    RealPart("iphone_door", 120, 4),
    RealPart("cabinet_sparse", 0, 1),
    RealPart("kitti_street", 0, 1),
    RealPart("kitti_street", 50, 1),
    RealPart("kitti_road", 0, 1),
)


def cut(part: RealPart, clips: Path, out: Path, *, frames: int, max_size: int) -> Prepared:
    """Write a part of a clip below `out`: frames and truth. Raises InputError if the clip is too short for it."""
    whole = FootageClip(clips / part.clip)
    numbers = np.arange(part.first, part.first + part.step * frames, part.step)
    numbers = numbers[numbers < len(whole.frames)]
    if len(numbers) < frames // 2:
        raise InputError(f"{whole.folder} has {len(whole.frames)} frames, too few for those from {part.first} on")
    folder = out / "parts" / part.name
    for name in ("frames", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for old in (folder / name).iterdir():
            old.unlink()
    for place, number in enumerate(numbers):
        picture = whole.frames[number]
        (folder / "frames" / f"{place:05d}{picture.suffix}").symlink_to(picture.resolve())
        depth = whole.folder / "depth" / f"{number:05d}.png"
        if depth.is_file():
            (folder / "depth" / f"{place:05d}.png").symlink_to(depth.resolve())
    with np.load(whole.folder / "gt.npz", allow_pickle=False) as arrays:
        known = dict(arrays)
    rows = len(whole.frames)
    thinned = {name: value[numbers] if value.shape[:1] == (rows,) else value for name, value in known.items()}
    np.savez(folder / "gt.npz", **thinned)
    return prepare(FootageClip(folder), out, max_size=max_size)
