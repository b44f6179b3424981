"""The field table catches what a stage gets wrong, and says what it was."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.errors import StageError
from geoflow.fields import ANYTHING, FIELDS, NAN, NEVER, ZERO, Field, check, known_share
from geoflow.values.field import LENGTHS, NUMBER, POSES, TOGETHER

GOOD = {
    "prior.points": np.zeros((4, 6, 8, 3), np.float16),
    "prior.mask": np.zeros((4, 6, 8), bool),
    "prior.intrinsics": np.zeros((4, 3, 3), np.float32),
}


def test_a_row_prints_as_its_name_form_and_meaning() -> None:
    assert repr(FIELDS["tracks.uv"]) == "Field(tracks.uv: float32 (T, N, 2) px, position in the image)"
    assert repr(FIELDS["camera.valid"]) == "Field(camera.valid: bool (T), the frame has a full pose)"


def test_good_output_passes() -> None:
    check(GOOD, tuple(GOOD), who="prior", num_frames=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior.mask": np.zeros((4, 6, 9), bool)}, r"prior.mask should have W=8 .* found \(4, 6, 9\)"),
        ({"prior.mask": np.zeros((4, 6), bool)}, r"should have shape \(T H W\)"),
        ({"prior.points": np.zeros((4, 6, 8, 3))}, "should be float16, found float64"),
        ({"prior.intrinsics": [[1.0]]}, "should be a numpy array .* found list"),
        ({"prior.intrinsics": np.zeros((5, 3, 3), np.float32)}, "should have T=4"),
        ({"camera.valid": np.zeros(4, bool)}, r"undeclared \['camera.valid'\]"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(StageError, match=message):
        check({**GOOD, **change}, tuple(GOOD), who="prior", num_frames=4)


def test_a_missing_output_is_named() -> None:
    with pytest.raises(StageError, match=r"left out \['prior.mask'\]"):
        check({k: v for k, v in GOOD.items() if k != "prior.mask"}, tuple(GOOD), who="prior")


def test_groups_bind_their_own_symbols() -> None:
    arrays = {"frames.index": np.zeros(3, np.int64), "camera.valid": np.zeros(5, bool)}
    check(arrays, tuple(arrays), who="stitch")
    with pytest.raises(StageError):
        check(arrays, tuple(arrays), who="stitch", num_frames=3)


def test_dense_maps_travel_as_float16() -> None:
    dense = [f for f in FIELDS.values() if "H W" in f.shape and f.dtype.startswith("float")]
    assert dense and all(f.dtype == "float16" for f in dense)


POINTS = np.full((4, 6, 8, 3), 2, np.float16)
MASK = np.arange(4 * 6 * 8).reshape(4, 6, 8) % 2 == 0
CAMERA = {
    "camera.intrinsics": np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)),
    "camera.cam_from_world": np.tile(np.eye(4, dtype=np.float32), (4, 1, 1)),
    "camera.depth": np.where(MASK, np.float16(2), np.float16(0)),
    "camera.valid": np.array([True, True, False, True]),
}
HAND = {
    "hands.left.valid": np.array([True, False]),
    "hands.left.joints": np.stack([np.zeros((21, 3)), np.full((21, 3), np.nan)]).astype(np.float32),
    "hands.left.confidence": np.array([0.5, 0], np.float32),
}
TRACKS = {
    "tracks.xyz": np.tile(np.array([[1, 2, 3], [np.nan] * 3], np.float32), (3, 1, 1)),
    "tracks.visible": np.array([[True, False]] * 3),
    "tracks.uv": np.tile(np.array([[1, 2], [np.nan, np.nan]], np.float32), (3, 1, 1)),
    "tracks.query": np.zeros((2, 4), np.float32),
}


def prior(points: np.ndarray) -> dict[str, np.ndarray]:
    return {**GOOD, "prior.points": points, "prior.mask": MASK}


def put(name: str, arrays: dict[str, np.ndarray], where: tuple, value: float) -> dict[str, np.ndarray]:
    changed = arrays[name].copy()
    changed[where] = value
    return {**arrays, name: changed}


FRAMES = {"frames.time": np.arange(4, dtype=np.float64)}
SEEN, UNSEEN = (2, 0, 0), (2, 0, 1)  # pixels in the mask, and not
FAULTS = [
    (put("prior.points", prior(POINTS), (*SEEN, 0), np.nan), "prior.points should be finite where prior.mask is True"),
    (put("prior.points", prior(POINTS), (*SEEN, 0), np.inf), r"1 infinite values \(float16 ends at 65504\) in row 2"),
    (put("prior.points", prior(POINTS), (*SEEN, 2), 0), "a depth above 0 where prior.mask is True, found 0 in row 2"),
    (put("prior.points", prior(POINTS), (*SEEN, 2), -1), "a depth above 0 where prior.mask is True, found -1"),
    (put("prior.intrinsics", prior(POINTS), (1, 0, 0), np.nan), "prior.intrinsics should be finite where prior.mask"),
    (put("prior.intrinsics", prior(POINTS), (1, 0, 0), np.inf), "prior.intrinsics should be finite or NaN"),
    (put("camera.depth", CAMERA, UNSEEN, np.nan), "camera.depth should be finite, found 1 that are NaN in row 2"),
    (put("camera.depth", CAMERA, UNSEEN, np.inf), "camera.depth should be finite, found 1 infinite"),
    (put("camera.depth", CAMERA, UNSEEN, -0.5), "camera.depth should be a depth of 0 or more, found -0.5"),
    (
        put("camera.cam_from_world", CAMERA, (3, 0, 3), np.nan),
        "finite where camera.valid is True, found 1 that are NaN",
    ),
    (put("camera.cam_from_world", CAMERA, (2, 0, 3), np.inf), "camera.cam_from_world should be finite or NaN"),
    (put("camera.intrinsics", CAMERA, (0, 1, 1), np.nan), "camera.intrinsics should be finite where camera.valid"),
    (put("hands.left.joints", HAND, (0, 20, 2), np.nan), "hands.left.joints should be finite where hands.left.valid"),
    (put("hands.left.confidence", HAND, (1,), np.nan), "hands.left.confidence should be finite, found"),
    (put("tracks.uv", TRACKS, (1, 0, 1), np.nan), "tracks.uv should be finite where tracks.visible is True"),
    (put("tracks.xyz", TRACKS, (1, 1, 1), np.inf), "tracks.xyz should be finite or NaN"),
    (put("tracks.xyz", TRACKS, (1, 0, 1), np.nan), "tracks.xyz should be finite where tracks.visible is True"),
    (put("frames.time", FRAMES, (3,), np.nan), "frames.time should be finite, found 1 that are NaN in row 3"),
]


@pytest.mark.parametrize(("arrays", "message"), FAULTS)
def test_values_that_a_row_forbids_are_the_stages_fault(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(StageError, match=message):
        check(arrays, tuple(arrays), who="stage")


@pytest.mark.parametrize(
    "arrays",
    [
        prior(POINTS),
        put("prior.points", prior(POINTS), UNSEEN, np.nan),
        put("prior.points", prior(POINTS), UNSEEN, -np.inf),
        put("camera.depth", CAMERA, UNSEEN, -0.0),
        put("camera.intrinsics", CAMERA, (2,), np.nan),
        put("camera.cam_from_world", CAMERA, (2,), np.nan),
        HAND,
        TRACKS,
        {name: array[:0] for name, array in HAND.items()},
        {"stitch.scale": np.array([np.nan], np.float32)},
    ],
)
def test_what_is_not_known_may_look_as_its_row_says(arrays: dict[str, np.ndarray]) -> None:
    check(arrays, tuple(arrays), who="stage")


def test_a_fault_far_into_a_large_map_is_found() -> None:
    arrays = {"camera.depth": np.ones((40, 240, 320), np.float16), "camera.valid": np.ones(40, bool)}
    arrays["camera.depth"][39, 239, 319] = np.inf
    with pytest.raises(StageError, match="in row 39"):
        check(arrays, tuple(arrays), who="camera")


def test_each_row_says_what_is_not_known() -> None:
    for row in FIELDS.values():
        assert row.invalid in (NEVER, ZERO, NAN, ANYTHING)
        if row.invalid != NEVER or row.depth:
            assert row.dtype.startswith("float") or row.codes or row.form == NUMBER, (
                f"{row.name} cannot be {row.invalid}"
            )
        if row.invalid == ANYTHING:
            assert row.holds, f"nothing says where {row.name} is known"
        if row.holds:
            assert_tells(FIELDS[row.holds], row)


def assert_tells(holds: Field, row: Field) -> None:
    assert holds.dtype == "bool" and holds.group == row.group
    assert holds.shape.split()[0] == row.shape.split()[0]


def test_each_row_names_fields_that_can_say_what_it_needs_of_them() -> None:
    for row in FIELDS.values():
        if row.outside:
            assert_tells(FIELDS[row.outside], row)
        if row.filler:
            assert row.dtype == "bool" and FIELDS[row.filler].outside == row.name
        if row.metres:
            assert row.moves == LENGTHS and FIELDS[row.metres].unit == "scene/m"
        if "scene" in row.unit and row.unit != "scene/m":
            assert row.space in ("camera", "world"), f"stitch cannot tell how {row.name} moves"
        if row.moves == POSES:
            assert row.outside, f"nothing says where {row.name} is a full pose"
        if row.fade == TOGETHER:
            assert row.outside
        assert not row.codes or row.unit == "code"


def test_how_much_is_known_is_counted_by_the_table() -> None:
    assert known_share(prior(POINTS), count=2) == {"prior.mask": (48, 96)}
    assert known_share(CAMERA) == {"camera.depth": (96, 192), "camera.valid": (3, 4)}
    assert known_share(HAND | TRACKS) == {"hands.left.valid": (1, 2), "tracks.visible": (3, 6)}
    assert known_share(FRAMES) == {}
