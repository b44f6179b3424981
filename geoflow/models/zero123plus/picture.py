"""The picture that Zero123++ is given: the object cut out, on white, and at the sizes of the networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from geoflow.errors import InputError
from geoflow.models.zero123plus.config import ExtractorConfig

MARGIN = 0.85  # share of the picture's side that the object takes


def square_foreground(rgba: np.ndarray, share: float = MARGIN) -> np.ndarray:
    """Return a square picture (S, S, 4) uint8 with what is not transparent in its middle, `share` of its side large.

    As in the original program, the last row and column of the object are lost. Raises InputError if nothing would be
    left of it.
    """
    _check(rgba, channels=(4,))
    rows, columns = np.nonzero(rgba[..., 3].any(1))[0], np.nonzero(rgba[..., 3].any(0))[0]
    if len(rows) < 2 or len(columns) < 2:
        raise InputError("the picture holds no object: every pixel is transparent, or all but one row or column")
    part = rgba[rows[0] : rows[-1], columns[0] : columns[-1]]
    side = max(part.shape[:2])
    whole = int(side / share)
    found = np.zeros((whole, whole, 4), np.uint8)
    top, left = ((side - length) // 2 + (whole - side) // 2 for length in part.shape[:2])
    found[top : top + part.shape[0], left : left + part.shape[1]] = part
    return found


def on_white(picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) uint8: an RGBA one (H, W, 4) is laid on white, an RGB one stays as it is.

    Raises InputError for any other kind of picture.
    """
    _check(picture, channels=(3, 4))
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.int32)
    return ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def extract(picture: np.ndarray, config: ExtractorConfig) -> Tensor:
    """Return a picture (H, W, 3) uint8 as a network's input (1, 3, S, S) float32: resized, its middle, normalised.

    Sizes are rounded down, and pixels are rounded after each of the two directions, as Pillow does it. What is beyond
    the middle square is lost.
    """
    from PIL import Image

    size = [int(config.shortest * side / min(picture.shape[:2])) for side in picture.shape[1::-1]]
    resized = np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BICUBIC))
    top, left = ((side - config.crop) // 2 for side in resized.shape[:2])
    middle = resized[top : top + config.crop, left : left + config.crop].astype(np.float32) * np.float32(1 / 255)
    mean, std = (np.array(row, np.float32) for row in (config.image_mean, config.image_std))
    normed = (middle - mean) / std
    return torch.from_numpy(normed).permute(2, 0, 1)[None].contiguous()


def _check(picture: np.ndarray, channels: tuple[int, ...]) -> None:
    if picture.ndim != 3 or picture.shape[2] not in channels or picture.dtype != np.uint8 or 0 in picture.shape:
        wanted = " or ".join({3: "(H, W, 3)", 4: "(H, W, 4)"}[count] for count in channels)
        raise InputError(f"a picture should be {wanted} uint8, RGB or RGBA, found {picture.shape} {picture.dtype}")
