"""Hands in the camera: both sides alike, projected where they are seen, true places with a known camera."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import made_up_mano  # noqa: E402
from small_wilor import image, model, write_checkpoint  # noqa: E402

from geoflow.errors import ConfigError  # noqa: E402
from geoflow.models.mano.body import mirrored_points  # noqa: E402
from geoflow.models.mano.rotations import mirrored  # noqa: E402
from geoflow.models.wilor import from_checkpoint  # noqa: E402
from geoflow.models.wilor.clip import Look, predict_clip  # noqa: E402
from geoflow.models.wilor.crops import squares_of  # noqa: E402
from geoflow.models.wilor.full_image import places  # noqa: E402
from geoflow.models.wilor.hand_model import Hands  # noqa: E402

RGB = image()
WIDTH = RGB.shape[1]
BOXES = np.array([[40.0, 60, 120, 150], [180, 70, 260, 190], [250, 10, 330, 90], [5, 5, 40, 50]])
RIGHT = np.array([True, False, False, True])


def all_of(hands: Hands) -> dict[str, np.ndarray]:
    return {name: getattr(hands, name) for name in Hands.__dataclass_fields__}


def pinhole(points: np.ndarray, focal: tuple[float, float], principal: tuple[float, float]) -> np.ndarray:
    return points[..., :2] / points[..., 2:] * focal + principal


@pytest.mark.parametrize(
    ("focal", "principal"),
    [(None, None), (300.0, None), (280.0, (150.0, 130.5)), ((280.0, 310.0), (171.0, 101.0))],
)
def test_uv_are_the_joints_seen_by_the_camera_for_both_sides(focal: Any, principal: Any) -> None:
    hands = model().predict(RGB, BOXES, RIGHT, focal=focal, principal=principal)
    lengths = np.broadcast_to(5000 / 256 * WIDTH if focal is None else focal, 2)
    point = (WIDTH / 2, RGB.shape[0] / 2) if principal is None else principal
    seen = pinhole(hands.joints_in_camera.astype(np.float64), lengths, point)
    assert np.abs(seen - hands.uv).max() < 1e-3, "float32 places, 6 km of focal length"
    assert (hands.cam_t[:, 2] > 0).all() and hands.right.tolist() == RIGHT.tolist()
    assert (np.abs(hands.uv.mean(1) - (BOXES[:, :2] + BOXES[:, 2:]) / 2) < 60).all()


def test_a_mirrored_image_has_the_mirrored_hands() -> None:
    """Left hands are right: the same picture in a mirror gives the same hands, of the other side."""
    boxes = BOXES.copy()
    boxes[:, [0, 2]] = WIDTH - 1 - BOXES[:, [2, 0]]
    made, principal = model(), ((WIDTH - 1) / 2, 110.0)
    one = made.predict(RGB, BOXES, RIGHT, 300.0, principal)
    other = made.predict(np.ascontiguousarray(RGB[:, ::-1]), boxes, ~RIGHT, 300.0, principal)
    assert np.allclose(other.joints, mirrored_points(one.joints), atol=1e-6)
    assert np.allclose(other.vertices_in_camera, mirrored_points(one.vertices_in_camera), atol=1e-5)
    assert np.allclose(other.rotations, mirrored(one.rotations), atol=1e-6)
    assert np.allclose(other.uv * [-1, 1] + [WIDTH - 1, 0], one.uv, atol=1e-3)
    assert np.allclose(other.axis_angle, one.axis_angle * [1, -1, -1], atol=1e-5)


def test_rotations_and_shape_give_the_vertices_of_both_sides() -> None:
    hands, body = model().predict(RGB, BOXES, RIGHT), made_up_mano.body()
    as_right = hands.rotations.copy()
    as_right[~RIGHT] = mirrored(as_right[~RIGHT])
    vertices = body.pose(as_right, hands.betas).vertices
    vertices[~RIGHT] = mirrored_points(vertices[~RIGHT])
    assert np.allclose(vertices, hands.vertices, atol=1e-6)


def test_how_many_hands_go_at_once_does_not_change_them() -> None:
    made = model()
    found = [all_of(made.predict(RGB, BOXES, RIGHT, batch=batch)) for batch in (1, 3, 16)]
    for other in found[1:]:
        assert all(np.allclose(found[0][name], other[name], atol=1e-4) for name in other)
    assert np.abs(np.diff(found[0]["betas"], axis=0)).max() > 1e-3, "a made-up network, but it sees the image"


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_hands_of_many_images_are_those_of_each_image(batch: int) -> None:
    """In the order of the looks, which is not that of the frames; each frame with its own camera."""
    frames = [image(seed=i) for i in range(3)]
    cameras = np.array([[[300 + 40 * i, 0, 150 + i], [0, 310, 120 - i], [0, 0, 1]] for i in range(3)], np.float32)
    looks = [Look(i, BOXES[n], bool(RIGHT[n])) for i, n in ((2, 0), (0, 1), (2, 2), (0, 3), (1, 1), (0, 0))]
    made = model()
    found = predict_clip(made, frames, looks, cameras, batch=batch)
    for n, look in enumerate(looks):
        k = cameras[look.frame]
        camera = {"focal": (k[0, 0], k[1, 1]), "principal": (k[0, 2], k[1, 2])}
        alone = made.predict(frames[look.frame], look.box[None], np.array([look.right]), **camera)
        for name, value in all_of(alone).items():
            assert np.allclose(getattr(found, name)[n], value[0], atol=1e-3 if name == "uv" else 1e-4), name
    assert len(predict_clip(made, frames, [], cameras)) == 0


def test_half_precision_is_for_the_transformer_alone() -> None:
    exact, half = (model(dtype=dtype).predict(RGB, BOXES, RIGHT, 300.0) for dtype in (None, torch.bfloat16))
    turned = half.rotations @ half.rotations.swapaxes(-1, -2)
    assert np.abs(turned - np.eye(3)).max() < 1e-5, "rotations have all digits"
    assert 0 < np.abs(half.joints - exact.joints).max() < 0.004
    assert np.abs(half.uv - exact.uv).max() < 3
    body = made_up_mano.body().of_side(half.rotations[RIGHT], half.betas[RIGHT], "right")[1]
    assert np.abs(body - half.vertices[RIGHT]).max() < 1e-5, "and so has the hand model"


def test_hands_of_20_px_and_hands_at_the_border_are_hands_like_others() -> None:
    boxes = np.array([[100.0, 100, 116, 120], [-40, -30, 45, 50], [280, 200, 420, 340], [-90, 20, -10, 90]])
    hands = model().predict(RGB, boxes, np.array([True, False, True, False]), 300.0)
    assert np.isfinite(hands.vertices_in_camera).all() and (hands.cam_t[:, 2] > 0).all()
    middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, np.ptp(boxes.reshape(4, 2, 2), axis=1).max(1)
    assert (np.linalg.norm(hands.uv.mean(1) - middle, axis=1) < side).all(), "also where nothing of it is in the image"
    assert hands.cam_t[0, 2] > 2 * hands.cam_t[1, 2], "what looks small is far away"


def test_no_boxes_give_no_hands() -> None:
    hands = model().predict(RGB, np.zeros((0, 4)), np.zeros(0, bool))
    assert len(hands) == 0 and hands.vertices.shape == (0, 778, 3) and hands.uv.shape == (0, 21, 2)


def test_with_the_camera_known_a_hand_is_where_it_is() -> None:
    """What the network would say of a hand far away, from which its place is found again."""
    boxes = np.array([[100.0, 50, 180, 160], [200, 60, 280, 150]])
    true, focal, principal = np.array([[0.1, -0.05, 0.9], [-0.2, 0.1, 0.6]]), np.array([410.0, 410.0]), (140.0, 125.0)
    squares = squares_of(boxes, np.array([True, False]), (WIDTH, RGB.shape[0]))
    px_per_metre = focal[0] / true[:, 2]
    uv = true[:, :2] * px_per_metre[:, None] + principal
    shift = (uv - squares.centre) / px_per_metre[:, None] * np.array([[1, 1], [-1, 1]])
    camera = np.concatenate((2 * px_per_metre[:, None] / squares.side[:, None], shift), axis=1)
    assert np.allclose(places(camera, squares, focal, np.array(principal)), true, atol=1e-5)
    assert np.allclose(places(camera, squares, 2 * focal, np.array(principal))[:, 2], 2 * true[:, 2], atol=1e-5)


def test_a_hand_can_be_picked() -> None:
    hands = model().predict(RGB, BOXES, RIGHT)
    assert np.array_equal(hands[~RIGHT].uv, hands.uv[1:3]) and len(hands[:1]) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": RGB[..., 0]}, r"\(H, W, 3\) uint8"),
        ({"image": RGB.astype(np.float32)}, "float32"),
        ({"focal": 0.0}, "above 0"),
        ({"principal": (np.nan, 0.0)}, "two numbers"),
        ({"batch": 0}, "batch"),
    ],
)
def test_what_cannot_be_used_is_said(changes: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"image": RGB, "boxes": BOXES, "right": RIGHT, **changes}
    with pytest.raises(ConfigError, match=said):
        model().predict(**given)


def test_a_checkpoint_gives_the_model_that_was_saved(tmp_path: Path) -> None:
    path, mano = write_checkpoint(tmp_path / "w.ckpt"), made_up_mano.write_pickle(tmp_path / "MANO_RIGHT.pkl")
    found, wanted = from_checkpoint(path, mano), model()
    assert found.network.config == wanted.network.config
    one, other = (made.predict(RGB, BOXES, RIGHT).vertices for made in (found, wanted))
    assert np.array_equal(one, other)
    assert from_checkpoint(path, made_up_mano.arrays(), heads=4).network.config.heads == 4


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"state_dict": {}}, "no weights of WiLoR"),
        ({"weights": 1}, "should hold `state_dict`; fetch wilor_final.ckpt again"),
        (
            {"state_dict": {}, "hyper_parameters": {"cfg": {"EXTRA": {"FOCAL_LENGTH": 600}}}},
            "EXTRA.FOCAL_LENGTH is 600",
        ),
    ],
)
def test_a_file_that_is_no_such_checkpoint_is_named(tmp_path: Path, held: dict[str, Any], said: str) -> None:
    torch.save(held, tmp_path / "w.ckpt")
    with pytest.raises(ConfigError, match=rf"w\.ckpt.*{said}"):
        from_checkpoint(tmp_path / "w.ckpt", made_up_mano.arrays())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone.more": torch.ones(1)}, r"unknown .*; fetch wilor_final\.ckpt again"),
        ({"backbone.decpose.bias": torch.ones(5)}, r"decpose\.bias should be .*; fetch wilor_final\.ckpt again"),
        ({"backbone.decpose.bias": "five"}, r"decpose\.bias should be"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_checkpoint(tmp_path / "w.ckpt", **changes)
    with pytest.raises(ConfigError, match=rf"w\.ckpt.*{said}"):
        from_checkpoint(path, made_up_mano.arrays())


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    """A class of the original's configuration is a stand-in; a command is one as well."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/exploded",)

    path = write_checkpoint(tmp_path / "w.ckpt")
    held = torch.load(path, weights_only=True)
    torch.save({**held, "callbacks": Bomb()}, path)
    assert from_checkpoint(path, made_up_mano.arrays()).network.config.width == 32
    assert not (tmp_path / "exploded").exists()
