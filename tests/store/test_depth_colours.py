"""The one map of colours for depth, and that nothing else maps depth to colours."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import geoflow
from geoflow.store.depth_colours import GREY, colour_depth, inverse_range, turbo_gradient, turbo_steps


def test_unknown_depth_is_grey_and_near_is_red():
    depth = np.array([[0, 1.0, 4.0]], np.float32)
    colours = colour_depth(depth, (0.25, 1.0))
    assert tuple(colours[0, 0]) == GREY
    assert colours[0, 1, 0] > 90 and colours[0, 1, 2] < 40  # turbo ends in dark red
    assert colours[0, 2, 2] > colours[0, 2, 1]  # and begins in dark blue
    low, high = inverse_range([np.zeros((2, 2), np.float32)])
    assert low < high
    low, high = inverse_range([np.full((2, 2), 3, np.float32)])
    assert low < high  # a single depth must not divide by zero


def test_without_ends_a_picture_has_its_own_range():
    depth = np.linspace(1, 5, 100, dtype=np.float32).reshape(10, 10)
    assert np.array_equal(colour_depth(depth), colour_depth(depth, inverse_range([depth])))
    assert (colour_depth(np.zeros((2, 3))) == GREY).all()


def test_the_steps_are_those_of_the_pictures():
    places, colours = zip(*turbo_steps(3))
    assert places == (0, 0.5, 1) and turbo_gradient().count("rgb(") == 17
    near = colour_depth(np.array([[1.0]]), (0.25, 1.0))[0, 0]
    assert colours[2] == "rgb({},{},{})".format(*near)


def test_depth_is_coloured_in_one_place_only():
    folder = Path(geoflow.__file__).parent
    named = re.compile(r"applyColorMap|COLORMAP_|inferno|viridis|colorscale['\"]?[:=] *['\"]", re.IGNORECASE)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.py") if named.search(path.read_text())}
    assert found == {"store/depth_colours.py"}
