"""MANO's hand (Romero et al. 2017): shape numbers and joint rotations to vertices and joints, in numpy or torch.

There is one model, of the right hand. A left hand is computed as the right hand that its mirror image shows; then x is
mirrored (`mirrored_points`), and so are rotations (`rotations.mirrored`) and triangles (`mirrored_faces`).
Rotations are absolute: no mean pose is added, and the identity is the flat hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoflow.errors import ConfigError
from geoflow.models.mano.rotations import arrays_of, mirrored

JOINTS, SHAPES = 16, 10  # joints that turn, wrist first; shape numbers
# Joints of the file: wrist, three each of index, middle, little, ring finger and thumb. Tips are vertices, thumb first.
TIPS = (744, 320, 443, 554, 671)
# From these 21 to the order of MediaPipe and OpenPose: wrist, then thumb to little finger, base to tip.
ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")  # of a MANO file
_POSE_NUMBERS = (JOINTS - 1) * 9


@dataclass(frozen=True)
class PosedHands:
    """N hands in metres, about the model's origin."""

    vertices: Any  # (N, V, 3)
    joints16: Any  # (N, 16, 3), in the file's order
    joints: Any  # (N, 21, 3), wrist, then thumb to little finger, base to tip


@dataclass(frozen=True)
class HandBody:
    """The model's arrays, all of numpy or all of torch; lengths are metres, V is the number of vertices."""

    template: Any  # (V, 3)
    shape_dirs: Any  # (V * 3, 10)
    pose_dirs: Any  # (135, V * 3)
    joint_template: Any  # (16, 3)
    joint_dirs: Any  # (16 * 3, 10)
    weights: Any  # (V, 16)
    faces: np.ndarray  # (F, 3) int64
    parents: tuple[int, ...]  # of each joint; -1 for the wrist
    tips: tuple[int, ...] = TIPS  # the vertices at the ends of the fingers

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], where: str = "the hand model") -> HandBody:
        """Return the model of a MANO file's arrays, by the names that they have there.

        v_template (V, 3), shapedirs (V, 3, 10 or more), posedirs (V, 3, 135), J_regressor (16, V), weights (V, 16),
        kintree_table (2, 16), f (F, 3). Raises ConfigError that names `where` and the array that does not fit.
        """
        if lacking := [name for name in NEEDED if name not in arrays]:
            raise ConfigError(f"{where} lacks {', '.join(lacking)}; it should be MANO_RIGHT.pkl as downloaded")
        found = {name: np.asarray(arrays[name]) for name in NEEDED}
        found["shapedirs"] = found["shapedirs"][..., :SHAPES]
        _check(found, where)
        template, regressor = (found[name].astype(np.float64) for name in ("v_template", "J_regressor"))
        shapes = found["shapedirs"].astype(np.float64)
        count = len(template)
        parts = {
            "template": template,
            "shape_dirs": shapes.reshape(count * 3, SHAPES),
            "pose_dirs": found["posedirs"].reshape(count * 3, _POSE_NUMBERS).T,
            "joint_template": regressor @ template,
            "joint_dirs": np.einsum("jv,vck->jck", regressor, shapes).reshape(JOINTS * 3, SHAPES),
            "weights": found["weights"],
        }
        plain: dict[str, Any] = {name: np.ascontiguousarray(array, np.float32) for name, array in parts.items()}
        return cls(**plain, faces=found["f"].astype(np.int64), parents=_parents(found["kintree_table"], where))

    def to(self, device: Any) -> HandBody:
        """Return the model with arrays of torch on a device, float32."""
        import torch

        names = ("template", "shape_dirs", "pose_dirs", "joint_template", "joint_dirs", "weights")
        moved: dict[str, Any] = {name: torch.as_tensor(getattr(self, name), device=device) for name in names}
        return replace(self, **moved)

    def only_joints(self) -> HandBody:
        """Return the model with no vertices except the fingertips: the same joints, in a fifteenth of the time."""
        rows = np.array(self.tips)
        flat = (rows[:, None] * 3 + np.arange(3)).ravel()
        return replace(
            self,
            template=self.template[rows],
            shape_dirs=self.shape_dirs[flat],
            pose_dirs=self.pose_dirs[:, flat],
            weights=self.weights[rows],
            faces=self.faces[:0],
            tips=tuple(range(len(rows))),
        )

    def pose(self, rotations: Any, betas: Any) -> PosedHands:
        """Return the hands of rotations (N, 16, 3, 3) and shapes (N, 10).

        Rotation 0 is that of the whole hand about its wrist, the others turn a joint relative to its parent. The
        wrist's position depends on the shape alone.
        """
        count, library = len(betas), arrays_of(betas)
        joints = self.joint_template + (betas @ self.joint_dirs.T).reshape(count, JOINTS, 3)
        bent = (rotations[:, 1:] - _identity(rotations)).reshape(count, _POSE_NUMBERS)
        moved = (betas @ self.shape_dirs.T + bent @ self.pose_dirs).reshape(count, len(self.template), 3)
        turns, places = self._chain(rotations, joints)
        shifts = places - (turns @ joints[..., None])[..., 0]
        blended = (self.weights @ turns.reshape(count, JOINTS, 9)).reshape(count, len(self.template), 3, 3)
        vertices = (blended @ (self.template + moved)[..., None])[..., 0] + self.weights @ shifts
        everything = library.concatenate((places, vertices[:, list(self.tips)]), 1)
        return PosedHands(vertices, places, everything[:, list(ORDER)])

    def of_side(self, rotations: np.ndarray, betas: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Return joints (N, 21, 3) and vertices (N, V, 3) of "left" or "right" hands; the arrays are numpy's.

        `rotations` (N, 16, 3, 3) are the hands' own: those of a left hand are mirrored ones.
        """
        own = rotations.astype(np.float32)
        hands = self.pose(mirrored(own) if side == "left" else own, betas.astype(np.float32))
        if side == "right":
            return hands.joints, hands.vertices
        return mirrored_points(hands.joints), mirrored_points(hands.vertices)

    def _chain(self, rotations: Any, joints: Any) -> tuple[Any, Any]:
        """Return each joint's rotation (N, 16, 3, 3) and place (N, 16, 3) after its parents have turned."""
        turns, places = [rotations[:, 0]], [joints[:, 0]]
        for j in range(1, JOINTS):
            parent = self.parents[j]
            bone = (joints[:, j] - joints[:, parent])[..., None]
            turns.append(turns[parent] @ rotations[:, j])
            places.append(places[parent] + (turns[parent] @ bone)[..., 0])
        library = arrays_of(joints)
        return library.stack(turns, 1), library.stack(places, 1)


def mirrored_points(points: Any) -> Any:
    """Return points (..., 3) with x mirrored: of a right hand those of the left hand that its mirror image is."""
    if arrays_of(points) is np:
        return points * np.array((-1, 1, 1), points.dtype)
    return points * points.new_tensor((-1.0, 1.0, 1.0))


def mirrored_faces(faces: np.ndarray) -> np.ndarray:
    """Return triangles (F, 3) whose outside is the outside of a mirrored mesh."""
    return np.ascontiguousarray(faces[:, ::-1])


def _identity(like: Any) -> Any:
    if arrays_of(like) is np:
        return np.eye(3, dtype=like.dtype)
    return arrays_of(like).eye(3, dtype=like.dtype, device=like.device)


def _check(found: Mapping[str, np.ndarray], where: str) -> None:
    count = len(found["v_template"]) if found["v_template"].ndim else 0
    shapes = {
        "v_template": (count, 3),
        "shapedirs": (count, 3, SHAPES),
        "posedirs": (count, 3, _POSE_NUMBERS),
        "J_regressor": (JOINTS, count),
        "weights": (count, JOINTS),
        "kintree_table": (2, JOINTS),
    }
    for name, shape in shapes.items():
        array = found[name]
        if array.shape != shape or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ConfigError(f"{where}: {name} should be {shape} finite numbers, found {array.shape} {array.dtype}")
    faces = found["f"]
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise ConfigError(f"{where}: f should be (F, 3) whole numbers, found {faces.shape} {faces.dtype}")
    if count <= max(TIPS) or (faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < count):
        raise ConfigError(f"{where} has {count} vertices; its triangles or its fingertips name others")


def _parents(table: np.ndarray, where: str) -> tuple[int, ...]:
    """Return each joint's parent; the file has 2^32 - 1 for none."""
    parents = (-1, *(int(parent) for parent in table[0, 1:]))
    if any(not 0 <= parent < j for j, parent in enumerate(parents) if j):
        raise ConfigError(f"{where}: kintree_table should name an earlier joint as each joint's parent: {parents}")
    return parents
