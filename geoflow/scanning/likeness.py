"""Near-duplicates: the same clip encoded again, scaled or trimmed, found by a perceptual hash and then looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

THUMB = 32  # px, of both sides: the proportions do not matter to a clip that was scaled
_HASH = 8  # lowest frequencies of either direction
_NEAR = 20  # bits of 64: different pictures differ in 32 on average, the nearest of many in about 22
_LEAST_SHARE = 0.5  # of the looks of the shorter clip that should have a near one in the longer clip
_LEAST_CONTRAST = 4.0  # grey levels (standard deviation): a flatter picture has no hash that means anything
_SOFT = 1.0  # px: a copy at half the size differs by 0.1, the frame after by 0.15, the fourth by 0.25 and more
_COMPARED = (0.2, 0.5, 0.8)  # looks that are searched in the other clip, as shares of the way
_AT_ONCE = 8  # frames that one step of the search reads

ThumbsAt = Callable[[list[int]], np.ndarray]  # rising numbers of frames -> their thumbnails (K, THUMB, THUMB) uint8


@dataclass(frozen=True)
class Fingerprint:
    """What a clip is recognised by: thumbnails of frames spread over it, and their hashes."""

    numbers: np.ndarray  # (K,) int64: the frames
    thumbs: np.ndarray  # (K, THUMB, THUMB) uint8
    count: int  # frames of the clip

    @functools.cached_property
    def usable(self) -> np.ndarray:
        """Return which of the frames show enough to be recognised, their places (M,)."""
        return np.flatnonzero(self.thumbs.reshape(len(self.thumbs), -1).std(1) >= _LEAST_CONTRAST)

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """Return the hashes of all frames (K, 64) bool."""
        return np.stack([phash(thumb) for thumb in self.thumbs])


def thumbnail_of(gray: np.ndarray) -> np.ndarray:
    """Return the thumbnail (THUMB, THUMB) uint8 of an image (H, W) uint8."""
    return cv2.resize(gray, (THUMB, THUMB), interpolation=cv2.INTER_AREA)


def phash(thumb: np.ndarray) -> np.ndarray:
    """Return the perceptual hash (64,) bool of a thumbnail: which low frequencies are above their median.

    The picture's mean takes no part, so that brightness does not matter.
    """
    low = cv2.dct(thumb.astype(np.float32))[:_HASH, :_HASH].ravel()
    return low > np.median(low[1:])


def hash_text(bits: np.ndarray) -> str:
    """Return a hash (64,) bool as 16 hexadecimal digits."""
    return np.packbits(bits).tobytes().hex()


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the difference of two thumbnails, relative to their contrast: 0 the same, about 1.4 unrelated.

    Brightness and contrast of the whole picture do not count: codecs and colour ranges change them. The finest detail
    does not count either: small copies lack it.
    """
    soft = (cv2.GaussianBlur(thumb.astype(np.float32), (0, 0), _SOFT) for thumb in (one, other))
    a, b = (thumb - thumb.mean() for thumb in soft)
    a, b = (thumb / max(float(thumb.std()), 1e-6) for thumb in (a, b))
    return float(np.sqrt(np.mean((a - b) ** 2)))


def may_be_part(one: Fingerprint, other: Fingerprint) -> bool:
    """Return whether the hashes allow that `one` shows the same as `other`, or as a part of it."""
    usable, others = one.usable, other.usable
    if not len(usable) or not len(others):
        return False
    nearest = distances(one.hashes[usable], other.hashes[others]).min(1)
    return bool((nearest <= _NEAR).mean() >= _LEAST_SHARE)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the numbers of bits (A, B) in which hashes (A, 64) and (B, 64) bool differ."""
    return np.asarray((one[:, None] != other[None]).sum(2))


def is_part(one: Fingerprint, other: Fingerprint, thumbs_of_other: ThumbsAt, alike: float) -> bool:
    """Return whether frames of `one` are found in `other`: each of three differs by at most `alike` from one there.

    The search begins at the most similar look of `other` and narrows down. At most some 50 frames are read for each.
    """
    usable = one.usable
    chosen = dict.fromkeys(int(usable[int(share * (len(usable) - 1) + 0.5)]) for share in _COMPARED)
    return all(_least_difference(one.thumbs[k], other, thumbs_of_other, alike) <= alike for k in chosen)


def _least_difference(wanted: np.ndarray, other: Fingerprint, thumbs_at: ThumbsAt, alike: float) -> float:
    found = [difference(wanted, thumb) for thumb in other.thumbs]
    best = int(np.argmin(found))
    least, at = found[best], int(other.numbers[best])
    low, high = (int(other.numbers[np.clip(best + step, 0, len(other.numbers) - 1)]) for step in (-1, 1))
    while least > alike / 2:  # a nearer frame may be there
        step = max(1, (high - low) // _AT_ONCE)
        numbers = list(range(low, high + 1, step))
        differing = [difference(wanted, thumb) for thumb in thumbs_at(numbers)]
        best = int(np.argmin(differing))
        if differing[best] < least:
            least, at = differing[best], numbers[best]
        if step == 1:
            break
        low, high = max(0, at - step), min(other.count - 1, at + step)
    return least
