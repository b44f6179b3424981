"""The hand model: numpy and torch alike, what turning and mirroring do, and what is refused."""

from __future__ import annotations

from typing import Any

import made_up_mano
import numpy as np
import pytest

from geoflow.errors import ConfigError
from geoflow.models.mano.body import HandBody, mirrored_faces, mirrored_points
from geoflow.models.mano.rotations import from_axis_angle, from_six, mirrored, to_axis_angle


def hands(count: int = 3, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and shapes of some hands."""
    rng = np.random.default_rng(seed)
    turns = from_axis_angle(rng.normal(0, 0.5, (count, 16, 3))).astype(np.float32)
    return turns, rng.normal(0, 1, (count, 10)).astype(np.float32)


def test_numpy_and_torch_give_the_same_hands() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    body, (rotations, betas) = made_up_mano.body(), hands()
    found = body.pose(rotations, betas)
    other = body.to("cpu").pose(torch.from_numpy(rotations), torch.from_numpy(betas))
    assert found.vertices.shape == (3, 778, 3) and found.joints.dtype == np.float32
    for name in ("vertices", "joints16", "joints"):
        assert np.allclose(getattr(found, name), getattr(other, name).numpy(), atol=1e-6), name


def test_joints_can_be_had_alone() -> None:
    body, (rotations, betas) = made_up_mano.body(), hands()
    found, wanted = body.only_joints().pose(rotations, betas), body.pose(rotations, betas)
    assert np.allclose(found.joints, wanted.joints, atol=1e-7) and found.vertices.shape == (3, 5, 3)


def test_the_identity_is_the_flat_hand_and_no_hands_are_no_hands() -> None:
    body = made_up_mano.body()
    flat = np.tile(np.eye(3, dtype=np.float32), (1, 16, 1, 1))
    found = body.pose(flat, np.zeros((1, 10), np.float32))
    assert np.allclose(found.vertices[0], body.template, atol=1e-6)
    assert np.allclose(found.joints16[0], body.joint_template, atol=1e-6)
    assert body.pose(flat[:0], np.zeros((0, 10), np.float32)).vertices.shape == (0, 778, 3)


def test_the_whole_hand_turns_about_its_wrist() -> None:
    body, (rotations, betas) = made_up_mano.body(), hands(1)
    turn = from_axis_angle(np.array([0.3, -1.0, 0.4])).astype(np.float32)
    turned = rotations.copy()
    turned[:, 0] = turn @ rotations[:, 0]
    before, after = body.pose(rotations, betas), body.pose(turned, betas)
    wrist = before.joints[:, :1]
    assert np.allclose(after.joints[:, :1], wrist, atol=1e-6)
    assert np.allclose(after.vertices, (before.vertices - wrist) @ turn.T + wrist, atol=1e-6)


def test_fingers_are_thumb_first_and_end_at_their_tips() -> None:
    body = made_up_mano.body()
    flat = np.tile(np.eye(3, dtype=np.float32), (1, 16, 1, 1))
    joints = body.pose(flat, np.zeros((1, 10), np.float32)).joints[0]
    across = [joints[1 + 4 * finger, 2] - joints[0, 2] for finger in range(5)]
    assert across == sorted(across, reverse=True), "thumb, index, middle, ring, little"
    assert (np.diff(joints[1:, 0].reshape(5, 4), axis=1) < 0).all(), "base to tip"


def test_a_mirrored_model_with_mirrored_rotations_gives_the_mirrored_hand() -> None:
    """That is what a left hand is: M R M, x negated, and triangles the other way round."""
    given = made_up_mano.arrays()
    other = {**given, "v_template": mirrored_points(given["v_template"])}
    other["shapedirs"] = given["shapedirs"] * np.array([-1, 1, 1])[:, None]
    signs = np.array([1, -1, -1, -1, 1, 1, -1, 1, 1] * 15)  # of R - I under M R M
    other["posedirs"] = given["posedirs"] * np.array([-1, 1, 1])[:, None] * signs
    rotations, betas = hands()
    right = HandBody.from_arrays(given).pose(rotations, betas)
    left = HandBody.from_arrays(other).pose(mirrored(rotations), betas)
    assert np.allclose(left.vertices, mirrored_points(right.vertices), atol=1e-6)
    assert np.allclose(left.joints, mirrored_points(right.joints), atol=1e-6)
    corners = right.vertices[0][made_up_mano.body().faces]
    turned = mirrored_points(right.vertices[0])[mirrored_faces(made_up_mano.body().faces)]
    outside = [np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]) for c in (corners, turned)]
    assert np.allclose(mirrored_points(outside[0]), outside[1], atol=1e-6)


def test_in_axis_angle_a_mirror_turns_the_signs_of_y_and_z() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    found = to_axis_angle(mirrored(from_axis_angle(vectors)))
    assert np.allclose(found, vectors * [1, -1, -1], atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 3.0, np.pi - 1e-7, np.pi])
def test_axis_angle_and_back(angle: float) -> None:
    axes = np.random.default_rng(0).normal(size=(40, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    rotations = from_axis_angle(axes * angle)
    assert np.allclose(rotations @ rotations.swapaxes(1, 2), np.eye(3), atol=1e-12)
    found = to_axis_angle(rotations)
    assert np.allclose(np.linalg.norm(found, axis=1), angle, atol=1e-7)
    assert np.allclose(from_axis_angle(found), rotations, atol=1e-7)
    assert np.isnan(to_axis_angle(np.full((3, 3), np.nan))).all()


def test_six_numbers_give_a_rotation_whatever_they_are() -> None:
    numbers = np.random.default_rng(0).normal(size=(30, 6))
    found = from_six(numbers)
    assert np.allclose(found.swapaxes(-1, -2) @ found, np.eye(3), atol=1e-12) and (np.linalg.det(found) > 0).all()
    assert np.isfinite(from_six(np.zeros((1, 6)))).all()
    assert np.allclose(from_six(np.array([1.0, 0, 0, 0, 1, 0])), np.eye(3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"v_template": np.zeros((778, 2))}, "v_template should be"),
        ({"shapedirs": np.full((778, 3, 10), np.nan)}, "shapedirs should be"),
        ({"J_regressor": np.zeros((21, 778))}, "J_regressor should be"),
        ({"f": np.full((4, 3), 778)}, "778 vertices"),
        ({"f": np.zeros((4, 3))}, "whole numbers"),
        ({"kintree_table": np.full((2, 16), 15)}, "kintree_table"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"x.pkl.*{said}"):
        HandBody.from_arrays({**made_up_mano.arrays(), **changes}, "x.pkl")
    with pytest.raises(ConfigError, match="lacks weights"):
        HandBody.from_arrays({key: value for key, value in made_up_mano.arrays().items() if key != "weights"})
