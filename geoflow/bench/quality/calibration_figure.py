"""The calibration as a picture: quality beside the true errors, a point per segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geoflow.errors import StoreError

_PANEL, _MARGIN = (560, 440), (70, 16, 46, 58)  # px: width, height; left, right, top, bottom
_MADE, _REAL, _INK, _FAINT = (180, 110, 30), (40, 90, 220), (60, 60, 60), (222, 222, 222)  # BGR
_TICKS = {"abs_rel": (0.02, 0.05, 0.1, 0.2, 0.5), "ate_percent": (0.1, 0.3, 1, 3, 10, 30)}
_TITLES = {"abs_rel": "AbsRel of the depth", "ate_percent": "ATE, % of the path"}


def draw_calibration(rows: Sequence[dict[str, Any]], spearman: dict[str, Any], path: Path) -> None:
    """Write a PNG of two panels: AbsRel and ATE over quality. Segments without an error stand on a line of their own.

    Raises StoreError if it cannot be written.
    """
    panels = [_panel(rows, error, spearman["everything"][error]) for error in _TITLES]
    if not cv2.imwrite(str(path), np.concatenate(panels, axis=1)):
        raise StoreError(f"{path} cannot be written; name a file that ends in .png, in a folder that is there")


def _panel(rows: Sequence[dict[str, Any]], error: str, rho: dict[str, Any]) -> np.ndarray:
    width, height = _PANEL
    left, right, top, bottom = _MARGIN
    picture = np.full((height, width, 3), 255, np.uint8)
    ticks = _TICKS[error]
    known = [row[error] for row in rows if row[error] is not None]
    low, high = (np.log(f) for f in (min([*known, ticks[0]]) * 0.9, max([*known, ticks[-1]]) * 1.1))
    lost = top + 14  # the line of segments without an error

    def x(quality: float) -> int:
        return int(left + quality * (width - left - right))

    def y(value: float | None) -> int:
        if value is None:
            return lost
        share = (np.log(max(value, 1e-6)) - low) / (high - low)
        return int(height - bottom - share * (height - bottom - lost - 24))

    for value in ticks:
        cv2.line(picture, (left, y(value)), (width - right, y(value)), _FAINT, 1)
        _write(picture, f"{value:g}", (8, y(value) + 5))
    _write(picture, "none", (8, lost + 5))
    for value in np.linspace(0, 1, 6):
        cv2.line(picture, (x(value), top), (x(value), height - bottom), _FAINT, 1)
        _write(picture, f"{value:.1f}", (x(value) - 11, height - bottom + 20))
    for row in rows:
        if row["quality"] is not None:
            at, colour = (x(row["quality"]), y(row[error])), _REAL if row["real"] else _MADE
            cv2.circle(picture, at, 4, colour, -1 if not row["real"] else 2, cv2.LINE_AA)
    _write(picture, f"{_TITLES[error]}: Spearman {rho['all']} ({rho['known']} where known)", (left, 24))
    _write(picture, "quality", (width // 2, height - 14))
    _write(picture, "made", (left, height - 14), _MADE)
    _write(picture, "real", (left + 60, height - 14), _REAL)
    return picture


def _write(picture: np.ndarray, text: str, at: tuple[int, int], colour: tuple[int, int, int] = _INK) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
