"""How far points are from the surfaces of a made-up scene."""

from __future__ import annotations

import numpy as np

from geoflow.synth.scene import Body, Scene


def distance_to_scene(scene: Scene, points: np.ndarray) -> np.ndarray:
    """Return the distance (N,) of world points (N, 3) to the nearest surface of a body that rests."""
    return np.min([distance_to_body(body, points) for body in scene.bodies if body.drift is None], axis=0)


def distance_to_body(body: Body, points: np.ndarray, time_s: float = 0.0) -> np.ndarray:
    """Return the distance (N,) of world points (N, 3) to the surface of a body."""
    pose = body.world_from_body(time_s)
    own = (points - pose[:3, 3]) @ pose[:3, :3]
    if body.kind == "sphere":
        return np.abs(np.linalg.norm(own, axis=1) - body.half[0])
    past = np.abs(own) - body.half
    return np.abs(np.linalg.norm(np.maximum(past, 0), axis=1) + np.minimum(past.max(1), 0))
