"""Films as pictures: the scene of a track film drawn with texture, and its points followed by the tracker itself."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from geoflow.geometry.cameras import pixel_grid
from geoflow.geometry.motion.camera_motion import Chains, chain_points
from geoflow.geometry.rigid import apply, invert
from geoflow.synth.films.track_film import FilmTruth, TrackFilm, film
from geoflow.synth.texture import Atlas, paint_faces

_PIXEL_M = 0.009  # textures are made for metres: a pixel covers this much at the middle of the scene, as in a room
_TEXEL_M = 0.003
_SENSOR_NOISE = 1.5  # standard deviation, of 255
_SOUND_PX = 2.0  # a track this close to its true place is of its point
_UNCOVERED = 1e-3  # relative


@dataclass(frozen=True)
class DrawnFilm:
    """Pictures and depth of a film; its tracks and their truth are what the tracker made of the pictures."""

    film: TrackFilm
    grays: list[np.ndarray]  # T of (H, W) uint8
    depth: np.ndarray  # (T, H, W) float32, in units of the distance to the scene's middle; inf where nothing is hit


def drawn_film(recipe: str, seed: int) -> DrawnFilm:
    """Draw the film of a recipe and a seed, about a second per picture of 320x240, and follow its points."""
    made = film(recipe, seed)
    rng = np.random.default_rng([zlib.crc32(recipe.encode()), seed, 1])
    scale = _PIXEL_M * made.lens.intrinsics[0, 0]
    sizes = np.stack([np.linalg.norm(axis, axis=1) for axis in (made.panels.right, made.panels.down)], axis=1) * scale
    seeds = rng.integers(2**32, size=len(sizes))
    atlas = paint_faces([(np.random.default_rng(s), w, h, _TEXEL_M) for s, (w, h) in zip(seeds, sizes)], [0])
    grays, depths = [], []
    for pose in made.truth.cam_from_world:
        gray, depth = _drawn(made, atlas, sizes, pose)
        noisy = gray + _SENSOR_NOISE * rng.standard_normal(gray.shape)
        grays.append(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))
        depths.append(depth.astype(np.float32))
    chains = chain_points(grays)
    return DrawnFilm(replace(made, chains=chains, truth=_truth(made, chains)), grays, np.stack(depths))


def _drawn(made: TrackFilm, atlas: Atlas, sizes: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture (H, W), four samples per pixel, and the depth (H, W) of pixel centres."""
    height, width = made.lens.height, made.lens.width
    fine = (pixel_grid(2 * height, 2 * width).reshape(-1, 2) - 0.5) / 2
    picture = _sampled(made, atlas, sizes, pose, fine).reshape(height, 2, width, 2).mean((1, 3))
    center, rays = _rays(made, pose, pixel_grid(height, width).reshape(-1, 2))
    return picture, made.panels.cast(center, rays)[0].reshape(height, width)


def _rays(made: TrackFilm, pose: np.ndarray, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the camera's centre (3,) and rays (N, 3) in the world, as long as depth, through pixels (N, 2)."""
    world_from_cam = invert(pose)
    return world_from_cam[:3, 3], made.lens.rays(uv.astype(np.float64)) @ world_from_cam[:3, :3].T


def _sampled(made: TrackFilm, atlas: Atlas, sizes: np.ndarray, pose: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Return the brightness (N,) at pixels (N, 2); black where nothing is hit."""
    center, rays = _rays(made, pose, uv)
    depth, panel = made.panels.cast(center, rays)
    gray = np.zeros(len(uv), np.float32)
    for k in np.unique(panel[panel >= 0]):
        (here,) = np.nonzero(panel == k)
        place = made.panels.place(k, center + depth[here, None] * rays[here]) * sizes[k]
        footprint = (_PIXEL_M / 2 * depth[here]).astype(np.float32)
        gray[here] = atlas.sample(np.full(len(here), k), place.astype(np.float32), footprint).mean(1)
    return gray


def _truth(made: TrackFilm, chains: Chains) -> FilmTruth:
    """Place each followed point where its first pixel hits the scene, and see for how long the track stays with it."""
    seen = np.isfinite(chains.uv[..., 0])
    first = seen.argmax(0)
    poses, xyz = made.truth.cam_from_world, np.full((chains.uv.shape[1], 3), np.nan)
    for t in np.unique(first):
        who = np.flatnonzero(first == t)
        center, rays = _rays(made, poses[t], chains.uv[t, who])
        reach, panel = made.panels.cast(center, rays)
        xyz[who[panel >= 0]] = center + reach[panel >= 0, None] * rays[panel >= 0]
    sound = np.zeros(seen.shape, bool)
    for t, pose in enumerate(poses):
        center = invert(pose)[:3, 3]
        reach, _ = made.panels.cast(center, xyz - center)
        off = np.linalg.norm(made.lens.project(apply(pose, xyz)) - chains.uv[t], axis=1)
        sound[t] = seen[t] & (reach > 1 - _UNCOVERED) & (off < _SOUND_PX)
    depth = np.stack([apply(pose, xyz)[:, 2] for pose in poses])
    return replace(made.truth, xyz=xyz, depth=depth, sound=sound)
