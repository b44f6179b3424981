"""Rendered clips for masks: each pixel's body is known, and one body may pass behind a pillar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.synth.scene import Body, Drift, Scene, build_scene
from geoflow.synth.shots import shoot

WIDTH, HEIGHT, FPS = 320, 240, 30.0
_LEAST, _MOST = 0.006, 0.15  # share of the first frame that an object to be followed covers
_OBJECTS = 4  # followed per clip
_PILLAR_Z = -0.75  # before the corridor in which bodies move
_PILLAR = 0.15  # half of its width in metres: the sphere, which crosses at 0.6 m/s, is hidden for about 10 frames


@dataclass(frozen=True)
class MaskClip:
    """Frames with their exact depth and labels, and the bodies to be followed from the first frame."""

    name: str
    rgb: np.ndarray  # (T, H, W, 3) uint8
    depth: np.ndarray  # (T, H, W) float32 m
    label: np.ndarray  # (T, H, W) uint8
    objects: tuple[int, ...]


def made_clip(kind: str, seed: int, num_frames: int) -> MaskClip:
    """Film the room of a seed: `handheld` or `orbit` with two bodies that move, or `hidden` behind a pillar."""
    scene = _with_pillar(seed) if kind == "hidden" else build_scene(seed, 2)
    motion = "still" if kind == "hidden" else kind
    shots = list(shoot(scene, num_frames, WIDTH, HEIGHT, FPS, seed, motion))
    label = np.stack([shot.owner for shot in shots])
    objects = (len(scene.bodies) - 1,) if kind == "hidden" else _clear_objects(label[0])
    rgb, depth = np.stack([shot.rgb for shot in shots]), np.stack([shot.depth for shot in shots])
    return MaskClip(f"{kind}_{seed}", rgb, depth, label, objects)


def _clear_objects(label: np.ndarray) -> tuple[int, ...]:
    """Return the largest bodies that lie whole in the picture, and neither fill it nor are tiny."""
    share = np.bincount(label.ravel(), minlength=256) / label.size
    border = {*label[0], *label[-1], *label[:, 0], *label[:, -1], 0}
    fit = [n for n in np.flatnonzero((share >= _LEAST) & (share <= _MOST)).tolist() if n not in border]
    return tuple(sorted(sorted(fit, key=lambda n: -share[n])[:_OBJECTS]))


def _with_pillar(seed: int) -> Scene:
    """Return the room with a pillar, behind which a sphere passes steadily from the left to the right."""
    scene = build_scene(seed, 0)
    rng = np.random.default_rng([seed, 7])
    reach, period_s = 0.5, 5.2
    drift = Drift(np.array([reach, 0.02, 0.05]), np.array([1 / period_s, 0.3, 0.2]), np.array([-0.9, 0.0, 1.0]), 0.5)
    height = rng.uniform(-0.1, 0.25)
    sphere = Body("sphere", np.array([rng.uniform(-0.05, 0.05), height, -0.2]), np.full(3, 0.12), drift=drift)
    pillar = Body("box", np.array([0.05, 0.05, _PILLAR_Z]), np.array([_PILLAR, 1.3, 0.05]), yaw=rng.uniform(-0.2, 0.2))
    return Scene((*scene.bodies, pillar, sphere), scene.light)


def noisy(depth: np.ndarray, seed: int, share: float) -> np.ndarray:
    """Return depth with smooth noise, new in every frame, of `share` of each depth (rms); edges stay sharp."""
    import cv2

    rng = np.random.default_rng([seed, 8])
    height, width = depth.shape[1:]
    out = np.empty_like(depth, np.float16)
    for t, row in enumerate(depth):
        coarse = rng.standard_normal((height // 16 + 1, width // 16 + 1)).astype(np.float32)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        out[t] = row * (1 + share * smooth / smooth.std())
    return out
