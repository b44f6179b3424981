"""The arrays of an episode, as they are in its store, one frame at a time: for formats that leave the layout to us."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from geoflow.export.dataset.passage import Passage
from geoflow.export.frames import Depths, has_depth, pictures
from geoflow.export.track_rows import track_rows

RGB, DEPTH = "rgb", "depth"
_HAND = ("valid", "joints", "wrist", "uv", "confidence", "scale")


def frame_arrays(passage: Passage) -> Iterator[dict[str, np.ndarray]]:
    """Yield the arrays of each frame by name, such as `tracks/xyz`, with the store's values; NaN is unknown.

    - `rgb` (H, W, 3) uint8; `depth` (H, W) float16 z in scene units, 0 where unknown: the geometry's, or the camera
      branch's where the geometry knows nothing; `depth_intrinsics` (3, 3) float32 px, of that depth
    - `frames/index` () int64 and `frames/time` () float64 s, in the source
    - `camera/intrinsics` (3, 3) and `camera/cam_from_world` (4, 4) float32, `camera/valid` () bool
    - `tracks/xyz` (N, 3) world and `tracks/uv` (N, 2) px float32, `tracks/visible` (N,) bool
    - `hands/<side>/...`: `valid`, `joints` (21, 3) and `wrist` (4, 4) in the camera frame, `uv` (21, 2) px,
      `confidence`, `scale` in scene units per metre, NaN for a hand in metres

    What the store lacks is left out of all frames.
    """
    cameras, hands = passage.cameras, passage.hands
    depths = Depths(passage) if has_depth(passage) else None
    tracks = track_rows(passage) if passage.tracks is not None and len(passage.tracks) else None
    for i, rgb in enumerate(pictures(passage, range(len(passage)))):
        found: dict[str, np.ndarray] = {RGB: rgb}
        if depths is not None:
            depth, found["depth_intrinsics"] = depths[i]
            found[DEPTH] = depth.astype(np.float16)
        found["frames/index"], found["frames/time"] = passage.frame_index[i], passage.frame_time[i]
        if cameras is not None:
            for name in ("intrinsics", "cam_from_world", "valid"):
                found[f"camera/{name}"] = getattr(cameras, name)[i]
        if tracks is not None:
            row = next(tracks)
            found |= {f"tracks/{name}": getattr(row, name) for name in ("xyz", "uv", "visible")}
        for side in ("left", "right"):
            if (hand := getattr(hands, side, None)) is not None:
                values = {name: getattr(hand, name) for name in _HAND}
                found |= {f"hands/{side}/{name}": value[i] for name, value in values.items() if value is not None}
        yield {name: np.asarray(value) for name, value in found.items()}
