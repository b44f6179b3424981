"""What a store says of cameras that rest on a prior."""

from __future__ import annotations

from typing import Any

import numpy as np

from geoflow.fields import (
    DEPTH_ALIGNED,
    DEPTH_FLAT,
    LENS_FROM_PRIOR,
    LENS_GIVEN,
    UNIT_PRIOR,
    UNIT_TOO_FEW,
)
from geoflow.store.camera_remarks import camera_remarks


def said(metric: bool = True, **rows: Any) -> list[str]:
    file = {"camera/valid": np.array([True, True, True, False])}
    file |= {f"camera/{name}": np.array(row, np.uint8) for name, row in rows.items()}
    return list(camera_remarks(file, metric=metric))


def test_nothing_is_said_where_no_stage_states_it_or_all_is_well() -> None:
    assert said() == []
    assert said(unit=[UNIT_PRIOR] * 4, lens=[LENS_GIVEN] * 4, depth_source=[DEPTH_ALIGNED] * 4) == []


def test_the_reason_why_lengths_are_not_metres_is_said() -> None:
    (line,) = said(metric=False, unit=[UNIT_PRIOR, UNIT_PRIOR, UNIT_PRIOR, 0])
    assert "does not state metres" in line, "the frame without a pose has no say"
    (line,) = said(metric=False, unit=[UNIT_PRIOR, UNIT_TOO_FEW, UNIT_TOO_FEW, 0])
    assert "in 2 frames: too few frames have a prior" in line


def test_where_the_focal_length_is_from_and_frames_without_relief_are_said() -> None:
    lens, depth = said(lens=[LENS_FROM_PRIOR] * 4, depth_source=[DEPTH_FLAT, DEPTH_ALIGNED, DEPTH_FLAT, 0])
    assert "began with what the prior says" in lens
    assert depth.startswith("2 of 4 frames have no camera depth") and "relief" in depth
