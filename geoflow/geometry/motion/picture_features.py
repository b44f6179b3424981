"""SIFT features of pictures and their matches, each computed once however many ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

MAX_ERROR_PX = 2.0  # of an epipolar inlier; tracks of real footage are wrong by a few tenths of a pixel
LEAST_INLIERS = 15
_SURE, _SURE_SHARE = 25, 0.6  # matches that agree with one motion, and their share
_MOST, _MOST_FINE = 1500, 2000  # features of a picture


class PictureFeatures:
    """Features of T pictures (H, W) uint8, extracted when first asked for; `masks` mark pixels that have none."""

    def __init__(self, grays: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None = None) -> None:
        self._grays, self._masks = grays, masks
        self._fine: set[int] = set()
        self._features: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._matches: dict[tuple[int, int], np.ndarray] = {}

    def refine(self, frames: Iterable[int]) -> None:
        """Take features of some pictures from the doubled image, too: three times as many, for four times the time."""
        self._fine |= {*frames} - self._features.keys()

    def uv(self, t: int) -> np.ndarray:
        """Return the pixels (N, 2) float32 of a picture's features."""
        return self._of(t)[0]

    def matches(self, a: int, b: int) -> np.ndarray:
        """Return the rows (K, 2) of features that two pictures share."""
        if (a, b) not in self._matches:
            self._matches[a, b] = match(self._of(a)[1], self._of(b)[1])
        return self._matches[a, b]

    def sure_matches(self, a: int, b: int) -> np.ndarray:
        """Return the rows (K, 2) of matches that agree with one motion; none unless these are many, and most of all.

        Pictures of different places have up to some twenty matches in common with one motion by chance.
        """
        rows = self.matches(a, b)
        uv_a, uv_b = self.uv(a)[rows[:, 0]], self.uv(b)[rows[:, 1]]
        _, inlier = two_view(uv_a.astype(np.float64), uv_b.astype(np.float64))
        return rows[inlier if inlier.sum() >= max(_SURE, _SURE_SHARE * len(rows)) else np.zeros(len(rows), bool)]

    def is_fine(self, t: int) -> bool:
        """Return whether a picture's features are also those of the doubled image."""
        return t in self._fine

    def _of(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        if t not in self._features:
            ignore = None if self._masks is None else self._masks[t]
            self._features[t] = sift(self._grays[t], ignore, fine=t in self._fine)
        return self._features[t]


def sift(gray: np.ndarray, ignore: np.ndarray | None = None, *, fine: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """SIFT features (Lowe 2004) of a (H, W) uint8 image by COLMAP on the CPU; `fine` ones also of the doubled image.

    `ignore` (H, W) bool marks pixels without features. Returns uv (N, 2) float32 px and RootSIFT descriptors (N, 128)
    float32.
    """
    import pycolmap

    options = pycolmap.FeatureExtractionOptions(num_threads=1, use_gpu=False)
    options.sift.max_num_features = _MOST_FINE if fine else _MOST
    options.sift.first_octave = -1 if fine else 0
    extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
    keypoints, descriptors = extractor.extract_from_uint8_array(np.ascontiguousarray(gray))
    uv = np.asarray(pycolmap.keypoints_to_matrix(keypoints), np.float32).reshape(-1, 4)[:, :2] - 0.5
    described = np.asarray(descriptors.data, np.float32).reshape(-1, 128)
    if ignore is not None and len(uv):
        u, v = np.rint(uv).astype(int).T
        height, width = gray.shape
        keep = ~ignore[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]
        uv, described = uv[keep], described[keep]
    return uv, described


def match(descriptors_a: np.ndarray, descriptors_b: np.ndarray, *, ratio: float = 0.8) -> np.ndarray:
    """Mutual nearest neighbours that pass the ratio test: (N, 128) and (M, 128) float32 to (K, 2) int64 row pairs.

    Descriptors have unit length, so the nearest one has the largest product. One matrix product for all pairs takes a
    quarter of the time of OpenCV's brute force.
    """
    if len(descriptors_a) < 2 or len(descriptors_b) < 2:
        return np.zeros((0, 2), int)
    length = float(descriptors_a[0] @ descriptors_a[0])
    alike = descriptors_a @ descriptors_b.T / np.float32(length)
    rows = np.arange(len(alike))
    nearest = alike.argmax(1)
    mutual = alike.argmax(0)[nearest] == rows
    best = alike[rows, nearest]
    alike[rows, nearest] = -1
    # |a - b|^2 = 2 (1 - a b) for descriptors of length 1
    clear = (1 - best) < ratio**2 * (1 - alike.max(1))
    keep = mutual & clear
    return np.stack([rows[keep], nearest[keep]], 1)


def two_view(uv_a: np.ndarray, uv_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fundamental matrix (3, 3) of matches (N, 2) px, and which of them (N,) it explains: maybe none.

    By OpenCV's USAC, in a quarter of the time of COLMAP's verification and as good here: mapping estimates the motion
    of its first pairs once more.
    """
    nothing = np.zeros((3, 3)), np.zeros(len(uv_a), bool)
    if len(uv_a) < LEAST_INLIERS:
        return nothing
    try:
        found, inlier = cv2.findFundamentalMat(uv_a, uv_b, cv2.USAC_ACCURATE, MAX_ERROR_PX, 0.999, 1000)
    except cv2.error:  # OpenCV 5.0 asserts if its refinement leaves no model
        return nothing
    return nothing if found is None or inlier is None else (found[:3], inlier.ravel() > 0)
