"""SIFT matches between keyframes that are too far apart for tracking; they connect a structure where tracks break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MIN_MATCHES = 15
_GAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96)


def sift(gray: np.ndarray, ignore: np.ndarray | None = None, max_count: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """SIFT features (Lowe 2004) of a (H, W) uint8 image by COLMAP on the CPU.

    `ignore` (H, W) bool marks pixels without features. Returns uv (N, 2) float32 px and RootSIFT descriptors (N, 128)
    float32.
    """
    import pycolmap

    options = pycolmap.FeatureExtractionOptions(num_threads=1, use_gpu=False)
    options.sift.max_num_features = max_count
    options.sift.first_octave = 0  # the doubled image costs four times as much and adds the least certain features
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


def choose_pairs(count: int, budget: int = 60) -> list[tuple[int, int]]:
    """Choose pairs (a, b), a < b, of `count` pictures in order: neighbours, and fewer pairs the further apart they are.

    Another `budget` pairs are spread over all pictures, for places that are seen again.
    """
    stride = max(1, int(np.ceil(count / np.sqrt(2 * budget))))
    spread = range(0, count, stride)
    pairs = {(a, a + gap) for gap in _GAPS for a in range(count - gap)}
    return sorted(pairs | {(a, b) for a in spread for b in spread if a < b})


def wide_matches(
    grays: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None
) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
    """Return every image's features, uv (N, 2) px, and row pairs (K, 2) per well matched pair (a, b), a < b."""
    features = [sift(gray, None if masks is None else masks[i]) for i, gray in enumerate(grays)]
    matches = {}
    for a, b in choose_pairs(len(features)):
        rows = match(features[a][1], features[b][1])
        if len(rows) >= _MIN_MATCHES:
            matches[a, b] = rows
    return [uv for uv, _ in features], matches
