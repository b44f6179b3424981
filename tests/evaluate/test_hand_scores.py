from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hand_drawing import hand_joints, place
from rich.console import Console

from geoflow.bench import hand_bench as bench
from geoflow.bench.hand_truth import read_sources
from geoflow.evaluate.hand_scores import (
    FoundHand,
    HandRow,
    TrueHand,
    joint_errors_mm,
    match,
    mean_hands,
    rows,
    side_of_joints,
    summarise,
)

UV = hand_joints()[:, :2] * 1000  # some 80 by 180 px


def _true(x: float = 0.0, side: str = "right") -> TrueHand:
    return TrueHand.of_joints(side, UV + [x, 0], hand_joints())


def _found(x: float = 0.0, side: str = "right", xyz: np.ndarray | None = None) -> FoundHand:
    return FoundHand(side, UV + [x, 0], xyz)


def test_each_hand_found_is_used_once_and_the_nearest_goes_first() -> None:
    true = [_true(0), _true(60)]
    assert match([_found(50), _found(10)], true) == [1, 0]
    assert match([_found(55)], true) == [None, 0]
    assert match([_found(1000)], true) == [None, None]
    assert match([], true) == [None, None]


def test_joints_count_as_near_up_to_a_fifth_of_the_longer_side() -> None:
    size = _true().size
    (row,) = rows([_found(0.19 * size)], [_true()])
    assert (row.found, row.joints, row.near, row.side) == (True, 21, 21, True)
    (row,) = rows([_found(0.21 * size, "left")], [_true()])
    assert (row.near, row.side) == (0, False)


def test_joints_that_nobody_annotated_do_not_count() -> None:
    uv = UV.copy()
    uv[5:] = np.nan
    (row,) = rows([_found(0)], [TrueHand.of_joints("", uv)])
    assert (row.joints, row.near, row.side) == (5, 5, None)


def test_a_box_is_enough_to_say_that_a_hand_was_found() -> None:
    box = TrueHand("left", np.r_[UV.min(0), UV.max(0)])
    (row,) = rows([_found(20, "left")], [box])
    assert (row.found, row.joints, row.side) == (True, 0, True)
    assert not rows([_found(200, "left")], [box])[0].found


def test_3d_errors_forgive_place_and_only_the_second_forgives_scale_and_turn() -> None:
    true = hand_joints()
    larger = place(true * 1.1, (0, 0, 1))
    by_root, by_shape = joint_errors_mm(larger, true)
    assert by_root > 50 and by_shape == pytest.approx(0, abs=1e-6)
    assert joint_errors_mm(true + 3, true)[0] == pytest.approx(0, abs=1e-6)
    assert joint_errors_mm(true * 1.1, true)[0] == pytest.approx(100 * np.linalg.norm(true, axis=1).mean(), rel=1e-6)


def test_sums_over_rows() -> None:
    counted = [HandRow(50, True, 20, 15, True, 10.0, 5.0), HandRow(50, True, 10, 0, None), HandRow(50, False)]
    scores = summarise(counted, extra=2)
    assert scores.hands == 3 and scores.found == pytest.approx(2 / 3) and scores.pck == pytest.approx(0.5)
    assert scores.sides == 1 and scores.sides_told == 1 and scores.error_mm == 10 and scores.extra == 2
    nothing = summarise([HandRow(50, False)])
    assert nothing.found == 0 and np.isnan(nothing.pck) and np.isnan(nothing.sides)


