"""`colmap`: a sparse model, as binary and as text, with its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geoflow.export.frames import cameras_of, posed_frames
from geoflow.export.sparse_points import SparsePoints, image_name, sights, sparse_points, write_images
from geoflow.store.reader import Video
from geoflow.store.whole import whole_folder

FRAMES_FILE = "frames.txt"
_CORNER = 0.5  # COLMAP's pixels: the centre of the first one is at (0.5, 0.5)


def export_colmap(
    video: Video,
    out: Path,
    *,
    stride: int = 1,
    max_points: int = 20_000,
    max_spread: float = 0.02,
    images: bool = True,
    quality: int = 95,
) -> int:
    """Write the folder `out`: `sparse/0/` as .bin and .txt, and `images/NNNNNN.jpg`; return the number of images.

    Images are the posed frames, named after the store's frame number; `frames.txt` has a line for each image with its
    name and the frame's number in the source, which may have more frames. Cameras are PINHOLE: one for all images if
    the intrinsics are the same, else one for each image. Points are the tracks that rest in the world (their positions
    spread less than `max_spread` of their distance, root mean square), at their mean, with their observations. In a
    store without such tracks, points are drawn from the depth maps and have no observations. There are at most
    `max_points`. World and scene units are the store's; pixels are COLMAP's, the store's plus 0.5. The whole model is
    in memory: about 100 bytes for each time a track is seen. `stride` N takes every N-th frame. JPEGs have this
    `quality`; without `images` none are written, and points are grey.

    Raises StoreError without poses, if pixels cannot be read, or if `out` exists already.
    """
    import pycolmap

    frames = posed_frames(video, stride)
    with whole_folder(out) as draft:
        points = sparse_points(video, frames, max_points, max_spread, coloured=images)
        if images:
            write_images(video, frames, draft / "images", quality, points)
        model = _model(pycolmap, video, frames, points)
        sparse = draft / "sparse" / "0"
        sparse.mkdir(parents=True)
        model.write_binary(str(sparse))
        model.write_text(str(sparse))
        lines = [f"{image_name(i)} {video.frame_index[i]}\n" for i in frames]
        (draft / FRAMES_FILE).write_text("".join(lines))
    return len(frames)


def _model(pycolmap: Any, video: Video, frames: np.ndarray, points: SparsePoints) -> Any:
    cameras = cameras_of(video)
    intrinsics = cameras.intrinsics[frames].astype(np.float64)
    shared = np.ptp(intrinsics, axis=0).max() < 1e-3
    model = pycolmap.Reconstruction()
    for number in range(1, (1 if shared else len(frames)) + 1):
        k = intrinsics[number - 1]
        params = [k[0, 0], k[1, 1], k[0, 2] + _CORNER, k[1, 2] + _CORNER]
        camera = pycolmap.Camera(
            model="PINHOLE", width=video.width, height=video.height, params=params, camera_id=number
        )
        model.add_camera_with_trivial_rig(camera)
    seen_in: list[np.ndarray] = []
    for number, (i, seen, uv) in enumerate(sights(video, frames, points.column), start=1):
        keypoints = uv.astype(np.float64) + _CORNER
        image = pycolmap.Image(
            name=image_name(i), keypoints=keypoints, camera_id=1 if shared else number, image_id=number
        )
        pose = cameras.cam_from_world[i].astype(np.float64)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose[:3]))
        seen_in.append(seen.astype(np.int32))
    for xyz, rgb, observed in zip(points.xyz, points.rgb, _by_point(seen_in, len(points.xyz))):
        track = pycolmap.Track()
        for number, k in observed:
            track.add_element(int(number), int(k))
        model.add_point3D(xyz, track, rgb)
    if len(points.column):
        model.update_point_3d_errors()
    return model


def _by_point(seen_in: list[np.ndarray], count: int) -> list[np.ndarray]:
    """From the points that each image sees, in order, to each point's observations.

    An observation is (S, 2) int32: the image, and the point's place in it.
    """
    point = np.concatenate(seen_in)
    image = np.repeat(np.arange(1, len(seen_in) + 1, dtype=np.int32), [len(seen) for seen in seen_in])
    place = np.concatenate([np.arange(len(seen), dtype=np.int32) for seen in seen_in])
    order = np.argsort(point, kind="stable")
    stops = np.cumsum(np.bincount(point, minlength=count))[:-1]
    return np.split(np.column_stack([image, place])[order], stops)
