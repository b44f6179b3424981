"""The backend `wilor` without Ray and without MediaPipe: fields in, fields out, with small made-up weights."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import made_up_mano  # noqa: E402
from hand_drawing import hand_joints, place  # noqa: E402
from small_wilor import image, write_checkpoint  # noqa: E402

from geoflow import fields  # noqa: E402
from geoflow.backends import contract, loading, weights  # noqa: E402
from geoflow.backends.catalogue import load_models  # noqa: E402
from geoflow.errors import ConfigError, EnvironmentBroken  # noqa: E402
from geoflow.geometry.cameras import project  # noqa: E402
from geoflow.geometry.hands.hand_search import Place, Sight  # noqa: E402
from geoflow.geometry.hands.hand_sides import Detection  # noqa: E402
from geoflow.models.mano.rotations import from_axis_angle  # noqa: E402
from geoflow.segments import Segment, VideoInfo  # noqa: E402

WiLoR = loading.load("wilor")
HEIGHT, WIDTH, COUNT = 180, 240, 8
K = np.array([[225, 0, 119.5], [0, 225, 89.5], [0, 0, 1]], np.float32)
JOINTS = {"left": place(hand_joints("left"), (-0.12, 0, 0.5)), "right": place(hand_joints("right"), (0.12, 0, 0.5))}


class PretendedEye:
    """Sees a left and a right hand in every picture that is not grey."""

    def __init__(self, complexity: int, min_score: float) -> None:
        self.places = {side: Place(*project(joints.mean(0), K), 90, 0.0, 0.9) for side, joints in JOINTS.items()}

    def propose(self, rgb: np.ndarray) -> list[Place]:
        return list(self.places.values()) if rgb.std() > 1 else []

    def look(self, rgb: np.ndarray, place: Place) -> Sight | None:
        side = "left" if place.x < WIDTH / 2 else "right"
        joints = JOINTS[side]
        right = 0.95 if side == "right" else 0.05
        return Sight(Detection(project(joints, K), joints - joints.mean(0), right, 0.9), self.places[side])

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_checkpoint(folder / "wilor_final.ckpt")
    made_up_mano.write_pickle(folder / "MANO_RIGHT.pkl")
    return folder


@pytest.fixture
def own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("geoflow.models.mediapipe.eye.MediaPipeEye", PretendedEye)
    # What a made-up network says of a hand has nothing to do with it.
    return {"weights": str(folder), "mano": str(folder), "max_disagreement": 0}


def given(count: int = COUNT) -> dict[str, np.ndarray]:
    rgb = np.stack([image(HEIGHT, WIDTH, seed=i) for i in range(count)])
    return {"frames.rgb": rgb, "camera.intrinsics": np.tile(K, (count, 1, 1))}


def run(params: dict[str, Any], rows: dict[str, np.ndarray] | None = None, **video: Any) -> dict[str, np.ndarray]:
    stage = WiLoR(loading.make_params(WiLoR, params, slot="hands"))
    stage.setup()
    rows = given() if rows is None else rows
    count = len(rows["frames.rgb"])
    info = VideoInfo("v", "v.mp4", "", count, 30.0, HEIGHT, WIDTH, HEIGHT, WIDTH, **video)
    found = stage.process(Segment(info, 0, 0, count), rows)
    fields.check(found, stage.outputs, optional=stage.optional_outputs, who="wilor", num_frames=count)
    stage.teardown()
    return found


@pytest.mark.long
@pytest.mark.parametrize("more", [{}, {"vertices": True}])
def test_the_contract_is_kept(own: dict[str, Any], more: dict[str, Any]) -> None:
    assert contract.problems("wilor", {**own, **more}) == []


def test_both_hands_are_given_with_their_model(own: dict[str, Any]) -> None:
    found = run({**own, "vertices": True, "smoothing": 0})
    body = made_up_mano.body()
    for side in JOINTS:
        rows = {name: found[f"hands.{side}.{name}"] for name in ("joints", "uv", "mano_pose", "betas", "vertices")}
        assert found[f"hands.{side}.valid"].all() and not found[f"hands.{side}.filled"].any()
        assert found[f"hands.{side}.confidence"] == pytest.approx(0.9)
        assert np.abs(project(rows["joints"][0], K) - rows["uv"][0]).max() < 1e-3
        assert np.linalg.norm(rows["uv"].mean((0, 1)) - project(JOINTS[side].mean(0), K)) < 70, "in its crop"
        assert 0.2 < np.median(rows["joints"][..., 2]) < 1.5, "the known focal length gives the distance"
        joints, vertices = body.of_side(from_axis_angle(rows["mano_pose"]), rows["betas"], side)
        assert np.allclose(joints - joints[:, :1], rows["joints"] - rows["joints"][:, :1], atol=1e-5)
        assert np.allclose(vertices - joints[:, :1], rows["vertices"] - rows["joints"][:, :1], atol=1e-5)
    assert found["hands.all.found"].tolist() == [2] * COUNT
    assert sorted(found["hands.all.side"][0].tolist()) == [0, 0, 1, 2]


def test_depth_under_the_hands_brings_them_to_it(own: dict[str, Any]) -> None:
    plain = run({**own, "smoothing": 0})
    z = np.median(plain["hands.right.joints"][..., 2])
    depth = np.full((COUNT, HEIGHT, WIDTH), 1.2 * z - 0.02, np.float16)
    found = run({**own, "smoothing": 0}, given() | {"camera.depth": depth}, metric=True)
    wrist = found["hands.right.wrist"][:, 2, 3]
    assert np.median(found["hands.right.joints"][..., 2]) == pytest.approx(1.2 * z, rel=0.1), wrist
    assert np.abs(found["hands.right.uv"] - plain["hands.right.uv"]).max() < 0.1
    assert (found["hands.right.mano_scale"] > 1.05).all()


def test_every_second_look_fills_the_rest(own: dict[str, Any]) -> None:
    found = run({**own, "every": 2, "smoothing": 0})
    every = run({**own, "smoothing": 0})
    assert found["hands.left.valid"].all()
    assert np.flatnonzero(found["hands.left.filled"]).tolist() == [1, 3, 5], "the last frame is looked at, too"
    assert np.allclose(found["hands.left.mano_pose"][::2], every["hands.left.mano_pose"][::2], atol=1e-4)


def test_how_many_hands_go_at_once_changes_nothing(own: dict[str, Any]) -> None:
    one, other = (run({**own, "batch_size": size}) for size in (1, 5))
    assert all(np.allclose(one[name], other[name], atol=1e-3, equal_nan=True) for name in one)


def test_smoothing_is_on_unless_it_is_turned_off(own: dict[str, Any]) -> None:
    """A made-up network trembles from frame to frame, since the pictures have nothing in common."""
    rough, smooth = (run({**own, "smoothing": cutoff})["hands.right.wrist"][:, :3, 3] for cutoff in (0, 1.5))
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.6 * np.abs(np.diff(rough, axis=0)).mean()


def test_what_is_not_the_hand_that_was_found_is_left_out(own: dict[str, Any]) -> None:
    assert not run({**own, "max_disagreement": 0.01})["hands.all.valid"].any()
    assert run({**own, "max_disagreement": 5.0})["hands.left.valid"].all()


def test_two_hands_of_one_side_and_a_third_all_have_rows(own: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The main right hand is the larger one, so the nearer one; the other right hand is among all hands."""
    near = JOINTS["right"]
    monkeypatch.setitem(JOINTS, "further", place(hand_joints("right"), (0.12, -0.17, 0.7)))

    def look(self: PretendedEye, rgb: np.ndarray, place: Place) -> Sight | None:
        name = min(self.places, key=lambda n: np.hypot(place.x - self.places[n].x, place.y - self.places[n].y))
        joints, right = JOINTS[name], 0.05 if name == "left" else 0.95
        return Sight(Detection(project(joints, K), joints - joints.mean(0), right, 0.9), self.places[name])

    monkeypatch.setattr(PretendedEye, "look", look)
    found = run({**own, "smoothing": 0})
    assert found["hands.all.found"].tolist() == [3] * COUNT
    assert sorted(found["hands.all.side"][0].tolist()) == [0, 1, 2, 2]
    centre = found["hands.right.uv"].mean((0, 1))
    further = project(JOINTS["further"].mean(0), K)
    assert np.linalg.norm(centre - project(near.mean(0), K)) < np.linalg.norm(centre - further)
    fewer = run({**own, "smoothing": 0, "max_hands": 2})
    assert fewer["hands.all.valid"].shape == (COUNT, 2) and fewer["hands.all.found"].tolist() == [3] * COUNT