def test_the_mean_hand_lies_in_every_box() -> None:
    true = [_true(0), _true(500, "left")]
    placed = mean_hands(true)
    np.testing.assert_allclose(placed[1].uv, true[1].uv)  # all hands are alike here, so the mean is each of them
    assert [hand.side for hand in placed] == ["right", "right"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_bent_fingers_tell_the_side(side: str) -> None:
    assert side_of_joints(place(hand_joints(side, 20), (0, 0, 0.5), tilt_deg=30, roll_deg=50)) == side
    assert side_of_joints(hand_joints(side, 0) * [1, 1, 0] + [0, 0, 1.0]) == ""


def test_footage_is_read_with_its_joints_in_order(tmp_path: Path) -> None:
    """A photo set, a clip with joints in another order, and a clip with boxes; a picture is halved on loading."""
    for name, count in (("photos", 1), ("clip", 3), ("looked_through", 2)):
        (tmp_path / name / "frames").mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(tmp_path / name / "frames" / f"{i:05d}.png"), np.zeros((100, 200, 3), np.uint8))
    keypoints = np.c_[UV + 20, np.ones(21)]
    keypoints[3, 2] = 0
    photo = {
        "frame": "00000.png",
        "source": "a/set/b.jpg",
        "hands": [{"side": "left", "keypoints": keypoints.tolist()}],
    }
    (tmp_path / "photos" / "hands.json").write_text(json.dumps([photo, {**photo, "hands": None}]))
    parts = [f"{f}_{p}" for p in ("mcp", "pip", "dip", "tip") for f in ("thumb", "index", "middle", "ring", "little")]
    names = ["wrist", *parts]
    order = [0, *(1 + finger + 5 * joint for finger in range(5) for joint in range(4))]
    xyz = np.empty((3, 21, 3))
    xyz[:, order] = place(hand_joints("right", 20), (0, 0, 0.5))
    np.savez(
        tmp_path / "clip" / "gt.npz", hand_pixels=xyz[..., :2] * 100 + 50, hand_joints=xyz, hand_names=names,
        intrinsics=np.eye(3), time=np.arange(3) / 10,
    )  # fmt: skip
    np.savez(tmp_path / "looked_through" / "gt.npz", time=np.arange(2) / 20)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"looked_through": {"1": {"right": [0.1, 0.2, 0.3, 0.4]}}}))

    clip, looked, photos = read_sources(tmp_path, boxes)
    assert (clip.name, clip.photos, clip.fps) == ("clip", False, 10)
    assert clip.pictures[0].hands is not None and clip.pictures[0].hands[0].side == "right"
    assert (looked.pictures[0].hands, looked.fps) == (None, 20)
    _, _, hands = looked.pictures[1].load(100)
    assert hands is not None
    np.testing.assert_allclose(hands[0].box, [9.5, 9.5, 29.5, 19.5])
    assert photos.name == "set" and len(photos.pictures) == 1
    rgb, _, hands = photos.pictures[0].load(100)
    assert hands is not None and hands[0].uv is not None and rgb.shape == (50, 100, 3)
    np.testing.assert_allclose(hands[0].uv[0], (keypoints[0, :2] + 0.5) / 2 - 0.5)
    assert np.isnan(hands[0].uv[3]).all()


def test_the_bench_counts_what_a_backend_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that finds one right hand in its place in the first picture of every segment, and nothing later."""
    truth = place(hand_joints("right", 20), (0, 0, 0.5))
    uv = truth[:, :2] * 500 + 100
    for name, photos, hands in (("clip", False, True), ("crops", True, True), ("empty", True, False)):
        (tmp_path / name / "frames").mkdir(parents=True)
        for i in range(4):
            cv2.imwrite(str(tmp_path / name / "frames" / f"{i}.png"), np.zeros((200, 200, 3), np.uint8))
        joints = {"hand_pixels": np.tile(uv, (4, 1, 1)), "hand_joints": np.tile(truth, (4, 1, 1))} if hands else {}
        np.savez(tmp_path / name / "gt.npz", photos=photos, intrinsics=np.eye(3), time=np.arange(4) / 10, **joints)
    (tmp_path / "boxes.json").write_text(json.dumps({"empty": 2}))

    @contextmanager
    def runner(settings: dict[str, Any], here: bool) -> Iterator[bench.Run]:
        def run(segment: Any, given: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
            count = len(segment)
            valid = np.arange(count) == 0
            hand = {"valid": valid, "uv": np.tile(uv, (count, 1, 1)), "joints": np.tile(truth, (count, 1, 1))}
            missing = {**hand, "valid": np.zeros(count, bool)}
            sides = {"right": hand, "left": missing}
            return {f"hands.{side}.{name}": a for side, rows in sides.items() for name, a in rows.items()}, 0.5 * count

        yield run

    monkeypatch.setattr(bench, "_runner", runner)
    found = bench.bench_hands(
        tmp_path, boxes=tmp_path / "boxes.json", settings={}, here=True, most_photos=10, longest=200, console=Console()
    )
    assert (found["sources"]["clip"]["all"]["found"], found["sources"]["clip"]["second_half"]["found"]) == (0.25, 0)
    crops = found["sources"]["crops"]["all"]
    assert (crops["found"], crops["pck"], crops["sides"], crops["error_mm"], crops["extra"]) == (1, 1, 1, 0, 0)
    assert (found["sources"]["empty"]["all"]["hands"], found["all"]["extra"]) == (0, 2)
    assert (found["all"]["hands"], found["all"]["found"], found["mean of the sources"]["found"]) == (8, 0.625, 0.625)
    assert (found["frames"], found["cpu_s_per_frame"]) == (10, 0.5)
    assert found["baselines"]["nothing found"]["found"] == 0
    json.dumps(found)
