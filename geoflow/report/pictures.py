"""Pictures for the page: small JPEGs as data URIs, depth in the turbo colours with grey where there is none."""

from __future__ import annotations

import base64

import cv2
import numpy as np

GREY = (141, 148, 153)  # masked pixels; the style sheet's --grey
_WIDEST = 480  # px; a report of many videos must stay light


def data_uri(rgb: np.ndarray) -> str:
    """An RGB picture (H, W, 3) uint8 as a JPEG data URI, at most 480 px wide."""
    height, width = rgb.shape[:2]
    if width > _WIDEST:
        rgb = cv2.resize(rgb, (_WIDEST, max(1, round(height * _WIDEST / width))), interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 84])
    if not done:
        raise ValueError(f"a picture of shape {rgb.shape} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode("ascii")


def inverse_range(depths: list[np.ndarray]) -> tuple[float, float]:
    """The far and near ends of the colours: 2nd and 98th percentile of inverse depth over several frames."""
    inverse = [1 / depth[depth > 0].astype(np.float32) for depth in depths]
    values = np.concatenate(inverse) if inverse else np.zeros(0, np.float32)
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, [2, 98])
    return float(low), float(max(high, low + 1e-6 * abs(low) + 1e-12))


def colour_depth(depth: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    """Depth (H, W), 0 where invalid, to RGB uint8: turbo (Mikhailov 2019) over inverse depth, near is red."""
    keep = depth > 0
    inverse = 1 / np.where(keep, depth, 1).astype(np.float32)
    level = np.clip((inverse - ends[0]) / (ends[1] - ends[0]), 0, 1)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(keep[..., None], colours, np.array(GREY, np.uint8))


def turbo_gradient() -> str:
    """The colours from far to near as a CSS gradient."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)[None]
    colours = cv2.applyColorMap(steps, cv2.COLORMAP_TURBO)[0, :, ::-1]
    return "linear-gradient(to right," + ",".join(f"rgb({r},{g},{b})" for r, g, b in colours) + ")"
