"""Made-up clips of different character: rendered with exact truth, then spoilt as bad footage is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geoflow.synth.groundtruth import GroundTruthWriter
from geoflow.synth.scene import build_scene
from geoflow.synth.shots import shoot
from geoflow.video.source import FOLDER_FPS

Spoil = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # picture (H, W, 3) uint8, its number -> another


def as_it_is(rgb: np.ndarray, i: int, rng: np.random.Generator) -> np.ndarray:
    """Return the picture itself."""
    return rgb


def blurred(sigma_px: float) -> Spoil:
    """Out of focus."""
    return lambda rgb, i, rng: cv2.GaussianBlur(rgb, (0, 0), sigma_px)


def smeared(length_px: int) -> Spoil:
    """Exposed for long while the camera pans: smeared along the rows."""
    return lambda rgb, i, rng: cv2.blur(rgb, (length_px, 1))


def noisy(sigma: float) -> Spoil:
    """With a sensor's noise, as its standard deviation of 255."""
    return lambda rgb, i, rng: _clipped(rgb + sigma * rng.standard_normal(rgb.shape))


def dark(gain: float) -> Spoil:
    """In little light: `gain` of the signal, rounded to whole numbers, with noise of its own."""
    return lambda rgb, i, rng: _clipped(gain * rgb + 2.0 * rng.standard_normal(rgb.shape))


def faint(contrast: float) -> Spoil:
    """As in fog: a share of the contrast is left."""
    return lambda rgb, i, rng: _clipped(128 + contrast * (rgb - 128.0))


def overexposed(gain: float) -> Spoil:
    """With blown highlights."""
    return lambda rgb, i, rng: _clipped(gain * rgb.astype(np.float32))


def flickering(share: float) -> Spoil:
    """Under a lamp that flickers: the gain changes by up to `share` from frame to frame."""
    return lambda rgb, i, rng: _clipped(rgb * rng.uniform(1 - share, 1 + share))


def compressed(quality: int) -> Spoil:
    """Compressed so much that blocks are seen."""

    def spoil(rgb: np.ndarray, i: int, rng: np.random.Generator) -> np.ndarray:
        _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    return spoil


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class MadeClip:
    """The recipe of one clip. `barrel` is the distortion k1 of a lens that the pipeline is not told of."""

    name: str
    seed: int
    spoil: Spoil = as_it_is
    motion: str = "handheld"
    fps: float = 12.0  # of the camera's path: less is a faster camera
    moving: int = 1
    barrel: float = 0.0


def _of(name: str, seeds: range, spoil: Spoil = as_it_is, **more: float | str) -> list[MadeClip]:
    return [MadeClip(f"{name}_{seed}", seed, spoil, **more) for seed in seeds]  # type: ignore[arg-type]


MADE = (
    *_of("plain", range(4)),
    *_of("orbit", range(4, 6), motion="orbit", fps=10),
    *_of("bodies", range(6, 8), moving=5),
    *_of("soft", range(8, 10), blurred(1.2)),
    *_of("defocused", range(10, 12), blurred(2.5)),
    *_of("smeared", range(12, 14), smeared(11)),
    *_of("grainy", range(14, 16), noisy(12)),
    *_of("noisy", range(16, 18), noisy(35)),
    *_of("dim", range(18, 20), dark(0.15)),
    *_of("dark", range(20, 22), dark(0.06)),
    *_of("faint", range(22, 24), faint(0.15)),
    *_of("blown", range(24, 26), overexposed(3.0)),
    *_of("fast", range(26, 28), fps=4),
    *_of("rushed", range(28, 29), fps=2),
    *_of("slow", range(29, 31), fps=60),
    *_of("turning", range(31, 33), motion="rotate"),
    *_of("still", range(33, 34), motion="still"),
    *_of("barrel", range(34, 37), barrel=-0.2),
    *_of("blocks", range(37, 39), compressed(8)),
    *_of("lamp", range(39, 41), flickering(0.4)),
)


def make(recipe: MadeClip, folder: Path, *, frames: int, width: int, height: int) -> tuple[Path, Path]:
    """Write a clip's frames as PNG files below `folder`, and its truth beside them; return both paths."""
    source, truth = folder / recipe.name, folder / f"{recipe.name}.gt.h5"
    source.mkdir(parents=True, exist_ok=True)
    scene, rng = build_scene(recipe.seed, recipe.moving), np.random.default_rng([recipe.seed, 9])
    lens = _Barrel(recipe.barrel, width, height)
    shots = shoot(scene, frames, width, height, recipe.fps, recipe.seed, recipe.motion)
    motion = {"rotate": "rotating", "still": "still"}.get(recipe.motion, "moving")
    with GroundTruthWriter(
        truth, num_frames=frames, height=height, width=width, fps=FOLDER_FPS, motion=motion
    ) as writer:
        for i, shot in enumerate(shots):
            picture = recipe.spoil(lens.picture(shot.rgb), i, rng)
            cv2.imwrite(str(source / f"{i:05d}.png"), picture[..., ::-1])
            moving = scene.moving[shot.owner]
            k = None if recipe.barrel else shot.view.intrinsics  # no pinhole matrix is true of it
            writer.frame(i, k, shot.view.cam_from_world, lens.nearest(shot.depth), lens.nearest(moving))
    return source, truth


class _Barrel:
    """A lens with distortion: its picture is taken from the middle of the pinhole's, so that it has no bare edge."""

    def __init__(self, k1: float, width: int, height: int) -> None:
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        if not k1:
            return
        u, v = np.meshgrid(np.arange(width), np.arange(height))
        x, y = (u - (width - 1) / 2) / width, (v - (height - 1) / 2) / width
        factor = 1 / (1 + k1 * 4 * (x * x + y * y))
        factor /= factor[0, 0]  # the corner stays a corner
        at_u, at_v = x * factor * width + (width - 1) / 2, y * factor * width + (height - 1) / 2
        self._maps = at_u.astype(np.float32), at_v.astype(np.float32)

    def picture(self, rgb: np.ndarray) -> np.ndarray:
        return rgb if self._maps is None else cv2.remap(rgb, *self._maps, cv2.INTER_LINEAR)

    def nearest(self, values: np.ndarray) -> np.ndarray:
        if self._maps is None:
            return values
        kept = values.astype(np.uint8) if values.dtype == bool else values
        return cv2.remap(kept, *self._maps, cv2.INTER_NEAREST).astype(values.dtype)
