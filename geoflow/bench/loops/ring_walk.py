"""A walk round a corridor that closes on itself: pictures, depth and cameras, exact, and the same on every machine."""

from __future__ import annotations

import functools

import numpy as np

from geoflow.geometry.cameras import pinhole
from geoflow.geometry.rigid import invert
from geoflow.synth.render import View, cast, shade
from geoflow.synth.scene import Body, Scene
from geoflow.synth.texture import Atlas, build_atlas

HEIGHT, WIDTH = 240, 320
LAP = 400  # frames of one round, 26 m
_TEXTURE = 120  # px of a picture whose detail the walls have: fine enough from 1.5 m
_OUTER, _INNER, _HIGH = 5.0, 2.4, 1.4  # m, half sides of the corridor's walls, and half its height
_SIDES = (0, 1, 4, 5)  # faces of a box that stand upright


class RingWalk:
    """A camera that walks round the corridor, looks ahead and sways a little; frame `LAP` is frame 0 again.

    `alike`: all sides of the corridor show the same picture.
    """

    def __init__(self, seed: int = 0, *, alike: bool = False) -> None:
        room = Body("box", np.zeros(3), np.array([_OUTER, _HIGH, _OUTER]), inside=True)
        pillar = Body("box", np.zeros(3), np.array([_INNER, _HIGH, _INNER]))
        self._scene = Scene((room, pillar), light=np.array([0.0, -60.0, 0.0]))
        self._atlas = build_atlas(self._scene, seed, _TEXTURE)
        if alike:
            self._atlas = _repeated(self._atlas)
        self.intrinsics = pinhole(0.8 * WIDTH, HEIGHT, WIDTH).astype(np.float64)

    def _view(self, frame: int) -> View:
        return View.at(self._scene, self.intrinsics, self.cam_from_world(frame), 0.0)

    def cam_from_world(self, frame: int) -> np.ndarray:
        """Return the camera (4, 4) of a frame, in metres."""
        angle = 2 * np.pi * (frame % LAP) / LAP
        way = np.array([np.sin(angle), 0, np.cos(angle)])
        middle = 0.5 * (_OUTER + _INNER) / np.max(np.abs(way)) ** 0.5  # rounds the corners
        ahead = np.array([np.cos(angle), 0, -np.sin(angle)])
        sway = 0.25 * np.sin(7 * angle)
        look = ahead + sway * way + np.array([0, 0.05 * np.sin(5 * angle), 0])
        z = look / np.linalg.norm(look)
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        world_from_cam = np.eye(4)
        world_from_cam[:3, :3] = np.stack((x, np.cross(z, x), z), 1)
        world_from_cam[:3, 3] = middle * way + np.array([0, 0.1 * np.sin(9 * angle), 0])
        found: np.ndarray = invert(world_from_cam)
        return found

    @functools.lru_cache(maxsize=2 * LAP)  # noqa: B019 - a walk lives as long as its bench
    def depth(self, frame: int) -> np.ndarray:
        """Return the depth (H, W) float32 m of a frame."""
        u, v = np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32)
        found = cast(self._view(frame), u, v)[0]
        found.flags.writeable = False  # it is kept
        return found

    def picture(self, frame: int) -> np.ndarray:
        """Return a frame (H, W, 3) uint8, with a sensor's noise of its own."""
        u, v = np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32)
        clean = shade(self._view(frame), self._atlas, u, v)
        noise = np.random.default_rng([5, frame]).standard_normal(clean.shape, np.float32)
        found: np.ndarray = np.clip(clean + 2 * noise + 0.5, 0, 255).astype(np.uint8)
        return found


def _repeated(atlas: Atlas) -> Atlas:
    """Return the atlas with one picture for all upright faces of each box."""
    origin = atlas.origin.copy().reshape(-1, len(atlas.origin) // len(atlas.texel_m), 2)
    for first in atlas.first_face:
        for side in _SIDES[1:]:
            origin[first + side] = origin[first + _SIDES[0]]
    return Atlas(atlas.image, origin.reshape(-1, 2), atlas.texel_m, atlas.first_face)
