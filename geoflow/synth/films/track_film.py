"""Films as tracks: points followed through a scene of panels until something covers them, with their truth."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.cameras import pinhole
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.rigid import apply, invert
from geoflow.synth.films.film_recipes import RECIPES, FilmSetup, draw
from geoflow.synth.films.flights import fly
from geoflow.synth.films.panels import Frame, Panels, build_panels

_COVERED = 1e-6  # relative: a hit this much before a point covers it
_LOSS = 0.01  # share of points lost per frame without a reason


@dataclass(frozen=True)
class FilmLens:
    """A lens with one coefficient of distortion, and the size of its pictures."""

    intrinsics: np.ndarray  # (3, 3)
    radial: float
    height: int
    width: int

    def project(self, in_camera: np.ndarray) -> np.ndarray:
        """Return pixels (N, 2) of points (N, 3); NaN where they are behind the camera or outside of the picture."""
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = in_camera[:, :2] / in_camera[:, 2:]
            xy = xy * (1 + self.radial * (xy**2).sum(1, keepdims=True))
        uv = xy * np.diag(self.intrinsics)[:2] + self.intrinsics[:2, 2]
        inside = (in_camera[:, 2] > 0) & (uv >= 0).all(1) & (uv <= [self.width - 1, self.height - 1]).all(1)
        return np.where(inside[:, None], uv, np.nan)

    def rays(self, uv: np.ndarray) -> np.ndarray:
        """Return rays (N, 3) with z = 1 through pixels (N, 2)."""
        seen = (uv - self.intrinsics[:2, 2]) / np.diag(self.intrinsics)[:2]
        xy = seen
        for _ in range(20):
            xy = seen / (1 + self.radial * (xy**2).sum(1, keepdims=True))
        return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)


@dataclass(frozen=True)
class FilmTruth:
    """The true cameras and points; the unit is the distance from the first camera to the scene's middle."""

    cam_from_world: np.ndarray  # (T, 4, 4)
    intrinsics: np.ndarray  # (3, 3) px
    radial: float  # k1, as in geoflow.geometry.motion.structure.Structure
    xyz: np.ndarray  # (M, 3)
    depth: np.ndarray  # (T, M): camera depth of every point, seen or not
    sound: np.ndarray  # (T, M) bool: observed where the point is, up to noise and drift


@dataclass(frozen=True)
class TrackFilm:
    """A film's tracks, the scene that they lie on, and the truth."""

    recipe: str
    seed: int
    setup: FilmSetup
    panels: Panels
    lens: FilmLens
    chains: Chains
    truth: FilmTruth

    def blank_frames(self) -> list[np.ndarray]:
        """Return T images (H, W) uint8 without any feature."""
        return [np.full((self.chains.height, self.chains.width), 128, np.uint8) for _ in self.chains.uv]


def film(recipe: str, seed: int, *, height: int = 240, width: int = 320) -> TrackFilm:
    """Return the film of a recipe and a seed; the same arguments give the same film, bit for bit.

    >>> film("arc", 0).chains.uv.shape[2]
    2
    """
    rng = np.random.default_rng([zlib.crc32(recipe.encode()), seed])
    setup = draw(RECIPES[recipe], rng)
    focal = width / 2 / np.tan(np.radians(setup.field_of_view_deg) / 2)
    panels = build_panels(setup.scene, Frame(width / 2 / focal, height / 2 / focal, setup.relief), rng)
    poses = fly(setup.flight, setup.frames, setup.travel, setup.shake_deg, rng)
    lens = FilmLens(pinhole(focal, height, width).astype(np.float64), setup.radial, height, width)
    keyframes = sorted({*range(0, setup.frames, setup.keyframe_every), setup.frames - 1})
    xyz, uv, sound = _follow(panels, poses, lens, setup, keyframes, rng)
    depth = np.stack([apply(pose, xyz)[:, 2] for pose in poses])
    truth = FilmTruth(poses, lens.intrinsics, setup.radial, xyz, depth, sound)
    return TrackFilm(recipe, seed, setup, panels, lens, Chains(uv, keyframes, height, width), truth)


def _follow(
    panels: Panels, poses: np.ndarray, lens: FilmLens, setup: FilmSetup, keyframes: list[int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (M, 3), their noisy pixels (T, M, 2) float32 and which of them are sound (T, M) bool.

    A covered point is lost, or sticks to what covers it from then on.
    """
    born, followed = np.zeros((0, 3)), np.zeros((0, 3))  # where a point was first seen; where the track now is
    alive = np.zeros(0, bool)
    rows: list[np.ndarray] = []
    exact: list[np.ndarray] = []
    for t, pose in enumerate(poses):
        center = invert(pose)[:3, 3]
        uv = lens.project(apply(pose, followed))
        alive &= np.isfinite(uv[:, 0]) & (rng.random(len(alive)) > _LOSS)
        reach, _ = panels.cast(center, followed - center)
        covered = alive & (reach < 1 - _COVERED)
        sticks = covered & (rng.random(len(alive)) < setup.sticking)
        followed[sticks] = center + reach[sticks, None] * (followed[sticks] - center)
        alive &= ~covered | sticks
        if t in keyframes:
            fresh = _new_points(panels, pose, lens, uv[alive], setup.points, rng)
            born, followed = np.concatenate([born, fresh]), np.concatenate([followed, fresh])
            alive = np.concatenate([alive, np.ones(len(fresh), bool)])
            uv = np.concatenate([uv, lens.project(apply(pose, fresh))])
        rows.append(np.where(alive[:, None], uv, np.nan))
        exact.append((followed == born).all(1))
    shape = (len(poses), len(born))
    uv, sound = np.full((*shape, 2), np.nan), np.zeros(shape, bool)
    for t, (row, right) in enumerate(zip(rows, exact)):
        uv[t, : len(row)], sound[t, : len(row)] = row, right
    wrong = rng.random(len(born)) < setup.wrong
    return born, _disturbed(uv, wrong, setup, rng).astype(np.float32), sound & ~wrong & np.isfinite(uv[..., 0])


def _new_points(
    panels: Panels, pose: np.ndarray, lens: FilmLens, taken: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Return points (N, 3) on what is seen, one in every cell of the picture that holds no point yet."""
    cell = np.sqrt(lens.width * lens.height / count)
    columns, rows = int(np.ceil(lens.width / cell)), int(np.ceil(lens.height / cell))
    free = np.ones((rows, columns), bool)
    u, v = (taken / cell).astype(int).T
    free[np.clip(v, 0, rows - 1), np.clip(u, 0, columns - 1)] = False
    v, u = np.nonzero(free)
    uv = (np.stack([u, v], axis=1) + rng.random((len(u), 2))) * cell
    uv = uv[(uv <= [lens.width - 1, lens.height - 1]).all(1)]
    world_from_cam = invert(pose)
    center, rays = world_from_cam[:3, 3], lens.rays(uv) @ world_from_cam[:3, :3].T
    reach, panel = panels.cast(center, rays)
    return center + reach[panel >= 0, None] * rays[panel >= 0]


def _disturbed(uv: np.ndarray, wrong: np.ndarray, setup: FilmSetup, rng: np.random.Generator) -> np.ndarray:
    """Add noise per picture, a slow drift per point, and a fast one to points that are `wrong`."""
    step = np.where(wrong, 1.5, setup.drift_px)[:, None]
    seen = np.isfinite(uv[..., :1])
    drift = np.cumsum(np.where(seen, step * rng.standard_normal(uv.shape), 0), axis=0)
    return uv + drift + setup.noise_px * rng.standard_normal(uv.shape)
