"""Do a clip's poses, depth, intrinsics and frames belong together, read the way they are stored?

    python benchmarks/footage/check.py CLIPS [CLIP ...]

Each figure is printed as the clip is stored and under wrong readings (no motion, inverse poses, OpenGL axes), which
should be clearly worse:

depth       depth of frame i, moved into frame j by the poses, against depth j: median relative error
features    features of i, lifted with their depth and projected into j: median distance to their match, px
epipolar    the same without depth: median distance of matches to their epipolar lines, px
motion      without poses: what is left of the matches' motion after "it stands still" and after one homography, px;
            a small rest of the second says that the camera only turns
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from clip_files import GL_FROM_CV

from geoflow.bench.footage.clips import FootageClip, find_clips

_STEPS = (1, 5, 15, 30)  # frames between i and j
_MOST_PAIRS = 12
_LONGEST_SIDE = 1280  # of the pictures that features are sought in


class Checked:
    """A clip with its features and its camera."""

    def __init__(self, clip: FootageClip) -> None:
        self.clip, self.known = clip, clip.known
        self.size: tuple[int, int] = cv2.imread(str(clip.frames[0]), cv2.IMREAD_GRAYSCALE).shape[::-1]
        self.posed = np.isfinite(self.known.cam_from_world).all((1, 2))
        self.features = cache(self._features)
        self.depth = cache(self._depth)

    def _features(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        gray = cv2.imread(str(self.clip.frames[i]), cv2.IMREAD_GRAYSCALE)
        factor = min(1.0, _LONGEST_SIDE / max(gray.shape))
        if factor < 1:
            gray = cv2.resize(gray, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        found, looks = cv2.SIFT_create(1500).detectAndCompute(gray, None)
        uv = np.array([point.pt for point in found], float).reshape(-1, 2)
        return (uv + 0.5) / factor - 0.5, looks  # pixel centres are at integers

    def _depth(self, i: int) -> np.ndarray:
        depth = self.clip.depth(i, self.size)
        return np.zeros(self.size[::-1], np.float32) if depth is None else depth

    def matches(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Places (N, 2) px of the same features in both frames, by Lowe's ratio test."""
        (a, looks_a), (b, looks_b) = self.features(i), self.features(j)
        if looks_a is None or looks_b is None or min(len(a), len(b)) < 8:
            return np.zeros((0, 2)), np.zeros((0, 2))
        pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(looks_a, looks_b, k=2)
        good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.75 * pair[1].distance]
        return a[[m.queryIdx for m in good]], b[[m.trainIdx for m in good]]

    def straight(self, uv: np.ndarray, i: int) -> np.ndarray:
        """Where pixels (N, 2) would be without distortion."""
        k, distortion = self.known.intrinsics[i], self.known.distortion
        return uv if distortion is None or not len(uv) else cv2.undistortPoints(uv[:, None], k, distortion, P=k)[:, 0]

    def lift(self, uv: np.ndarray, depth: np.ndarray, i: int) -> np.ndarray:
        rays = np.column_stack([self.straight(uv, i), np.ones(len(uv))]) @ np.linalg.inv(self.known.intrinsics[i]).T
        return rays * depth[:, None]

    def project(self, points: np.ndarray, i: int) -> np.ndarray:
        """Pixels (N, 2) as the camera took them; far outside where a point is not before it."""
        z = np.where(points[:, 2] > 1e-6, points[:, 2], np.nan)
        seen = np.abs(points[:, :2] / z[:, None]).max(1) < 1.5  # further out, the distortion's polynomial folds back
        uv = np.full((len(points), 2), -1e3)
        if seen.any():
            distortion = np.zeros(4) if self.known.distortion is None else self.known.distortion
            uv[seen] = cv2.projectPoints(points[seen], np.zeros(3), np.zeros(3), self.known.intrinsics[i], distortion)[
                0
            ][:, 0]
        return uv

    def depth_at(self, i: int, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nearest depth (N,) of frame i at pixels (N, 2), and where it is known and beside no jump."""
        depth = self.depth(i)
        height, width = depth.shape
        u, v = np.rint(uv).astype(int).T
        inside = (u >= 1) & (v >= 1) & (u < width - 1) & (v < height - 1)
        u, v = np.clip(u, 1, width - 2), np.clip(v, 1, height - 2)
        middle = depth[v, u]
        around = np.stack([depth[v + dy, u + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        around = np.where(around > 0, around, middle)
        return middle, inside & (middle > 0) & (np.ptp(around, axis=0) < 0.02 * middle)

    def pairs(self, step: int, *, posed: bool = True) -> list[tuple[int, int]]:
        """Up to a dozen frame pairs, evenly spread."""
        firsts = [i for i in range(len(self.posed) - step) if not posed or (self.posed[i] and self.posed[i + step])]
        chosen = sorted({int(k) for k in np.linspace(0, len(firsts) - 1, _MOST_PAIRS)}) if firsts else []
        return [(firsts[k], firsts[k] + step) for k in chosen]


def readings(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """b-from-a of two world-to-camera poses (4, 4), as they are stored and as one might wrongly read them."""
    inverse = np.linalg.inv
    return {
        "stored": b @ inverse(a),
        "no motion": np.eye(4),
        "inverse": inverse(b) @ a,
        "OpenGL axes": GL_FROM_CV @ b @ inverse(a) @ GL_FROM_CV,
    }


Errors = Iterator[tuple[str, np.ndarray]]  # a reading, and errors under it


def depth_errors(clip: Checked, i: int, j: int) -> Errors:
    v, u = np.mgrid[4 : clip.size[1] : 8, 4 : clip.size[0] : 8]
    uv = np.stack([u.ravel(), v.ravel()], 1).astype(float)
    depth, known = clip.depth_at(i, uv)
    points = clip.lift(uv[known], depth[known], i)
    for name, j_from_i in readings(*clip.known.cam_from_world[[i, j]]).items():
        moved = points @ j_from_i[:3, :3].T + j_from_i[:3, 3]
        found, seen = clip.depth_at(j, clip.project(moved, j))
        yield name, 100 * np.abs(moved[seen, 2] / found[seen] - 1)


def feature_errors(clip: Checked, i: int, j: int) -> Errors:
    a, b = clip.matches(i, j)
    depth, known = clip.depth_at(i, a)
    points = clip.lift(a[known], depth[known], i)
    for name, j_from_i in readings(*clip.known.cam_from_world[[i, j]]).items():
        moved = points @ j_from_i[:3, :3].T + j_from_i[:3, 3]
        yield name, np.linalg.norm(clip.project(moved, j) - b[known], axis=1)


def epipolar_errors(clip: Checked, i: int, j: int) -> Errors:
    a, b = clip.matches(i, j)
    a, b = (np.column_stack([clip.straight(uv, k), np.ones(len(uv))]) for uv, k in ((a, i), (b, j)))
    k_i, k_j = np.linalg.inv(clip.known.intrinsics[[i, j]])
    for name, j_from_i in readings(*clip.known.cam_from_world[[i, j]]).items():
        if name != "no motion":
            across = np.cross(np.eye(3), j_from_i[:3, 3])  # [t]x, transposed
            lines = a @ (k_j.T @ across.T @ j_from_i[:3, :3] @ k_i).T
            yield name, np.abs((lines * b).sum(1)) / np.linalg.norm(lines[:, :2], axis=1)


def motion_errors(clip: Checked, i: int, j: int) -> Errors:
    a, b = clip.matches(i, j)
    yield "it stands still", np.linalg.norm(a - b, axis=1)
    homography = cv2.findHomography(a, b, cv2.RANSAC, 3.0)[0] if len(a) >= 20 else None
    if homography is not None:
        moved = np.column_stack([a, np.ones(len(a))]) @ homography.T
        yield "one homography", np.linalg.norm(moved[:, :2] / moved[:, 2:] - b, axis=1)


def check(clip: Checked) -> None:
    """Print every figure that the clip allows."""
    if clip.posed.sum() > 1 and np.isfinite(clip.known.intrinsics).all():
        kinds = {"epipolar px": epipolar_errors}
        if clip.clip.has_depth:
            kinds = {"depth %": depth_errors, "features px": feature_errors, **kinds}
    else:
        kinds = {"motion px": motion_errors}
    for kind, measure in kinds.items():
        for step in _STEPS:
            errors = defaultdict(list)
            for i, j in clip.pairs(step, posed=kind != "motion px"):
                for name, values in measure(clip, i, j):
                    errors[name].append(values)
            medians = {name: np.concatenate(values) for name, values in errors.items()}
            shown = ", ".join(f"{name} {np.median(v):.2f}" for name, v in medians.items() if len(v))
            if shown:
                print(f"  {kind:12} {step:2} frames apart: {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("clips", nargs="*", help="default: all")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    for clip in find_clips(given.folder, given.clips):
        if clip.known.photos:
            print(f"{clip.name}: {len(clip.frames)} photos")
            continue
        checked = Checked(clip)
        width, height = checked.size
        print(f"{clip.name}: {len(clip.frames)} frames {width}x{height}, {checked.posed.sum()} with a pose")
        check(checked)


if __name__ == "__main__":
    main()