def test_grey_frames_have_no_hands(own: dict[str, Any]) -> None:
    found = run(own, given() | {"frames.rgb": np.full((COUNT, HEIGHT, WIDTH, 3), 128, np.uint8)})
    assert not any(array.any() for name, array in found.items() if name.endswith((".valid", ".found")))
    assert np.isnan(found["hands.left.mano_pose"]).all() and np.isnan(found["hands.all.betas"]).all()


class _Tensor(np.ndarray):
    def cpu(self) -> _Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return np.asarray(self)


def test_the_users_own_detector_finds_hands_as_well(own: dict[str, Any], folder: Path, monkeypatch: Any) -> None:
    """Of ultralytics only what is called: a model that gives boxes, classes and scores of a BGR picture."""
    boxes = np.array([[20, 40, 80, 130], [160, 30, 225, 140]], np.float32)
    rows = [values.view(_Tensor) for values in (boxes, np.array([0.0, 1.0]), np.array([0.8, 0.6]))]

    class Yolo:
        def __init__(self, path: str) -> None:
            assert path.endswith("detector.pt")

        def predict(self, bgr: np.ndarray, **options: Any) -> list[Any]:
            assert options["conf"] == 0.3 and bgr.flags.c_contiguous
            return [types.SimpleNamespace(boxes=types.SimpleNamespace(xyxy=rows[0], cls=rows[1], conf=rows[2]))]

    monkeypatch.setitem(sys.modules, "ultralytics", types.SimpleNamespace(YOLO=Yolo))
    found = run({**own, "detector": "yolo", "detector_weights": str(folder), "smoothing": 0})
    for side, box in zip(("left", "right"), boxes):
        assert found[f"hands.{side}.valid"].all()
        assert np.linalg.norm(found[f"hands.{side}.uv"].mean((0, 1)) - (box[:2] + box[2:]) / 2) < 50
    assert found["hands.right.confidence"][0] == pytest.approx(0.6)
    assert found["hands.all.right"][0][found["hands.all.side"][0] == 2] == pytest.approx(0.8)


