"""Writes a store with everything one can hold, and with what it can lack in some frames, for the tests of exports."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from synthetic_store import Flaws, write_store

from geoflow.synth import Clip

UNPOSED = 3  # this frame has no pose
ONLY_CAMERA_DEPTH = 5  # the geometry knows nothing of this one


def write_full_store(path: Path, clip: Clip, **flaws: object) -> None:
    """The clip's truth with pixels, a left hand from frame 4 on, and two frames that lack something."""
    write_store(path, clip, Flaws(**flaws))  # type: ignore[arg-type]
    with h5py.File(path, "a") as file:
        file["frames/rgb"] = clip.frames
        if "camera" in file:
            file["camera/valid"][UNPOSED] = False
            file["camera/cam_from_world"][UNPOSED] = np.nan
        if "geometry" in file:
            file["geometry/mask"][ONLY_CAMERA_DEPTH] = False
        if "tracks" in file:
            xyz, visible = file["tracks/xyz"], file["tracks/visible"]
            xyz[5:, 0], visible[5:, 0] = np.nan, False  # a track that is lost
        num = len(clip.frames)
        valid = np.arange(num) >= 4
        rng = np.random.default_rng(1)
        joints = rng.normal([0, 0, 2], 0.05, (num, 21, 3))
        turn = 0.1 * np.arange(num)
        wrist = np.tile(np.eye(4), (num, 1, 1))
        wrist[:, 0, 0] = wrist[:, 1, 1] = np.cos(turn)
        wrist[:, 0, 1], wrist[:, 1, 0] = -np.sin(turn), np.sin(turn)
        wrist[:, :3, 3] = joints[:, 0]
        missing = ~valid
        for name, array in {"joints": joints, "wrist": wrist, "uv": rng.uniform(0, 40, (num, 21, 2))}.items():
            array[missing] = np.nan
            file[f"hands/left/{name}"] = array.astype(np.float32)
        file["hands/left/valid"], file["hands/left/confidence"] = valid, 0.9 * valid.astype(np.float32)
