"""Depth of a pixel from its match in a second view."""

from __future__ import annotations

import numpy as np


def inverse_depth_of_matches(
    u: np.ndarray,
    v: np.ndarray,
    u_b: np.ndarray,
    v_b: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    intrinsics: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inverse depths in view a of matches (u, v) -> (u_b, v_b), px, and measures of their quality.

    A pixel x of a with inverse depth w is seen in b at x' ~ K R K^-1 x + w K t. Multiplied out, both image
    equations are linear in w and are solved together by least squares (Hartley and Zisserman 2004, section 12.2,
    with the point held on a's ray). `rotation` (3, 3) and `translation` (3,) make up b_from_a.

    Returns float32 arrays of the matches' broadcast shape: the inverse depth; the squared change of the match per
    the distance of the match from its epipolar line, both times the depth in b (px); and this depth, in units of the
    depth in a. Nothing is filtered: points behind a camera have negative values.
    """
    # Component by component: the maps are large and every pass over them counts.
    k = np.asarray(intrinsics, np.float64)
    h = (k @ rotation @ np.linalg.inv(k)).astype(np.float32)
    shift = (k @ translation).astype(np.float32)
    turned_z = h[2, 0] * u + (h[2, 1] * v + h[2, 2])
    slope_u, slope_v = shift[0] - u_b * shift[2], shift[1] - v_b * shift[2]
    offset_u = u_b * turned_z - (h[0, 0] * u + (h[0, 1] * v + h[0, 2]))
    offset_v = v_b * turned_z - (h[1, 0] * u + (h[1, 1] * v + h[1, 2]))
    slope2 = np.maximum(slope_u * slope_u + slope_v * slope_v, 1e-12)
    inverse = (slope_u * offset_u + slope_v * offset_v) / slope2
    sideways = np.abs(slope_u * offset_v - slope_v * offset_u) / np.sqrt(slope2)
    return inverse, slope2, sideways, turned_z + inverse * shift[2]
