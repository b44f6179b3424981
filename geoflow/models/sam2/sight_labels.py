"""Label maps from what is seen of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from geoflow.models.sam2.video_pass import Sight

MOST_HOLE = 16  # pixels: holes up to this size are filled


def label_map(sights: Mapping[int, Sight], height: int, width: int, most_hole: int = MOST_HOLE) -> np.ndarray:
    """Return the number of the object that each pixel shows, (H, W) uint8; 0 where no logit is above 0.

    Where objects overlap, the one with the largest logit has the pixel, at a tie the one of the lowest number. Holes of
    at most `most_hole` pixels in an object become part of it where they show no other.
    """
    label = np.zeros((height, width), np.uint8)
    numbers = sorted(number for number, sight in sights.items() if sight.seen)
    if not numbers:
        return label
    rows = [sights[number].logits[None, None] for number in numbers]  # of several sizes, if memory ran out on the way
    size = (height, width)
    large = [functional.interpolate(row, size, mode="bilinear", align_corners=False)[0, 0] for row in rows]
    value, which = torch.stack(large).max(0)
    found = torch.where(value > 0, torch.tensor(numbers, device=value.device)[which], 0)
    label = found.to(torch.uint8).cpu().numpy()
    if most_hole:
        for number in numbers:
            _fill_holes(label, number, most_hole)
    return label


def _fill_holes(label: np.ndarray, number: int, most: int) -> None:
    """Give an object, in place, the background of holes that are at most so large."""
    mask = label == number
    if not mask.any():
        return
    count, parts, facts, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = np.flatnonzero(facts[:, cv2.CC_STAT_AREA] <= most)
    small = small[small > 0]  # component 0 is the object itself
    if len(small):
        is_small = np.zeros(count, bool)
        is_small[small] = True
        label[is_small[parts] & (label == 0)] = number
