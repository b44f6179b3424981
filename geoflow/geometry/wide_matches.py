"""SIFT matches between keyframes too far apart for tracking: they hold a structure together where tracks break."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_MIN_MATCHES = 15


def sift(gray: np.ndarray, ignore: np.ndarray | None = None, max_count: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """SIFT features (Lowe 2004) of a (H, W) uint8 image by COLMAP on the CPU.

    `ignore` (H, W) bool: no features there. Returns uv (N, 2) float32 px and RootSIFT descriptors (N, 128) float32.
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
    """Mutual nearest neighbours that pass the ratio test: (N, 128) and (M, 128) float32 to (K, 2) int64 row pairs."""
    if len(descriptors_a) < 2 or len(descriptors_b) < 2:
        return np.zeros((0, 2), int)
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    forth = matcher.knnMatch(descriptors_a, descriptors_b, k=2)
    back = {m.queryIdx: m.trainIdx for m in matcher.match(descriptors_b, descriptors_a)}
    kept = [
        (first.queryIdx, first.trainIdx)
        for first, second in forth
        if first.distance < ratio * second.distance and back.get(first.trainIdx) == first.queryIdx
    ]
    return np.array(kept, int).reshape(-1, 2)


def wide_matches(
    grays: Sequence[np.ndarray], masks: Sequence[np.ndarray] | None, *, neighbours: int = 2, budget: int = 60
) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
    """Match every image with its next `neighbours`, and pairs spread over all of them up to `budget` more.

    Returns uv (N, 2) per image and row pairs (K, 2) per image pair (a, b), a < b, that matched well enough.
    """
    features = [sift(gray, None if masks is None else masks[i]) for i, gray in enumerate(grays)]
    count = len(features)
    stride = max(1, int(np.ceil(count / np.sqrt(2 * budget))))
    spread = range(0, count, stride)
    pairs = {(a, b) for a in range(count) for b in range(a + 1, min(count, a + 1 + neighbours))}
    pairs |= {(a, b) for a in spread for b in spread if a < b}
    matches = {}
    for a, b in sorted(pairs):
        rows = match(features[a][1], features[b][1])
        if len(rows) >= _MIN_MATCHES:
            matches[a, b] = rows
    return [uv for uv, _ in features], matches
