"""`nerfstudio`: pictures with their cameras in transforms.json, and points to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.export.frames import cameras_of, posed_frames
from geoflow.export.sparse_points import image_name, sparse_points, write_images
from geoflow.geometry.rigid import invert
from geoflow.store.reader import Video
from geoflow.store.whole import whole_folder

_CORNER = 0.5  # nerfstudio's pixels: the centre of the first one is at (0.5, 0.5)
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes: x right, y up, z backward
_PLY = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def export_nerfstudio(
    video: Video,
    out: Path,
    *,
    stride: int = 1,
    max_points: int = 100_000,
    max_spread: float = 0.02,
    quality: int = 95,
) -> int:
    """Write the folder `out`: `transforms.json`, `images/NNNNNN.jpg` and `sparse_pc.ply`; return the number of images.

    Images are the posed frames, named after the store's frame number, as JPEGs of this `quality`; `stride` N takes
    every N-th frame. Each has its own `fl_x`, `fl_y`, `cx`, `cy` (px, pixel centres at 0.5), `w` and `h`, its
    `transform_matrix`, the world from the camera with OpenGL's axes (x right, y up, z backward), and `source_frame`,
    its number in the source. The world is the store's, in its unit: x right, y down, z forward of the first camera;
    nerfstudio turns it upright and scales it itself (`orientation_method`, `auto_scale_poses`). The ply has at most
    `max_points` coloured points in the same world: tracks at rest in it, as in `export_colmap` with `max_spread`, else
    points of the depth maps; without points there is no ply. `geoflow` in transforms.json says the store, the unit, how
    many frames it has, and which are left out for lack of a pose (`without_pose`, numbers in the source).

    Raises StoreError without poses, if pixels cannot be read, or if `out` exists already.
    """
    frames = posed_frames(video, stride)
    with whole_folder(out) as draft:
        points = sparse_points(video, frames, max_points, max_spread, coloured=True)
        write_images(video, frames, draft / "images", quality, points)
        document = _transforms(video, frames)
        if len(points.xyz):
            (draft / "sparse_pc.ply").write_bytes(_ply(points.xyz, points.rgb))
            document["ply_file_path"] = "sparse_pc.ply"
        (draft / "transforms.json").write_text(json.dumps(document, indent=1) + "\n")
    return len(frames)


def _transforms(video: Video, frames: np.ndarray) -> dict[str, Any]:
    cameras = cameras_of(video)
    left_out = np.setdiff1d(np.arange(len(video)), posed_frames(video))
    return {
        "camera_model": "PINHOLE",
        "geoflow": {
            "store": video.name,
            "unit": "m" if video.metric else "scene",
            "frames": len(video),
            "without_pose": video.frame_index[left_out].tolist(),
        },
        "frames": [_frame(video, cameras.intrinsics[i], cameras.cam_from_world[i], int(i)) for i in frames],
    }


def _frame(video: Video, intrinsics: np.ndarray, cam_from_world: np.ndarray, i: int) -> dict[str, Any]:
    k = intrinsics.astype(np.float64)
    return {
        "file_path": f"images/{image_name(i)}",
        "source_frame": int(video.frame_index[i]),
        "w": video.width,
        "h": video.height,
        "fl_x": k[0, 0],
        "fl_y": k[1, 1],
        "cx": k[0, 2] + _CORNER,
        "cy": k[1, 2] + _CORNER,
        "transform_matrix": (invert(cam_from_world.astype(np.float64)) @ _OPENGL).tolist(),
    }


def _ply(xyz: np.ndarray, rgb: np.ndarray) -> bytes:
    """Return a binary PLY of points (P, 3) and their colours (P, 3) uint8."""
    kinds = [*(f"float {axis}" for axis in "xyz"), *(f"uchar {colour}" for colour in ("red", "green", "blue"))]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}"]
    head = "\n".join([*lines, *(f"property {kind}" for kind in kinds), "end_header", ""])
    rows = np.empty(len(xyz), _PLY)
    rows["xyz"], rows["rgb"] = xyz, rgb
    return head.encode("ascii") + rows.tobytes()
