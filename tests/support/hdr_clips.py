"""Films of flat patches whose light is known, with the formulas of BT.2100 and BT.2390 again, in double precision."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SIDE = 16  # px of a patch
PQ, HLG = 16, 18
LUMA = {1: (0.2126, 0.7152, 0.0722), 5: (0.299, 0.587, 0.114), 9: (0.2627, 0.6780, 0.0593)}


def write(
    path: Path,
    colours: np.ndarray,
    *,
    matrix: int,
    transfer: int = 1,
    primaries: int = 1,
    full: bool = False,
    bits: int = 10,
    codec: str = "ffv1",
    chroma: str = "444",
    tagged: bool = True,
    options: dict[str, str] | None = None,
    count: int = 3,
    scale: int = 1,
) -> Path:
    """A film of patches side by side, each R'G'B' 0..1 of (N, 3), as Y'CbCr."""
    pixels = f"yuv{chroma}p" + (f"{bits}le" if bits > 8 else "")
    planes = coded(colours, matrix, full, bits)
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = SIDE * len(colours) * scale, SIDE * scale, pixels
        context = stream.codec_context
        if tagged:
            context.colorspace, context.color_trc, context.color_primaries = matrix, transfer, primaries
            context.color_range = 2 if full else 1
        for k in range(count):
            frame = av.VideoFrame(stream.width, stream.height, pixels)
            for plane, row in zip(frame.planes, planes.T):
                step = plane.width // len(colours)
                line = np.repeat(row, step).astype(np.uint16 if bits > 8 else np.uint8)
                whole = np.zeros((plane.height, plane.line_size // line.itemsize), line.dtype)
                whole[:, : len(line)] = line
                plane.update(np.ascontiguousarray(whole))
            if tagged:
                frame.colorspace, frame.color_range = matrix, 2 if full else 1
                frame.color_trc, frame.color_primaries = transfer, primaries
            frame.pts, frame.time_base = k, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def coded(colours: np.ndarray, matrix: int, full: bool, bits: int) -> np.ndarray:
    """(N, 3) R'G'B' 0..1 as whole numbers Y'CbCr (BT.2100, tables 6 and 9)."""
    kr, kg, kb = LUMA[matrix]
    y = colours @ np.array([kr, kg, kb])
    cb, cr = (colours[:, 2] - y) / (2 - 2 * kb), (colours[:, 0] - y) / (2 - 2 * kr)
    one = 2 ** (bits - 8)
    if full:
        return np.rint(np.stack([y * (256 * one - 1), *(c * (256 * one - 1) + 128 * one for c in (cb, cr))], 1))
    return np.rint(np.stack([(219 * y + 16) * one, *((224 * c + 128) * one for c in (cb, cr))], 1))


def seen(frame: np.ndarray, count: int) -> np.ndarray:
    """The patches' colours in a frame: (N, 3), from their middles."""
    step = frame.shape[1] // count
    return np.array([frame[frame.shape[0] // 2, step * k + step // 2] for k in range(count)], float)


def pq_of(light: np.ndarray) -> np.ndarray:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (np.asarray(light) / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


def light_of_pq(code: np.ndarray) -> np.ndarray:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = np.asarray(code) ** (1 / m2)
    return 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)


def hlg_of_light(light: np.ndarray) -> np.ndarray:
    """HLG R'G'B' that a screen of 1000 cd/m² shows as `light` (N, 3), cd/m² in BT.2020."""
    y = light @ np.array(LUMA[9])
    scene = light / 1000 * (y[:, None] / 1000) ** (1 / 1.2 - 1)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def sdr_of_light(light: np.ndarray, peak: float, white: float = 203.0, wide: bool = True) -> np.ndarray:
    """What the stated operator makes of `light` (N, 3), cd/m² in BT.2020: R'G'B' 0..255."""
    top, aim = pq_of(np.array(peak)), pq_of(np.array(white))
    largest = light.max(1)
    e1, most = pq_of(largest) / top, aim / top
    knee = 1.5 * most - 0.5
    t = np.clip((e1 - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    mapped = light_of_pq(np.where(e1 < knee, e1, spline) * top)
    linear = light * (mapped / largest / white)[:, None]
    if wide:
        linear = linear @ to_709(np.array([[0.708, 0.292], [0.170, 0.797], [0.131, 0.046]])).T
    return 255 * np.clip(linear, 0, 1) ** (1 / 2.4)


def to_709(primaries: np.ndarray) -> np.ndarray:
    """The matrix from linear RGB of primaries (3, 2), white D65, to that of BT.709 (SMPTE RP 177)."""
    wide, narrow = (_to_xyz(xy) for xy in (primaries, np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]])))
    return np.linalg.inv(narrow) @ wide


def _to_xyz(xy: np.ndarray) -> np.ndarray:
    columns = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(1)) / xy[:, 1]])
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)
