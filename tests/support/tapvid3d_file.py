"""Writes a clip's true tracks as a file of the TAPVid-3D benchmark, for the tests of scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geoflow.synth import Clip


def tapvid3d_arrays(clip: Clip) -> dict[str, Any]:
    """The arrays of such a file: every point that is visible somewhere, queried where it is first visible."""
    chosen = np.flatnonzero(clip.tracks.visible.any(0))
    visible = clip.tracks.visible[:, chosen]
    xyz, queries = np.zeros((*visible.shape, 3)), np.zeros((len(chosen), 3))
    for t, pose in enumerate(clip.cam_from_world.astype(np.float64)):
        for n, point in enumerate(chosen):
            xyz[t, n] = pose[:3, :3] @ clip.tracks.xyz[t, point] + pose[:3, 3]
    for n, point in enumerate(chosen):
        t = visible[:, n].tolist().index(True)
        queries[n] = [*(clip.tracks.uv[t, point] + 0.5), t]  # (0, 0) is the corner of the picture
    k = clip.intrinsics[0]
    jpegs = [cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes() for frame in clip.frames]
    return {
        "tracks_XYZ": xyz,
        "visibility": visible,
        "queries_xyt": queries,
        "fx_fy_cx_cy": np.array([k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]),
        "images_jpeg_bytes": np.array(jpegs),
    }


def write_tapvid3d(path: Path, clip: Clip, **other: Any) -> None:
    """Write the file; `other` arrays take the place of the clip's own, None leaves one out."""
    arrays = {**tapvid3d_arrays(clip), **other}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
