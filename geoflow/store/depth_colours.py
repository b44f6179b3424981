"""The colours of depth, the same wherever depth is shown: in reports, notebooks, strips and exported videos.

Turbo (Mikhailov 2019) over inverse depth, as depth's errors grow with its square: near is red, far is blue, unknown is
grey.
"""

from __future__ import annotations

import numpy as np

from geoflow.values.packages import package

GREY = (141, 148, 153)  # pixels without depth; the report's style sheet calls it --grey
_EDGES = (2, 98)  # percentiles of inverse depth at the ends: a few pixels far off would take most of the colours

Ends = tuple[float, float]  # inverse depth of the first and the last colour: far, near


def inverse_range(depths: list[np.ndarray]) -> Ends:
    """Return the far and near ends of the colours: 2nd and 98th percentile of inverse depth over several frames."""
    inverse = [1 / depth[depth > 0].astype(np.float32) for depth in depths]
    values = np.concatenate(inverse) if inverse else np.zeros(0, np.float32)
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, _EDGES)
    return float(low), float(max(high, low + 1e-6 * abs(low) + 1e-12))


def colour_depth(depth: np.ndarray, ends: Ends | None = None) -> np.ndarray:
    """Colour depth (H, W), 0 where unknown, between `ends`, by default its own `inverse_range`: (H, W, 3) uint8 RGB.

    Raises ConfigError if OpenCV is not installed.
    """
    depth = np.asarray(depth, np.float32)
    low, high = ends or inverse_range([depth])
    keep = depth > 0
    inverse = 1 / np.where(keep, depth, 1)
    level = np.clip((inverse - low) * np.float32(255 / (high - low)), 0, 255)
    colours = turbo(level.astype(np.uint8))
    colours[~keep] = GREY
    return colours


def turbo(level: np.ndarray) -> np.ndarray:
    """Return the colours (H, W, 3) uint8 RGB of levels (H, W) uint8, 0 far to 255 near. Raises ConfigError."""
    cv2 = package("cv2", "opencv-python-headless", "a picture of depth")
    return cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)


def turbo_steps(count: int = 17) -> list[tuple[float, str]]:
    """Return places from far, 0, to near, 1, and their colours as CSS and plotly write them."""
    colours = turbo(np.linspace(0, 255, count).astype(np.uint8)[None])[0]
    return [(k / (count - 1), f"rgb({r},{g},{b})") for k, (r, g, b) in enumerate(colours.tolist())]


def turbo_gradient() -> str:
    """Return the colours from far to near as a CSS gradient."""
    return "linear-gradient(to right," + ",".join(colour for _, colour in turbo_steps()) + ")"
