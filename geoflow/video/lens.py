"""A camera that the user knows: focal lengths, principal point, and the lens's distortion.

Distortion is OpenCV's model of five coefficients (Brown 1966): a ray (x, y, 1) with r^2 = x^2 + y^2 is seen at x (1 +
k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2); y is analogous, with p1 and p2 swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError
from geoflow.values.plain import plain, real, several, whole

Pinhole = tuple[float, float, float, float]  # fx, fy, cx, cy
Distortion = tuple[float, float, float, float, float]  # k1, k2, p1, p2, k3

COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3")
# Names of models, and the number of coefficients that each has.
MODELS = {"pinhole": 0, "simple_radial": 1, "radial": 2, "opencv": 5}

_PINHOLE = ("fx", "fy", "cx", "cy")
_SIZE = ("width", "height")
_COUNTS = (4, 5, 6, 8, 9)  # numbers in a list: fx, fy, cx, cy; then k1; k2; p1 and p2; k3
_FORM = "fx,fy,cx,cy[,k1[,k2[,p1,p2[,k3]]]] in pixels, or a pinhole matrix without skew"
_LEAST_SKEW = 1e-6  # of fx: the rounding error that calibration tools leave
_MOST_TANGENTIAL = 0.5  # real lenses have a hundredth of this


@dataclass(frozen=True)
class KnownLens:
    """A known camera; `size` is (width, height) of its calibration pictures, if stated."""

    pinhole: Pinhole
    distortion: Distortion | None = None
    size: tuple[int, int] | None = None


def lens_of(value: Any, name: str) -> KnownLens:
    """Parse a camera: a list of numbers, a pinhole matrix (nine numbers, by rows or in one list), or a mapping.

    A mapping has fx, fy, cx, cy, and may have k1, k2, p1, p2, k3, `model` (one of `MODELS`), `width` and `height`.

    >>> lens_of([500, 500, 320, 240, -0.1, 0.01], "intrinsics").distortion
    (-0.1, 0.01, 0.0, 0.0, 0.0)

    Raises ConfigError for values that cannot be a camera.
    """
    found = plain(value, name)
    return _of_mapping(found, name) if isinstance(found, dict) else _of_list(found, name)


def distortion_of(values: Any, name: str) -> Distortion | None:
    """Return one to five coefficients, the others 0; None if all are 0. Raises ConfigError."""
    numbers = [real(v, name) for v in several(values, name)]
    if len(numbers) > len(COEFFICIENTS) or max(map(abs, numbers[2:4]), default=0) > _MOST_TANGENTIAL:
        raise ConfigError(
            f"{name} should be up to five coefficients of OpenCV's model, {', '.join(COEFFICIENTS)}, with p1 and p2 "
            f"within {_MOST_TANGENTIAL:g}; found {values!r}. Of a fisheye lens, undistort the video first"
        )
    k1, k2, p1, p2, k3 = numbers + [0.0] * (len(COEFFICIENTS) - len(numbers))
    return (k1, k2, p1, p2, k3) if any(numbers) else None


def _of_list(value: Any, name: str) -> KnownLens:
    rows = several(value, name)
    flat = [real(v, name) for row in rows for v in (row if isinstance(row, list) else [row])]
    nested = any(isinstance(row, list) for row in rows)
    if len(flat) == 9 and (nested or flat[3] == 0 or flat[6:] == [0, 0, 1]):
        flat = _of_matrix(flat, name)
    elif len(flat) not in _COUNTS or max(map(abs, flat[6:8]), default=0) > _MOST_TANGENTIAL:
        raise ConfigError(f"{name} should be {_FORM}, with positive fx and fy; found {value!r}")
    return KnownLens(_pinhole(flat[:4], name), distortion_of(flat[4:], name))


def _pinhole(flat: Sequence[float], name: str) -> Pinhole:
    fx, fy, cx, cy = flat
    if min(fx, fy) <= 0:
        raise ConfigError(f"{name} should be {_FORM}, with positive fx and fy; found {list(flat)}")
    return fx, fy, cx, cy


def _of_matrix(values: list[float], name: str) -> list[float]:
    fx, skew, cx, zero, fy, cy, *last = values
    if zero or last != [0, 0, 1] or abs(skew) > _LEAST_SKEW * abs(fx):
        raise ConfigError(
            f"{name} should be a pinhole matrix without skew, with rows fx 0 cx, 0 fy cy and 0 0 1, found {values}"
        )
    return [fx, fy, cx, cy]


def _of_mapping(found: dict[str, Any], name: str) -> KnownLens:
    known = (*_PINHOLE, *COEFFICIENTS, *_SIZE, "model")
    unknown, missing = sorted(set(found) - set(known)), [key for key in _PINHOLE if key not in found]
    if unknown or missing or ("width" in found) != ("height" in found):
        raise ConfigError(
            f"{name} should have fx, fy, cx and cy, and may have {', '.join(known[4:])} (width and height together); "
            f"found {', '.join(found) or 'nothing'}"
        )
    model = str(found.get("model", "opencv")).lower()
    if model not in MODELS:
        raise ConfigError(
            f"{name}: the model should be one of {', '.join(MODELS)}, found {found['model']!r}; "
            "of another lens, such as a fisheye, undistort the video first"
        )
    beyond = [key for key in COEFFICIENTS[MODELS[model] :] if found.get(key)]
    if beyond:
        raise ConfigError(f"{name}: the model {model} has no {', '.join(beyond)}; `opencv` has all of them")
    size = (
        (whole(found["width"], f"{name}.width"), whole(found["height"], f"{name}.height")) if "width" in found else None
    )
    if size is not None and min(size) < 1:
        raise ConfigError(f"{name} should have a positive width and height, found {size[0]}x{size[1]}")
    flat = [real(found[key], f"{name}.{key}") for key in _PINHOLE]
    bend = [real(found.get(key, 0), f"{name}.{key}") for key in COEFFICIENTS]
    return KnownLens(_pinhole(flat, name), distortion_of(bend, name), size)
