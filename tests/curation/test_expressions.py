"""Conditions: what they choose, what unknown values do in them, and what is said of those that cannot be."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from geoflow.curation.expressions import filtered
from geoflow.errors import ConfigError

TABLE = pa.table(
    {
        "n": [0, 1, 2, 3],
        "quality": pa.array([0.2, 0.7, 0.9, None], pa.float32()),
        "hands": pa.array([0.0, 0.9, None, 1.0]),
        "video": ["a", "b", "b", "it's"],
        "metric": [True, False, True, None],
    }
)


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("quality > 0.6", [1, 2]),
        ("quality > 0.6 and hands > 0.5", [1]),
        ("quality > 0.6 or hands > 0.5", [1, 2, 3]),
        ("not (quality > 0.6)", [0]),  # what is unknown is not the opposite either
        ("0.1 < quality <= 0.7", [0, 1]),
        ("quality is None", [3]),
        ("hands is not None and not metric", [1]),
        ("video in ['a', \"it's\"]", [0, 3]),
        ("video not in ('a',)", [1, 2, 3]),
        ("quality not in [0.5]", [0, 1, 2]),
        ("video == 'b' and n != 1", [2]),
        ("-n + 2 * hands / 1 >= 0.8", [1]),
        (" n - 1 == 0 ", [1]),
        ("metric", [0, 2]),
    ],
)
def test_a_condition_chooses_the_rows_for_which_it_is_true(where: str, chosen: list[int]) -> None:
    assert filtered(TABLE, where)["n"].to_pylist() == chosen


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("qualty > 0.6", "there is no column 'qualty'; there are: n, quality, hands, video, metric"),
        ("quality > 0.6 AND hands > 0.5", "cannot be read at 'AND hands > 0.5'"),
        ("quality = 0.6", "cannot be read"),
        ("", "cannot be read"),
        ("True", "it names no column"),
        ("quality > 'high'", "they are: quality (float)"),
        ("quality", "they are: quality (float)"),
        ("quality and hands > 0.5", "they are: quality (float), hands (double)"),
        ("abs(quality) > 1", "'abs(quality)' cannot stand in it"),
        ("__import__('os').system('true')", "cannot stand in it"),
        ("quality.real > 1", "'quality.real' cannot stand in it"),
        ("quality in 3", "should be a list"),
        ("quality == None", "write quality is None"),
        ("video in [n]", "n in a list should be a number, or a text in quotes"),
        ("quality is 3", "use <, <=, >, >=, ==, != or in"),
    ],
)
def test_a_condition_that_cannot_be_is_named_with_what_helps(where: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        filtered(TABLE, where)
