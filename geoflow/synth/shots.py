"""Shots of the scene: a picture with its exact depth, and points on surfaces with their true tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.cameras import pinhole, project
from geoflow.geometry.rigid import apply, invert
from geoflow.synth.camera_path import cam_from_world_at
from geoflow.synth.groundtruth import TrueTracks
from geoflow.synth.render import View, cast, depth_along, shade
from geoflow.synth.scene import Scene
from geoflow.synth.texture import build_atlas

FOCAL_SHARE = 0.9  # focal length over image width: about 58 degrees, a phone's main camera
_SENSOR_NOISE = 1.5  # standard deviation, of 255
_SAME_DEPTH = 1e-3  # a point is seen if the first hit is at its own depth, up to float32 rounding


@dataclass(frozen=True)
class Shot:
    """One frame and the view from which it was taken."""

    view: View
    rgb: np.ndarray  # (H, W, 3) uint8
    depth: np.ndarray  # (H, W) float32 m
    owner: np.ndarray  # (H, W) uint8: the body that each pixel shows


def shoot(scene: Scene, num_frames: int, width: int, height: int, fps: float, seed: int, motion: str) -> Iterator[Shot]:
    """Film the scene, one frame after the other."""
    atlas = build_atlas(scene, seed, width)
    intrinsics = pinhole(FOCAL_SHARE * width, height, width).astype(np.float64)
    # The picture has four samples per pixel, but depth only its centre: an average over a silhouette is not a surface.
    u, v = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    fine_u = (np.arange(2 * width, dtype=np.float32) - 0.5) / 2
    fine_v = (np.arange(2 * height, dtype=np.float32) - 0.5) / 2
    for i in range(num_frames):
        time_s = i / fps
        view = View.at(scene, intrinsics, cam_from_world_at(time_s, motion, seed), time_s)
        fine = shade(view, atlas, fine_u, fine_v)
        picture = 0.25 * (fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2])
        noise = np.random.default_rng([seed, 5, i]).standard_normal(picture.shape, np.float32)
        rgb = np.clip(picture + _SENSOR_NOISE * noise + 0.5, 0, 255).astype(np.uint8)
        depth, owner = cast(view, u, v)
        yield Shot(view, rgb, depth, owner)


class SurfacePoints:
    """Points on visible surfaces, which move with the bodies that they lie on."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._xyz: list[np.ndarray] = []  # (M, 3) in the frame of each point's body
        self._owner: list[np.ndarray] = []  # (M,)

    def add(self, shot: Shot, u: np.ndarray, v: np.ndarray) -> None:
        """Add what the pixels of columns u (M,) and rows v (M,), whole numbers, show."""
        k, z = shot.view.intrinsics, shot.depth[v, u].astype(np.float64)
        in_camera = np.stack([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z], axis=1)
        world = apply(invert(shot.view.cam_from_world), in_camera)
        owner = shot.owner[v, u].astype(int)
        body_from_world = invert(shot.view.world_from_body[owner])
        self._xyz.append(np.einsum("nij,nj->ni", body_from_world[:, :3, :3], world) + body_from_world[:, :3, 3])
        self._owner.append(owner)

    def follow(self, views: list[View], height: int, width: int) -> TrueTracks:
        """Return world positions, pixels and visibility (by casting a ray at each point) in every frame."""
        xyz_body, owner = np.concatenate(self._xyz), np.concatenate(self._owner)
        shape = (len(views), len(owner))
        xyz, uv = np.empty((*shape, 3), np.float32), np.empty((*shape, 2), np.float32)
        visible = np.zeros(shape, bool)
        for i, view in enumerate(views):
            pose = view.world_from_body[owner]
            world = np.einsum("nij,nj->ni", pose[:, :3, :3], xyz_body) + pose[:, :3, 3]
            in_camera = apply(view.cam_from_world, world)
            pixel = project(in_camera, view.intrinsics)
            with np.errstate(invalid="ignore"):
                inside = np.all((pixel >= 0) & (pixel <= [width - 1, height - 1]), axis=1)
            hit = depth_along(view, pixel[inside])
            visible[i, inside] = np.abs(hit / in_camera[inside, 2] - 1) < _SAME_DEPTH
            xyz[i], uv[i] = world, pixel
        return TrueTracks(xyz, uv, visible, ~self._scene.moving[owner])
