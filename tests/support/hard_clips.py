"""Short films that show little or nothing of the scene, each with the truth, from pictures drawn here."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import planes

NOISE = 1.5  # of 255, as a sensor has it
HEIGHT, WIDTH = planes.HEIGHT, planes.WIDTH


@dataclass(frozen=True)
class Film:
    """Frames (T, H, W, 3) uint8 and what a perfect pipeline could say of them at most."""

    rgb: np.ndarray
    depth: np.ndarray  # (T, H, W) z; 0 where nobody can know it


def film(pictures: list[np.ndarray], depth: np.ndarray | None = None) -> Film:
    """Return pictures (H, W) or (H, W, 3) with a sensor's noise; without `depth` the truth has none."""
    noise = np.random.default_rng(3).normal(0, NOISE, (len(pictures), HEIGHT, WIDTH, 3))
    rgb = np.stack([p if p.ndim == 3 else np.repeat(p[..., None], 3, -1) for p in pictures])
    none = np.zeros((len(pictures), HEIGHT, WIDTH), np.float32)
    return Film(np.clip(rgb + noise, 0, 255).astype(np.uint8), none if depth is None else depth.astype(np.float32))


def walk(count: int, reach: float = 0.5) -> Film:
    """A camera that moves sideways before a wall and a board."""
    seen = [planes.look(pose) for pose in planes.handheld(count, reach)]
    return film([picture for _, _, picture in seen], np.stack([depth for depth, _, _ in seen]))


def bare_wall(count: int) -> Film:
    """A wall without texture, lit from one side; the camera may move as it likes."""
    return film([np.tile(np.linspace(110, 150, WIDTH), (HEIGHT, 1))] * count)


def still(count: int) -> Film:
    """A camera on a tripod."""
    return film([planes.look(np.eye(4))[2]] * count)


def turn_poses(count: int) -> np.ndarray:
    """cam_from_world (T, 4, 4) of a camera that turns 25 degrees on the spot."""
    along = np.linspace(0, 1, count)[:, None]
    return planes.poses(np.zeros((count, 3)), along * [0.06, 0.44, 0.02])


def turn(count: int) -> Film:
    """A camera that turns on the spot."""
    return film([planes.look(pose)[2] for pose in turn_poses(count)])


def cut(count: int) -> Film:
    """Return a walk, and from frame `count` on a walk through unseen pixels: mirrored, in negative."""
    first, second = walk(count), walk(count)
    other = 255 - second.rgb[:, ::-1, ::-1]
    return Film(np.concatenate([first.rgb, other]), np.concatenate([first.depth, second.depth[:, ::-1, ::-1]]))


def blurred(count: int, length: int = 45) -> Film:
    """A walk seen through a shutter so slow that each picture is smeared over `length` px, each its own way."""
    sharp, pictures = walk(count), []
    for t, picture in enumerate(sharp.rgb):
        kernel = np.zeros((length, length), np.float32)
        middle, angle = length // 2, 0.9 * t
        step = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(np.rint(middle + sign * step).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, *ends, 1.0)
        pictures.append(cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT))
    return film(pictures, sharp.depth)


def crowd(count: int, people: int = 40) -> Film:
    """A walk whose picture is nearly filled by boxes that each go their own way; where they are, no depth is true."""
    rng = np.random.default_rng(1)
    background = walk(count)
    size = rng.integers(22, 40, (people, 2))
    start = rng.uniform([-10, -10], [WIDTH - 15, HEIGHT - 15], (people, 2))
    speed = rng.normal(0, 2.5, (people, 2))
    looks = [cv2.GaussianBlur(rng.integers(0, 256, (*s[::-1], 3)).astype(np.float32), (0, 0), 1.2) for s in size]
    looks = [np.clip(128 + 2.5 * (look - look.mean()), 0, 255) for look in looks]
    pictures, depth = [], background.depth.copy()
    for t in range(count):
        picture = background.rgb[t].astype(np.float32)
        for look, at, way in zip(looks, start, speed):
            u, v = at + t * way + 1.5 * np.sin(0.7 * t + at)
            shift = np.array([[1, 0, u], [0, 1, v]], np.float32)
            cover = cv2.warpAffine(np.ones(look.shape[:2], np.float32), shift, (WIDTH, HEIGHT))[..., None]
            picture = (1 - cover) * picture + cv2.warpAffine(look, shift, (WIDTH, HEIGHT)) * (cover > 0)
            depth[t][cover[..., 0] > 0] = 0
        pictures.append(picture)
    return film(pictures, depth)
