"""Textures: every face of every body has its own patch of noise and sharp shapes, mip-mapped, in one atlas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geoflow.synth.scene import Scene

LEVELS = 5
_MARGIN = 2  # texels repeated around each patch: covers rounding and the texel that halving an odd side loses
_OCTAVES_M = (0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125)  # cell sizes of the noise
_AMPLITUDES = (16.0, 14.0, 13.0, 13.0, 13.0, 13.0, 12.0)  # of 255; nearly flat, so that every distance has detail
_ATLAS_WIDTH = 8192


@dataclass(frozen=True)
class Atlas:
    """All patches in one image; faces are numbered through all bodies."""

    image: np.ndarray  # (A, B, 3) uint8
    origin: (
        np.ndarray
    )  # (F * LEVELS, 2) float32: x, y of each patch's upper left corner, all mip levels of a face in turn
    texel_m: np.ndarray  # (F,) float32: size of a level-0 texel in metres
    first_face: np.ndarray  # (B,) int: number of each body's first face

    def sample(self, face: np.ndarray, xy_m: np.ndarray, footprint_m: np.ndarray) -> np.ndarray:
        """Trilinear look-up: face (N,), position on the face (N, 2) metres, sample footprint (N,) metres.

        Returns (N, 3) float32 in 0..255.
        """
        per_texel = np.take(1 / self.texel_m, face)
        level = np.clip(np.log2(footprint_m * per_texel), 0, np.float32(LEVELS - 1.001))
        fine_level = level.astype(np.int32)
        row = face * LEVELS + fine_level
        xy = xy_m * per_texel[:, None]
        fine = self._level(row, xy, fine_level)
        coarse = self._level(row + 1, xy, fine_level + 1)
        coarse -= fine
        coarse *= (level - fine_level)[:, None]
        return fine + coarse

    def _level(self, row: np.ndarray, xy: np.ndarray, level: np.ndarray) -> np.ndarray:
        # Texel centres sit at half-integers of the patch's grid; `origin` already carries that half texel.
        shrink = np.ldexp(np.float32(1), -level)
        where = np.take(self.origin, row, axis=0)
        where += xy * shrink[:, None]
        pad = -len(where) % 1024  # cv2.remap takes no side longer than 32767, so look up in rows of 1024
        if pad:
            where = np.concatenate([where, np.zeros((pad, 2), np.float32)])
        x, y = np.ascontiguousarray(where.T).reshape(2, -1, 1024)
        found = cv2.remap(self.image, x, y, cv2.INTER_LINEAR)
        return found.reshape(-1, 3)[: len(row)].astype(np.float32)


def build_atlas(scene: Scene, seed: int, width: int) -> Atlas:
    """Paint every face with texels that suit a `width`-pixel picture; the same seed gives the same atlas."""
    fine = float(np.clip(0.9 / width, 0.002, 0.03))
    faces: list[Face] = []
    first: list[int] = []
    for b, body in enumerate(scene.bodies):
        first.append(len(faces))
        texel = fine * (1.8 if body.inside else 1.0)  # walls are far away, small bodies are near
        faces += [(np.random.default_rng([seed, 4, b, f]), w, h, texel) for f, (w, h) in enumerate(body.face_sizes)]
    return paint_faces(faces, first)


Face = tuple[np.random.Generator, float, float, float]  # width, height and size of a texel in metres


def paint_faces(faces: Sequence[Face], first: Sequence[int]) -> Atlas:
    """Paint rectangles, each by its own random numbers; `first` is the number of each body's first face."""
    image, origin = _pack([level for face in faces for level in _pyramid(_paint(*face))])
    texels = [texel for *_, texel in faces]
    return Atlas(image, origin - np.float32(0.5), np.array(texels, np.float32), np.array(first))


