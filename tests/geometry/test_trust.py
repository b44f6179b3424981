"""What becomes of structures whose lens or whose order of depth is not told."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from geoflow import fields
from geoflow.geometry.motion import starts, trust
from geoflow.geometry.motion.bundle import Bundle
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.structure import Structure
from geoflow.geometry.motion.trust import with_told_lens

CHAINS = Chains(np.zeros((6, 4, 2), np.float32), [0, 3, 5], 48, 64)


def _structure(posed: int = 6, lead: float = 1.0) -> Structure:
    valid = np.arange(6) < posed
    poses = np.where(valid[:, None, None], np.eye(4), np.nan)
    return Structure(np.eye(3, dtype=np.float32), 0.0, poses, valid, np.zeros((4, 3)), 5.0, np.zeros(6, np.uint8), lead)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the judges say; a test sets it."""
    found = {"error": 0.05, "gain": 0.0}  # the gain is that of one run of three
    monkeypatch.setattr(trust, "focal_error", lambda posed: found["error"])
    monkeypatch.setattr(trust, "_runs", lambda structure, chains: [0.0, found["gain"], 0.0])
    monkeypatch.setattr(trust, "gain_of_free_lens", lambda run: run)
    return found


def _never(lens: np.ndarray) -> list[Structure]:
    raise AssertionError("nothing is to be mapped again")


@pytest.mark.parametrize("error, lens", [(0.05, fields.DOUBT_NONE), (0.2, fields.DOUBT_FOCAL)])
def test_a_told_lens_is_kept_with_its_error(errors: dict[str, float], error: float, lens: int) -> None:
    errors["error"] = error
    (found,) = with_told_lens([_structure()], _never, CHAINS, None)
    assert (found.focal_error, found.lens) == (error, lens) and found.valid.all()


def test_a_stated_lens_replaces_a_less_certain_one(errors: dict[str, float]) -> None:
    errors["error"] = 0.2
    lenses: list[np.ndarray] = []
    (found,) = with_told_lens([_structure()], lambda lens: lenses.append(lens) or [_structure(5)], CHAINS, 60.0)
    assert found.lens == fields.DOUBT_STATED and found.focal_error == 0.15 and found.valid.sum() == 5
    assert lenses[0][0, 0] == 60


@pytest.mark.parametrize("error", [0.5, np.inf])
def test_what_no_lens_explains_is_withdrawn_and_says_why(errors: dict[str, float], error: float) -> None:
    errors.update(error=error, gain=0.1)  # another lens explains the pictures better than the assumed one
    (found,) = with_told_lens([_structure()], lambda lens: [_structure()], CHAINS, None)
    assert not found.valid.any() and (found.doubt == fields.DOUBT_FOCAL).all()


def test_an_assumption_rescues_pictures_that_a_free_lens_does_not_explain(errors: dict[str, float]) -> None:
    (found,) = with_told_lens([], lambda lens: [_structure()], CHAINS, None)
    assert found.lens == fields.DOUBT_ASSUMED and found.valid.all()


def test_no_assumption_rescues_a_world_that_is_not_told_from_its_mirror_image(errors: dict[str, float]) -> None:
    errors["error"] = 0.5
    (found,) = with_told_lens([_structure(lead=0.0)], _never, CHAINS, None)
    assert found.lead == 0.0
    assert with_told_lens([], lambda lens: [_structure(lead=0.0)], CHAINS, None) == []


def test_fewer_frames_with_an_assumed_lens_do_not_replace_a_part_whose_lens_is_told(
    errors: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([0.5, 0.05])
    monkeypatch.setattr(trust, "focal_error", lambda posed: next(told))
    first, second = with_told_lens([_structure(), _structure(4)], lambda lens: [_structure(2)], CHAINS, None)
    assert not first.valid.any() and first.doubt[0] == fields.DOUBT_FOCAL
    assert second.valid.sum() == 4 and second.lens == fields.DOUBT_NONE


class _World:
    """A bundle that adjustment does not change."""

    def __init__(self, misfit: float, mirror: _World | None = None) -> None:
        self.misfit, self.mirrored = lambda: misfit, lambda: mirror

    def adjusted(self, **_: object) -> _World:
        return self


@pytest.mark.parametrize(
    "order, misfit, lead", [(-0.9, 1.3, 0.3), (-0.9, 0.9, -0.1), (0.9, 0.9, -0.1), (0.9, 0.99, 1.0), (0.9, 1.3, 1.0)]
)
def test_a_mirror_image_that_turns_back_to_a_better_world_counts_against_the_bundle(
    monkeypatch: pytest.MonkeyPatch, order: float, misfit: float, lead: float
) -> None:
    monkeypatch.setattr(starts, "same_order", lambda a, b: order)
    bundle = cast(Bundle, _World(1.0, _World(misfit)))
    assert starts.lead_over_mirror(bundle, focal=True) == pytest.approx(lead)
