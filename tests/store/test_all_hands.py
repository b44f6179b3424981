"""All hands of a video of several segments: stitched, stored, verified, read, and shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from hands_store import HANDS, ROWS, write_hands_store
from lifted_hands import rows_of, standing

import geoflow
from geoflow.engine.actor.splitting import _joined
from geoflow.fields import HAND_LEFT, HAND_RIGHT
from geoflow.report.overlays import hands_overlay
from geoflow.store.info import describe
from geoflow.store.verify import verify_store


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hands_store(tmp_path_factory.mktemp("run"))


def test_a_hand_has_one_number_through_the_video(path: Path) -> None:
    assert verify_store(path) == []
    with geoflow.open(path) as video:
        hands = video.hands.all
        assert hands.valid.shape == (40, ROWS) and hands.joints.shape == (40, ROWS, 21, 3)
        numbers = {}
        for name, (x, frames, side, _) in HANDS.items():
            here = hands.valid & (np.abs(hands.uv[..., 0, 0] - x) < 1) & np.isin(np.arange(40), frames)[:, None]
            if name != "f":
                assert here.sum(1).tolist() == [i in frames for i in range(40)], name
            numbers[name] = set(hands.id[here].tolist())
            assert set(hands.side[here].tolist()) <= {HAND_LEFT if side == "left" else HAND_RIGHT}
        assert all(len(found) == 1 for name, found in numbers.items() if name != "f"), numbers
        assert numbers["c"] != numbers["d"], "a hand that comes back later is not known to be the same"
        (a,) = numbers["a"]
        assert len(set(np.nonzero(hands.id == a)[1].tolist())) == 1, "it stays in its row"
        for row in hands.id.tolist():
            there = [number for number in row if number]
            assert len(there) == len(set(there))


def test_one_hand_is_read_by_its_number(path: Path) -> None:
    with geoflow.open(path) as video:
        hands = video.hands.all
        number = int(hands.id[9][np.abs(hands.uv[9, :, 0, 0] - 8) < 1][0])
        hand = hands.hand(number)
        assert np.flatnonzero(hand.valid).tolist() == list(HANDS["b"][1])
        assert hand.joints.shape == (40, 21, 3) and np.isnan(hand.joints[7]).all() and hand.confidence[7] == 0
        np.testing.assert_allclose(hand.uv[9, 0, 0], 8)
        assert hands.joints_m.shape == hands.joints.shape
        np.testing.assert_allclose(hand.joints_m[9], hands.joints_m[9][hands.id[9] == number][0])
        with pytest.raises(KeyError, match="no hand has the number 99"):
            hands.hand(99)


def test_more_hands_than_rows_are_told(path: Path) -> None:
    with geoflow.open(path) as video:
        hands = video.hands.all
        assert hands.found.tolist() == [sum(i in frames for _, frames, _, _ in HANDS.values()) for i in range(40)]
        (said,) = [line for line in video.remarks if "hands.max_hands" in line]
        assert said.startswith(
            "Up to 4 hands were found in a frame, and hands.max_hands keeps 3: some are left out in 3 "
        )
        totals = describe(video)["totals"]
        assert totals["hands"] == len(hands.numbers)
        assert totals["hands_left_jitter_mm"] == 0, "it stands still"
        seen = video.hands.right.valid
        three = (seen[:-2] & seen[1:-1] & seen[2:]).any()
        assert ("hands_right_jitter_mm" in totals) == three
        assert "hands in 40 frames" in video.recovered


def test_the_main_hand_is_found_among_all_also_where_it_is_smoothed_as_one(path: Path) -> None:
    with geoflow.open(path) as video:
        hands = video.hands
        before = [hands.further(i) for i in range(40)]
        size = np.linalg.norm(np.ptp(hands.left.uv[0], axis=0))
        moved = dataclasses.replace(hands, left=dataclasses.replace(hands.left, uv=hands.left.uv + 0.01 * size))
        assert [moved.further(i) for i in range(40)] == before and any(before)
        apart = dataclasses.replace(hands, left=dataclasses.replace(hands.left, uv=hands.left.uv + 0.3 * size))
        assert [apart.further(i) for i in range(40)] != before


def test_all_hands_are_drawn(path: Path) -> None:
    with geoflow.open(path) as video:
        drawn, words = hands_overlay(video, 12)
        assert drawn.count('<g class="left">') == 2 and drawn.count('<g class="right">') == 1
        assert words == ["left hand 90 %"] * 2 + ["right hand 90 %"]


@pytest.mark.parametrize(
    ("dataset", "value", "said"),
    [
        ("id", 7, "hands/all/id should be 0 where hands/all/valid is False"),
        ("joints", 0.5, "hands/all/joints should be NaN where hands/all/valid is False"),
        ("uv", np.nan, "hands/all/uv is not finite at a valid frame (5)"),
        ("wrist", 3.0, "hands/all/wrist has a matrix that is not a rotation"),
    ],
)
def test_verify_looks_at_every_row(path: Path, tmp_path: Path, dataset: str, value: float, said: str) -> None:
    copy = tmp_path / "clip.h5"
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "a") as file:
        valid = file["hands/all/valid"][5]
        row = int(np.flatnonzero(valid == (dataset in ("uv", "wrist")))[0])
        array = file[f"hands/all/{dataset}"]
        array[5, row] = value
    assert any(line.startswith(said) for line in verify_store(copy)), verify_store(copy)


def test_halves_of_a_segment_do_not_share_numbers() -> None:
    first, second = (rows_of([standing(10, range(2), 2)], 2, ROWS)["hands.all.id"] for _ in range(2))
    assert _joined("hands.all.id", first, second)[:, 0].tolist() == [1, 1, 2, 2]
    assert _joined("hands.all.side", first, second)[:, 0].tolist() == [1, 1, 1, 1]
