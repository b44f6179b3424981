"""The parameters of a scan, as users give them."""

from __future__ import annotations

from typing import Any

import pytest

from geoflow.errors import ConfigError
from geoflow.scanning import ScanParams
from geoflow.scanning.fitness import MEANING


def test_settings_are_checked_and_become_plain() -> None:
    params = ScanParams.of({"looks": 8.0, "blur": 1, "refuse": ["still", "dark", "still"]})
    assert params.looks == 8 and params.blur == 1.0 and params.refuse == ("broken", "still", "dark")
    assert ScanParams.of({"refuse": "cuts, dark"}).refuse == ("broken", "cuts", "dark")
    assert ScanParams.of(None) == ScanParams() and {*ScanParams().refuse} < {*MEANING}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"blu": 0.5}, "blu: no such parameter; there are: looks"),
        ({"blur": 1.5}, "blur should be from 0 to 1, found 1.5"),
        ({"looks": 2}, "looks should be from 3 to 1000, found 2"),
        ({"looks": 3.5}, "looks should be a whole number"),
        ({"blur": "much"}, "blur should be a finite number"),
        ({"refuse": "ugly"}, "refuse should be some of broken, short"),
        ({"refuse": 3}, "refuse should be some of broken, short"),
    ],
)
def test_what_cannot_be_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ScanParams.of(settings)
