"""The scores of every frame in the report: they show where in the video errors occur."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoflow.report.curve_figure import curve_figure

# Curve, heading, factor, unit, and the top of the drawing: a frame with a large error would flatten the others.
_DEPTH = (
    ("abs_rel", "AbsRel", 1.0, "", 1.0),
    ("coverage", "coverage", 100.0, " %", None),
    ("filled", "pixels with depth", 100.0, " %", None),
    ("spearman", "rank correlation with the true depth", 1.0, "", None),
    ("scale", "scale of the frame, difference from the video's", 100.0, " %", 50.0),
    ("flicker", "static points, change from the frame before", 100.0, " %", 20.0),
)
_POSES = (
    ("position_percent", "camera position, error in percent of the path", 1.0, " %", None),
    ("rotation_deg", "camera rotation, error", 1.0, "°", None),
)


def curve_section(scores: Mapping[str, Any]) -> str:
    """Return a drawing for each measured figure of `Scores.to_dict()["curves"]`; "" without any."""
    curves = scores.get("curves")
    if not curves:
        return ""
    frames, seams = np.array(curves["frame"], float), curves["seams"]
    drawings = {}
    for name, heading, factor, unit, top in _DEPTH:
        lines = {branch: _values(values[name]) for branch, values in curves["depth"].items() if name in values}
        if name == "scale":
            lines = {branch: line / (scores[branch]["scale"] or 1.0) - 1 for branch, line in lines.items()}
        lines = {branch: factor * line for branch, line in lines.items()}
        drawings[name] = curve_figure(heading, frames, lines, unit=unit, seams=seams, top=top)
    if drawings["coverage"]:
        del drawings["filled"]  # the two show nearly the same
    for name, heading, factor, unit, top in _POSES:
        lines = {"camera": factor * _values(curves["poses"][name])} if name in curves["poses"] else {}
        drawings[name] = curve_figure(heading, frames, lines, unit=unit, seams=seams, top=top)
    shown = "".join(f"<div>{drawing}</div>" for drawing in drawings.values() if drawing)
    bands = '<p class="soft">Grey bands are frames that two segments share.</p>' if seams else ""
    return f'<h3>Scores of every frame</h3><div class="curves">{shown}</div>{bands}' if shown else ""


def _values(curve: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in curve], float)
