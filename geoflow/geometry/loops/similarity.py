"""Many similarities at once, x to s R x + t, with the chart (translation, rotation vector, log of the scale)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import skew


@dataclass(frozen=True)
class Similarities:
    """N similarities."""

    scale: np.ndarray  # (N,)
    rotation: np.ndarray  # (N, 3, 3)
    translation: np.ndarray  # (N, 3)

    @classmethod
    def rigid(cls, matrices: np.ndarray) -> Similarities:
        """Return those of rigid matrices (N, 4, 4)."""
        values = np.asarray(matrices, np.float64)
        return cls(np.ones(len(values)), values[:, :3, :3].copy(), values[:, :3, 3].copy())

    @classmethod
    def of_chart(cls, steps: np.ndarray) -> Similarities:
        """Return those of steps (N, 7) from the identity."""
        return cls(np.exp(steps[:, 6]), _turn(steps[:, 3:6]), steps[:, :3].copy())

    @classmethod
    def joined(cls, parts: Sequence[Similarities]) -> Similarities:
        """Return those of all parts, one after the other."""
        return cls(*(np.concatenate(rows) for rows in zip(*((p.scale, p.rotation, p.translation) for p in parts))))

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, index: np.ndarray | slice) -> Similarities:
        return Similarities(self.scale[index], self.rotation[index], self.translation[index])

    def __setitem__(self, index: np.ndarray | slice, values: Similarities) -> None:
        self.scale[index], self.rotation[index] = values.scale, values.rotation
        self.translation[index] = values.translation

    def after(self, first: Similarities) -> Similarities:
        """Return `first`, then these."""
        return Similarities(self.scale * first.scale, self.rotation @ first.rotation, self.apply(first.translation))

    def inverse(self) -> Similarities:
        """Return the ways back."""
        back = np.swapaxes(self.rotation, 1, 2)
        moved = np.einsum("nij,nj->ni", back, self.translation) / self.scale[:, None]
        return Similarities(1 / self.scale, back, -moved)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Move one point (N, 3) by each."""
        return self.scale[:, None] * np.einsum("nij,nj->ni", self.rotation, points) + self.translation

    def chart(self) -> np.ndarray:
        """Return the steps (N, 7) from the identity."""
        turned = np.array([_vector(r) for r in self.rotation]).reshape(-1, 3)
        return np.concatenate((self.translation, turned, np.log(self.scale)[:, None]), 1)

    def adjoint(self) -> np.ndarray:
        """Return (N, 7, 7), which takes a small step before each to the step of the same effect after it."""
        made = np.zeros((len(self), 7, 7))
        made[:, :3, :3] = self.scale[:, None, None] * self.rotation
        made[:, :3, 3:6] = skew(self.translation) @ self.rotation
        made[:, :3, 6] = -self.translation
        made[:, 3:6, 3:6] = self.rotation
        made[:, 6, 6] = 1
        return made


def between(at: np.ndarray, values: Similarities, asked: np.ndarray) -> Similarities:
    """Return the values at places `asked` (M,), which change evenly from one to the next of those at (N,), rising."""
    if len(values) == 1:
        return values[np.zeros(len(asked), np.int64)]
    before = np.clip(np.searchsorted(at, asked, side="right") - 1, 0, len(at) - 2)
    share = np.clip((asked - at[before]) / (at[before + 1] - at[before]), 0, 1)
    change = values[before + 1].after(values[before].inverse()).chart()
    return Similarities.of_chart(share[:, None] * change).after(values[before])


def _turn(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices of rotation vectors (N, 3) (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    k = skew(vectors)
    first, second = np.sinc(angle / np.pi), 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + first * k + second * (k @ k)


def _vector(rotation: np.ndarray) -> np.ndarray:
    import cv2

    found: np.ndarray = cv2.Rodrigues(rotation)[0][:, 0]
    return found
