"""Prompts: objects that the user shows in a frame or two, by boxes or points, for a stage that finds them in all.

A file of YAML or JSON holds, by the name of the video, a list of prompts:

    clip:
      - {object: 1, frame: 0, box: [40, 30, 120, 90]}
      - {object: 2, frame: 12, points: [[200, 80], [240, 81, 0]]}
      - {object: 3, frame: 0, text: red mug}

A file of CSV holds the same as a table: see `geoflow.video.prompt_table`. A box is left, top, right, bottom; a point is
x, y and, where it lies beside the object, 0. Both are in pixels of the upright picture that players show, whose
top-left pixel has its centre at (0, 0). Frames count in the source, from 0.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, InputError
from geoflow.segments import Prompt, VideoInfo
from geoflow.values.object_names import MOST_OBJECTS
from geoflow.values.plain import real, several, text, whole
from geoflow.values.yaml_text import read_yaml
from geoflow.video.prompt_table import prompt_rows

_FORM = "{object: 1, frame: 0, box: [left, top, right, bottom]} or {object: 1, frame: 0, points: [[x, y], ...]}"
_KEYS = {"object", "frame", "box", "points", "text"}


def read_prompts(path: str) -> dict[str, tuple[Prompt, ...]]:
    """The prompts of a file by video, in pixels of the source as displayed.

    The video is "" for prompts of a table that does not name it. Raises ConfigError that names the place.
    """
    if os.path.splitext(path)[1].lower() == ".csv":
        return {
            name: tuple(_prompt(row, where) for where, row in rows.items())
            for name, rows in prompt_rows(Path(path)).items()
        }
    raw = read_yaml(Path(path))
    if not isinstance(raw, dict) or not raw:
        raise ConfigError(f"--objects {path} should hold prompts by the name of their video, such as clip: [{_FORM}]")
    found = {}
    for name, rows in raw.items():
        where = f"--objects {path}: {name}"
        if not isinstance(rows, list) or not rows:
            raise ConfigError(f"{where} should be a list of prompts, each {_FORM}")
        found[str(name)] = tuple(_prompt(row, f"{where}[{k}]") for k, row in enumerate(rows))
    return found


def _prompt(row: Any, where: str) -> Prompt:
    if not isinstance(row, Mapping) or set(row) - _KEYS or not {"object", "frame"} <= set(row):
        raise ConfigError(f"{where} should be {_FORM}, found {row!r:.100}")
    number, frame = whole(row["object"], f"{where}.object"), whole(row["frame"], f"{where}.frame")
    if not 1 <= number <= MOST_OBJECTS:
        raise ConfigError(f"{where}.object should be 1 to {MOST_OBJECTS}, found {number}")
    if frame < 0:
        raise ConfigError(f"{where}.frame should be a frame of the source, counted from 0; found {frame}")
    if row.get("text") is not None:
        if row.get("box") is not None or row.get("points"):
            raise ConfigError(f"{where} has text beside a box or points; give the text alone")
        return Prompt(number, frame, text=text(row["text"], f"{where}.text"))
    if row.get("box") is None and not row.get("points"):
        raise ConfigError(f"{where} shows nothing: give it a box, or points")
    box = None if row.get("box") is None else _box(row["box"], f"{where}.box")
    points = several(row.get("points") or [], f"{where}.points")
    return Prompt(number, frame, box, tuple(_point(p, f"{where}.points[{k}]") for k, p in enumerate(points)))


def _box(value: Any, where: str) -> tuple[float, float, float, float]:
    sides = [real(v, where) for v in several(value, where)]
    if len(sides) != 4 or sides[0] >= sides[2] or sides[1] >= sides[3]:
        raise ConfigError(f"{where} should be left, top, right, bottom in pixels, rising; found {value}")
    return sides[0], sides[1], sides[2], sides[3]


def _point(value: Any, where: str) -> tuple[float, float, bool]:
    numbers = several(value, where)
    if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] not in (0, 1)):
        raise ConfigError(f"{where} should be x, y and, where it lies beside the object, 0; found {value}")
    return real(numbers[0], where), real(numbers[1], where), bool(numbers[2]) if len(numbers) == 3 else True


def with_prompts(info: VideoInfo, index: np.ndarray, prompts: tuple[Prompt, ...]) -> VideoInfo:
    """A video with prompts, which are brought to the processed pixels; `index` (F,) are its frames in the source.

    Raises InputError for a frame that is not processed, or a place outside of the picture.
    """
    scale_x, scale_y = info.width / info.source_width, info.height / info.source_height
    moved = []
    for prompt in prompts:
        _check_frame(info, index, prompt)
        _check_places(info, prompt)
        box = None
        if prompt.box is not None:
            left, top, right, bottom = prompt.box
            box = (*_move(left, top, scale_x, scale_y), *_move(right, bottom, scale_x, scale_y))
        points = tuple((*_move(x, y, scale_x, scale_y), on) for x, y, on in prompt.points)
        moved.append(dataclasses.replace(prompt, box=box, points=points))
    return dataclasses.replace(info, prompts=tuple(moved))


def _check_frame(info: VideoInfo, index: np.ndarray, prompt: Prompt) -> None:
    if prompt.frame not in index:
        near = index[np.argsort(np.abs(index - prompt.frame), kind="stable")[:2]]
        raise InputError(
            f"{info.name}: a prompt of object {prompt.object} is for frame {prompt.frame}, which is not processed; "
            f"frames {index[0]} to {index[-1]} are, as far as --fps and --limit keep them; the nearest is {near[0]}"
        )


def _check_places(info: VideoInfo, prompt: Prompt) -> None:
    width, height = info.source_width, info.source_height
    corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
    for x, y in [*corners, *(point[:2] for point in prompt.points)]:
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise InputError(
                f"{info.name}: a prompt of object {prompt.object} lies at ({x:g}, {y:g}), outside of the picture of "
                f"{width}x{height} pixels that players show"
            )


def _move(x: float, y: float, scale_x: float, scale_y: float) -> tuple[float, float]:
    """By the half-pixel rule: see `scale_intrinsics`."""
    return (x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5