def _paint(rng: np.random.Generator, width_m: float, height_m: float, texel: float) -> np.ndarray:
    """Return a patch (h, w, 3) uint8: coloured noise in octaves, and sharp half-transparent shapes over it."""
    w, h = max(4, round(width_m / texel)), max(4, round(height_m / texel))
    base = rng.uniform(80, 175, 3).astype(np.float32)
    patch = np.broadcast_to(base, (h, w, 3)).copy()
    grey = np.zeros((h, w), np.float32)
    for cell, amplitude in zip(_OCTAVES_M, _AMPLITUDES):
        if cell < 1.5 * texel:
            break
        grey += np.float32(amplitude) * _noise(rng, w, h, cell / texel, 1)
        if cell >= 0.1:  # eyes and matchers see fine detail in brightness
            patch += np.float32(0.5 * amplitude) * _noise(rng, w, h, cell / texel, 3)
    patch += grey[..., None]
    _draw_shapes(rng, patch, width_m * height_m, texel)
    return np.clip(patch, 4, 250).astype(np.uint8)


def _noise(rng: np.random.Generator, w: int, h: int, cell: float, channels: int) -> np.ndarray:
    """Smooth noise of unit strength with `cell` texels between its random values: (h, w[, channels]) float32."""
    columns, rows = int(w / cell) + 4, int(h / cell) + 4
    values = rng.standard_normal((rows, columns, channels), np.float32)
    shift = rng.uniform(1, 2, 2)
    warp = np.array([[1 / cell, 0, shift[0]], [0, 1 / cell, shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, warp, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _draw_shapes(rng: np.random.Generator, patch: np.ndarray, area_m2: float, texel: float) -> None:
    """Draw triangles to pentagons of log-uniform sizes, so that near and far surfaces both show some."""
    h, w = patch.shape[:2]
    count = max(6, round(40 * area_m2))
    size = 0.02 * 10 ** rng.uniform(0, 1.1, (count, 1, 1)) / texel
    angle = np.sort(rng.uniform(0, 2 * np.pi, (count, 5)))
    spokes = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * rng.uniform(0.5, 1, (count, 5, 1))
    shapes = np.round(rng.uniform(0, [w, h], (count, 1, 2)) + size * spokes).astype(np.int32)
    corners = rng.integers(3, 6, count)
    colours = rng.uniform(10, 245, (count, 3)).astype(np.float32)
    lows = np.clip(shapes.min(1), 0, [w - 1, h - 1])
    highs = np.clip(shapes.max(1) + 1, 1, [w, h])
    shapes -= lows[:, None]
    colours *= np.float32(0.7)
    # Most shapes are a few texels large, and there are thousands: integers and one masked copy halve the time.
    for shape, n, colour, (x, y), (right, bottom) in zip(
        shapes, corners.tolist(), colours, lows.tolist(), highs.tolist()
    ):
        cover = np.zeros((bottom - y, right - x), np.uint8)
        cv2.fillPoly(cover, [shape[:n]], (1,))
        window = patch[y:bottom, x:right]
        np.copyto(window, np.float32(0.3) * window + colour, where=cover.view(bool)[..., None])


def _pyramid(patch: np.ndarray) -> list[np.ndarray]:
    levels = [patch]
    for _ in range(LEVELS - 1):
        h, w = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA))
    return levels


def _pack(patches: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Shelf packing, tallest first: the atlas image and (N, 2) float32 origins in the order given."""
    origin = np.zeros((len(patches), 2), np.float32)
    x = y = shelf = 0
    width = max(_ATLAS_WIDTH, max(p.shape[1] for p in patches) + 2 * _MARGIN)
    for k in sorted(range(len(patches)), key=lambda k: -patches[k].shape[0]):
        h, w = (side + 2 * _MARGIN for side in patches[k].shape[:2])
        if x + w > width:
            x, y, shelf = 0, y + shelf, 0
        origin[k] = x + _MARGIN, y + _MARGIN
        x, shelf = x + w, max(shelf, h)
    image = np.zeros((y + shelf, width, 3), np.uint8)
    for (left, top), patch in zip(origin.astype(int), patches):
        padded = cv2.copyMakeBorder(patch, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_REPLICATE)
        h, w = padded.shape[:2]
        image[top - _MARGIN : top - _MARGIN + h, left - _MARGIN : left - _MARGIN + w] = padded
    return image, origin
