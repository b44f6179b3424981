"""Masks of objects: cutting out, colours, depth at the edge, and state that is the same bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_objects import DISK, drawn_clip, iou

from geoflow.geometry.masks import mask_following
from geoflow.geometry.masks.colour_model import BINS, fitting, histogram, likeness, quantised
from geoflow.geometry.masks.cutting_out import from_prompts, main_piece, within_band
from geoflow.geometry.masks.followed_object import FollowedObject, packed, unpacked
from geoflow.geometry.masks.frame_step import FrameStep
from geoflow.geometry.masks.mask_following import FollowingParams, follow
from geoflow.segments import Prompt

CLIP = drawn_clip(4, bar=False)
FIRST = CLIP.label[0] == DISK


def test_histograms_are_shares_and_tell_colours_apart() -> None:
    cells = quantised(CLIP.rgb[0])
    disk, wall = histogram(cells, FIRST), histogram(cells, ~FIRST)
    assert disk.shape == (BINS**3,) and disk.sum() == pytest.approx(1, abs=1e-5)
    assert likeness(disk, disk) == pytest.approx(1, abs=1e-5) and likeness(disk, wall) < 0.4
    fits = fitting(cells, disk, wall)
    assert fits[FIRST].mean() > 0.8 and fits[~FIRST].mean() < 0.2
    assert not histogram(cells, np.zeros_like(FIRST)).any()


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(1, 0, (12, 27, 48, 63)),
        Prompt(1, 0, points=((30, 45, True), (22, 40, True))),
        Prompt(1, 0, (5, 20, 60, 70), ((30, 45, True), (55, 65, False))),
    ],
)
def test_prompts_cut_the_object_out(prompt: Prompt) -> None:
    assert iou(from_prompts(CLIP.rgb[0], [prompt]), FIRST) > 0.85


def test_prompts_that_leave_nothing_to_decide() -> None:
    assert from_prompts(CLIP.rgb[0], [Prompt(1, 0, (-5, -5, 400, 400))]).all()
    assert not from_prompts(CLIP.rgb[0], [Prompt(1, 0, points=((3, 3, False),))]).any()


def test_a_mask_that_is_off_is_cut_out_anew_at_its_edge() -> None:
    shifted = np.roll(FIRST, 3, axis=1)
    found = within_band(CLIP.rgb[0], shifted, np.zeros_like(FIRST), 6)
    assert iou(found, FIRST) > 0.9 > iou(shifted, FIRST)
    nothing = np.zeros_like(FIRST)
    assert np.array_equal(within_band(CLIP.rgb[0], nothing, nothing, 6), nothing)


def test_small_pieces_fall_away_unless_a_point_lies_on_them() -> None:
    mask = np.zeros((20, 20), bool)
    mask[:10, :10], mask[15:17, 15:17] = True, True
    assert main_piece(mask).sum() == 100
    assert main_piece(mask, [(15, 16)]).sum() == 4
    assert main_piece(mask, [(12, 12)]).sum() == 100


def test_what_passes_before_an_object_is_not_taken_for_it() -> None:
    """Something of the object's own colours covers a half of it: only depth can tell."""
    rgb, depth = CLIP.rgb[:2].copy(), CLIP.depth[:2].astype(np.float32)
    hidden = (CLIP.label[1] == DISK) & (np.indices(FIRST.shape)[1] > 36)
    depth[1][hidden] = 1.0
    item = FollowedObject.shown(DISK, FIRST, quantised(rgb[0]), depth[0])
    step = FrameStep.between(rgb[0], rgb[1], depth[0], depth[1])
    nobody = np.zeros_like(FIRST)
    with_depth = follow(item, step, nobody, FollowingParams()).mask
    blind = follow(item, replace(step, depth=None, depth_before=None), nobody, FollowingParams()).mask
    assert not (with_depth & hidden).any() and (blind & hidden).mean() > 0.8 * hidden.mean()


def test_a_side_of_other_colours_belongs_to_what_depth_joins_it_to() -> None:
    depth = np.full((60, 60), 4, np.float32)
    depth[20:40, 20:40] = 2
    carried = np.zeros((60, 60), bool)
    carried[20:40, 20:36] = True  # four columns of the box have only come into view
    may = np.abs(depth / 2 - 1) < 0.2
    found = mask_following._standing_free(depth, carried, may, band=6)
    assert found[20:40, 36:40].all() and not found[:, 41:].any()
    floor = depth.copy()
    floor[30:, :] = 2  # now it stands on a floor, which depth does not part from it
    found = mask_following._standing_free(floor, carried, np.abs(floor / 2 - 1) < 0.2, band=6)
    assert not found[42:, :].any()


def test_objects_travel_between_actors_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    item = FollowedObject.shown(7, FIRST, quantised(CLIP.rgb[0]), CLIP.depth[0].astype(np.float32))
    item = replace(item, speed=rng.normal(size=2), hidden=rng.random(FIRST.shape) > 0.5, lost=3)
    (again,) = unpacked(packed([item]), FIRST.shape)
    for name, value in vars(item).items():
        found = getattr(again, name)
        assert np.array_equal(found, value) and np.asarray(found).dtype == np.asarray(value).dtype, name
    assert unpacked(packed([]), FIRST.shape) == []
