"""The field table catches what a stage gets wrong, and says what it was."""

from __future__ import annotations

import numpy as np
import pytest

from geoflow.errors import StageError
from geoflow.fields import FIELDS, check

GOOD = {
    "prior.points": np.zeros((4, 6, 8, 3), np.float16),
    "prior.mask": np.zeros((4, 6, 8), bool),
    "prior.intrinsics": np.zeros((4, 3, 3), np.float32),
}


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