def test_without_ultralytics_it_says_what_to_install(own: dict[str, Any], folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(EnvironmentBroken, match="ultralytics"):
        run({**own, "detector": "yolo", "detector_weights": str(folder)})


def test_who_lacks_the_hand_model_is_told_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path))
    (line,) = weights.problems("wilor", {"mano": ""})
    assert f"MANO_RIGHT.pkl should be in {tmp_path}/weights/mano" in line
    assert "register at https://mano.is.tue.mpg.de" in line and "put it there" in line
    with pytest.raises(ConfigError, match=r"mano\.is\.tue\.mpg\.de"):
        weights.locate("wilor", "mano")
    (line,) = weights.problems("wilor", {"mano": str(tmp_path)})
    assert "lacks MANO_RIGHT.pkl" in line and "register at" in line
    (tmp_path / "weights" / "mano").mkdir(parents=True)
    made_up_mano.write_pickle(tmp_path / "weights" / "mano" / "MANO_RIGHT.pkl")
    assert weights.problems("wilor", {"mano": ""}) == []


def test_what_it_needs_follows_from_its_parameters() -> None:
    assert sorted(WiLoR().weights()) == ["checkpoint", "mano"]
    yolo = WiLoR(loading.make_params(WiLoR, {"detector": "yolo"}, slot="hands"))
    assert sorted(yolo.weights()) == ["checkpoint", "detector", "mano"]
    assert not load_models()["wilor"].commercial and "MANO" in load_models()["wilor"].licence
    assert WiLoR().optional_outputs == ()
