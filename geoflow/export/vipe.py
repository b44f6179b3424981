"""`vipe`: the files that ViPE (Huang et al. 2025) writes for a clip."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.environments.extras import library
from geoflow.export.frames import Depths, cameras_of, frames_with_depth, pictures, posed_frames
from geoflow.export.mp4 import frame_rate, write_mp4
from geoflow.export.npz import whole_npz
from geoflow.store.reader import Video
from geoflow.store.whole import whole_draft, write_whole

_CORNER = 0.5  # ViPE's pixels: the centre of the first one is at (0.5, 0.5)


def export_vipe(video: Video, out: Path) -> int:
    """Write a clip's files below the folder `out`, which may hold other clips; return the number of posed frames.

    With the store's name for the clip: `pose/<name>.npz`, `data` (M, 4, 4) float32 world from camera, `inds` (M,)
    int64, and `source` (M,) int64, the frames' numbers in the source (ViPE has no such array);
    `intrinsics/<name>.npz`, `data` (M, 4) float32 fx, fy, cx, cy in px, counted from the picture's edge as in ViPE,
    where a centred camera has half the width, and `<name>_camera.txt`; `depth/<name>.zip`, an OpenEXR picture per
    frame, channel Z, float16 scene units, 0 where unknown; `rgb/<name>.mp4`, all frames, H.264, written last. `inds`
    and the names in the archive are the store's frame numbers: as in ViPE, frames without a pose are left out. Instance
    masks and the residual of its bundle adjustment are not written: no store has them.

    Raises StoreError if no frame has pose and depth or if pixels cannot be read, ConfigError without the library
    OpenEXR.
    """
    openexr = library("OpenEXR", "export", "--to vipe")
    posed, depths = posed_frames(video), Depths(video)
    frames, intrinsics = frames_with_depth(video, depths, posed)
    next(pictures(video, frames[:1]))  # errors are reported before anything is written
    name = video.name
    cam_from_world = cameras_of(video).cam_from_world[frames].astype(np.float64)
    with whole_npz(out / "pose" / f"{name}.npz") as npz:
        npz.array("data", np.linalg.inv(cam_from_world).astype(np.float32))
        npz.array("inds", frames.astype(np.int64))
        npz.array("source", video.frame_index[frames].astype(np.int64))
    with whole_npz(out / "intrinsics" / f"{name}.npz") as npz:
        npz.array("data", intrinsics[:, [0, 1, 0, 1], [0, 1, 2, 2]] + np.array([0, 0, _CORNER, _CORNER], np.float32))
        npz.array("inds", frames.astype(np.int64))
    camera_types = "".join(f"{i}: PINHOLE\n" for i in frames)
    write_whole(out / "intrinsics" / f"{name}_camera.txt", camera_types.encode())
    _write_depth(openexr, depths, frames, out / "depth" / f"{name}.zip")
    with whole_draft(out / "rgb" / f"{name}.mp4") as draft:
        write_mp4(draft, pictures(video, range(len(video))), frame_rate(video.fps))
    return len(frames)


def _write_depth(openexr: Any, depths: Depths, frames: np.ndarray, path: Path) -> None:
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    with (
        whole_draft(path) as draft,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive,  # the pictures are compressed already
        tempfile.TemporaryDirectory() as folder,
    ):
        picture = Path(folder) / "depth.exr"  # the library writes only to file names
        for i in frames:
            depth = depths[i][0].astype(np.float16)
            openexr.File(header, {"Z": depth}).write(str(picture))
            archive.write(picture, f"{i:05d}.exr")
