"""Depth that has to be made first: moved into the colour camera, matched in a stereo pair, read from OpenEXR."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np


def register(
    depth_mm: np.ndarray,
    k_depth: np.ndarray,
    k_colour: np.ndarray,
    colour_from_depth: np.ndarray,
    size: tuple[int, int],
    grow: int = 0,
) -> np.ndarray:
    """Depth (H, W) as the colour camera of `size` (width, height) sees it: mm, 0 where no measurement falls.

    Every measurement fills a square of 2 * grow + 1 pixels; the nearest surface wins. The transform is in metres.
    """
    width, height = size
    v, u = np.nonzero(depth_mm > 0)
    z = depth_mm[v, u] / 1000.0
    points = (np.stack([u, v, np.ones(len(u))], 1) * z[:, None]) @ np.linalg.inv(k_depth).T
    points = points @ colour_from_depth[:3, :3].T + colour_from_depth[:3, 3]
    points = points[np.argsort(-points[:, 2])]  # the nearest is written last and stays
    x, y = np.rint((points @ k_colour.T)[:, :2] / points[:, 2:]).astype(int).T
    nearest = np.full((height, width), np.inf)
    for dy in range(-grow, grow + 1):
        for dx in range(-grow, grow + 1):
            inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
            layer = np.full((height, width), np.inf)
            layer[y[inside] + dy, x[inside] + dx] = points[inside, 2]
            nearest = np.minimum(nearest, layer)
    return np.where(np.isfinite(nearest), 1000 * nearest, 0)


def from_stereo(
    left: np.ndarray, right: np.ndarray, focal_px: float, baseline_m: float, most_px: int = 128
) -> np.ndarray:
    """Depth (H, W) mm of a rectified pair by semi-global matching; 0 where left-to-right and right-to-left disagree."""
    left, right = (x if x.ndim == 2 else cv2.cvtColor(x, cv2.COLOR_BGR2GRAY) for x in (left, right))

    def disparity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        matcher = cv2.StereoSGBM_create(
            minDisparity=0, numDisparities=most_px, blockSize=5, P1=8 * 25, P2=32 * 25, disp12MaxDiff=1,
            preFilterCap=63, uniquenessRatio=5, speckleWindowSize=100, speckleRange=2,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )  # fmt: skip
        wide = (cv2.copyMakeBorder(x, 0, 0, most_px, 0, cv2.BORDER_CONSTANT) for x in (a, b))
        return matcher.compute(*wide)[:, most_px:] / 16.0

    found = disparity(left, right)
    back = disparity(right[:, ::-1].copy(), left[:, ::-1].copy())[:, ::-1]
    v, u = np.mgrid[: found.shape[0], : found.shape[1]]
    other = back[v, np.clip(np.rint(u - found).astype(int), 0, found.shape[1] - 1)]
    sure = (found > 1.5) & (np.abs(other - found) < 1) & (u >= found)
    return np.where(sure, 1000 * focal_px * baseline_m / np.where(sure, found, 1), 0)


def enlarge(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """To a larger `size` (width, height): bilinear where the surface goes on, nearest neighbours beside jumps."""
    nearest = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT)
    smooth = cv2.resize(depth, size, interpolation=cv2.INTER_LINEAR)
    kernel = np.ones((3, 3))
    jump = (cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) > 0.05 * depth).astype(np.uint8)
    return np.where(cv2.resize(jump, size, interpolation=cv2.INTER_NEAREST_EXACT) > 0, nearest, smooth)


def read_half_exr(data: bytes) -> np.ndarray:
    """The one half-float channel, named R, of a zip-compressed OpenEXR file of scan lines: what Record3D writes."""
    at, header = 8, dict[str, bytes]()
    while data[at]:
        name, kind, _ = data[at:].split(b"\0", 2)
        at += len(name) + len(kind) + 2
        (length,) = struct.unpack_from("<i", data, at)
        header[name.decode()] = data[at + 4 : at + 4 + length]
        at += 4 + length
    if header["compression"] != b"\3" or len(header["channels"]) != 19 or header["channels"][:6] != b"R\0\1\0\0\0":
        raise ValueError("expected one half-float channel R, zip-compressed in blocks of 16 lines")
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"])
    height, width = bottom - top + 1, right - left + 1
    image = np.zeros((height, width), np.float16)
    for start in struct.unpack_from(f"<{-(-height // 16)}Q", data, at + 1):
        line, length = struct.unpack_from("<2i", data, start)
        first, raw = line - top, data[start + 8 : start + 8 + length]
        rows = min(16, height - first)
        if length < 2 * rows * width:  # else the block is not compressed
            difference = np.frombuffer(zlib.decompress(raw), np.uint8).astype(np.int64)
            difference[1:] -= 128
            halves = (np.cumsum(difference) & 255).astype(np.uint8)  # all even bytes, then all odd ones
            half = (len(halves) + 1) // 2
            mixed = np.empty_like(halves)
            mixed[0::2], mixed[1::2] = halves[:half], halves[half:]
            raw = mixed.tobytes()
        image[first : first + rows] = np.frombuffer(raw, "<f2", rows * width).reshape(rows, width)
    return image.astype(np.float64)
