"""The meaning of a file's colours, and their conversion to 8-bit RGB for a BT.709 screen.

FFmpeg applies matrix and range of Y'CbCr once they are known. Colours that are wider or brighter than BT.709 are
converted here, in the same way for all films:

1. Light of the screen in cd/m². PQ: EOTF (BT.2100, table 4). HLG: inverse OETF and OOTF of a screen of 1000 cd/m²
   (table 5: system gamma 1.2). Films of ordinary brightness: a screen of gamma 2.4 (BT.1886).
2. Brightness, of HDR only: the curve of BT.2390 (section 5.4.1) on the largest of R, G and B, from the film's peak to
   reference white, 203 cd/m² (BT.2408); all three are scaled alike, so that hues stay. Below 92 cd/m² (for a peak of
   1000) nothing changes. The peak of PQ is the film's MaxCLL, else its mastering screen's, else 1000 cd/m².
3. Colour: the primaries' matrix to BT.709 (BT.2087), and what lies outside of BT.709 is clipped.
4. Gamma 2.4 again.

Pictures are resized before the conversion. On one CPU a frame of 640x360 then takes 4 to 5 ms, a frame of 3840x2160 170
ms. FFmpeg's own filters would need zscale for step 1, which PyAV's wheels lack.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

WHITE = 203.0  # cd/m² of what should look white on paper (BT.2408, section 2.2)
PEAK = 1000.0  # cd/m²
_GAMMA = 2.4
_PQ, _HLG = 16, 18  # transfer characteristics (ITU-T H.273, table 3)
_BT709, _UNKNOWN, _BT2020 = 1, 2, 9  # primaries and matrices (tables 2 and 4)
BT601 = 6  # matrix
_WIDE = {_BT2020: "BT.2020", 11: "P3", 12: "P3"}
_MATRICES = (1, 4, 5, 6, 7, 9)  # matrices that FFmpeg's scaler knows: BT.709, FCC, BT.601 twice, SMPTE 240M, BT.2020
_MATRIX_NAMES = {8: "YCgCo", 10: "BT.2020 constant luminance", 14: "ICtCp", 15: "IPT-PQ-C2"}
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)  # BT.2100, table 6
_STEPS = 4096  # entries of a table over the square root of light: finest where eyes see best
_BLOCK = 1 << 16  # pixels converted at a time, so that they stay in the CPU's cache

# Linear RGB of a white of D65, in and out: BT.2087 (annex 2), and SMPTE EG 432-1 primaries by SMPTE RP 177.
_TO_709 = {
    _BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32),
    12: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]], np.float32),
}
_TO_709[11] = _TO_709[12]  # P3 of theatres has another white, which screens show as their own white


@dataclass(frozen=True)
class Signal:
    """A rule for how the numbers of a picture become light.

    `matrix`, `transfer` and `primaries` are codes of ITU-T H.273.
    """

    matrix: int | None  # of Y'CbCr; None for RGB and grey
    transfer: int
    primaries: int
    peak: float = PEAK  # cd/m², for HDR
    guessed: bool = False  # the file does not name the matrix, and players differ in what they assume

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (_PQ, _HLG)

    @property
    def is_plain(self) -> bool:
        """Return whether the colours are BT.709 already, as far as eyes can tell."""
        return not self.is_hdr and self.primaries not in _WIDE

    def note(self) -> str | None:
        """Return what is done to these colours, in a sentence; None if nothing is."""
        wide = _WIDE.get(self.primaries, "BT.709")
        if self.is_hdr:
            kind = "HLG" if self.transfer == _HLG else f"PQ, peak {self.peak:.0f} cd/m²"
            return (
                f"HDR ({kind}, {wide}) is tone-mapped to SDR BT.709: BT.2100 light, BT.2390's curve on max(R, G, B) to "
                f"{WHITE:.0f} cd/m², clipped to BT.709, gamma 2.4."
            )
        if not self.is_plain:
            return (
                f"Colours of {wide} are converted to BT.709 (linear light of gamma 2.4; what lies outside is clipped)."
            )
        if self.guessed:
            return "The file does not name its colour matrix: BT.709 is taken, as players do for pictures of this size."
        return None


def signal_of(frame: Any) -> Signal:
    """Return what a decoded PyAV frame says of its colours; what it leaves open is assumed as players do."""
    transfer, primaries, matrix = int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace)
    form = frame.format
    coded = not (form.is_rgb or form.name.startswith("xyz") or len(form.components) < 3)
    unnamed = matrix in (0, _UNKNOWN, 3)
    hdr = transfer in (_PQ, _HLG)
    if primaries in (0, _UNKNOWN, 3):
        primaries = _BT2020 if hdr or matrix in (_BT2020, 10, 14) else _BT709
    guessed = False
    if coded and unnamed:
        large = frame.width >= 1280 or frame.height > 576  # mpv, VLC and television: HD is BT.709, the rest BT.601
        matrix = _BT2020 if primaries == _BT2020 else _BT709 if large else BT601
        guessed = matrix == _BT709
    elif matrix == 12:  # the matrix that follows from the primaries
        matrix = _BT2020 if primaries == _BT2020 else _BT709
    peak = _peak(frame) if transfer == _PQ else PEAK
    return Signal(matrix if coded else None, transfer, primaries, peak, guessed)


def unreadable(signal: Signal, frame: Any) -> str | None:
    """Return why these colours cannot be shown correctly; None if they can."""
    if signal.matrix is not None and signal.matrix not in _MATRICES:
        return f"its colours are coded as {_MATRIX_NAMES.get(signal.matrix, f'matrix {signal.matrix} of ITU-T H.273')}"
    if frame.side_data.get("DOVI_METADATA") is not None and int(frame.color_trc) in (0, _UNKNOWN, 3):
        return "its Dolby Vision has no base picture of standard colours (profile 5)"
    return None


def _peak(frame: Any) -> float:
    """Return the peak in cd/m²: of a PQ film's brightest pixel, else of its mastering screen, else PEAK."""
    level, screen = (frame.side_data.get(name) for name in ("CONTENT_LIGHT_LEVEL", "MASTERING_DISPLAY_METADATA"))
    peak = 0.0
    if level is not None and len(bytes(level)) >= 4:
        peak = float(struct.unpack_from("=I", bytes(level))[0])  # AVContentLightMetadata.MaxCLL
    if not peak and screen is not None and len(data := bytes(screen)) >= 88 and struct.unpack_from("=i", data, 84)[0]:
        above, below = struct.unpack_from("=ii", data, 72)  # AVMasteringDisplayMetadata.max_luminance, a fraction
        peak = above / below if below else 0.0
    return min(max(peak, WHITE), 10000.0) if peak > 0 else PEAK


def to_bt709(rgb: np.ndarray, signal: Signal) -> np.ndarray:
    """Convert (H, W, 3) uint16 R'G'B' of `signal`, 0 to 65535, to 8-bit SDR (H, W, 3)."""
    tables = _tables(signal.transfer, signal.primaries, signal.peak)
    flat = np.ascontiguousarray(rgb).reshape(-1, 3)
    out = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), _BLOCK):
        out[start : start + _BLOCK] = tables.apply(flat[start : start + _BLOCK])
    return out.reshape(rgb.shape)


@dataclass(frozen=True)
class _Tables:
    light: np.ndarray  # (65536,) float32: cd/m² of a PQ code, scene light 0..1 of an HLG code, 0..1 of white else
    gain: np.ndarray | None  # (_STEPS,) float32 over sqrt(light / peak): the factor for HDR light; white becomes 1
    to_709: np.ndarray | None
    code: np.ndarray  # (_STEPS,) uint8 over sqrt(light), 0..1
    is_hlg: bool
    peak: float

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Convert (N, 3) uint16 to (N, 3) uint8."""
        light = np.take(self.light, rgb)
        if self.is_hlg:
            light *= (self.peak * (light @ _LUMA) ** np.float32(0.2))[:, None]
        if self.gain is not None:
            largest = np.maximum(np.maximum(light[:, 0], light[:, 1]), light[:, 2])  # 60 times as fast as max(axis=1)
            step = (np.sqrt(np.minimum(largest / self.peak, 1)) * (_STEPS - 1) + 0.5).astype(np.int32)
            gain = np.take(self.gain, step)
            gain *= self.peak / np.maximum(largest, self.peak)  # a pixel above the stated peak counts as at the peak
            light *= gain[:, None]
        if self.to_709 is not None:
            light = light @ self.to_709.T
        np.clip(light, 0, 1, out=light)
        return np.take(self.code, (np.sqrt(light) * (_STEPS - 1) + 0.5).astype(np.int32))


@lru_cache(maxsize=8)
def _tables(transfer: int, primaries: int, peak: float) -> _Tables:
    codes = np.arange(65536) / 65535
    gain = None
    if transfer == _PQ:
        light = pq_light(codes)
    else:
        light = _hlg_scene(codes) if transfer == _HLG else codes**_GAMMA
    if transfer in (_PQ, _HLG):
        levels = peak * (np.arange(_STEPS) / (_STEPS - 1)) ** 2
        gain = np.full(_STEPS, 1 / WHITE)
        gain[1:] = tone_curve(levels[1:], peak) / levels[1:] / WHITE
    code = np.rint(255 * (np.arange(_STEPS) / (_STEPS - 1)) ** (2 / _GAMMA)).astype(np.uint8)
    gain = None if gain is None else gain.astype(np.float32)
    return _Tables(light.astype(np.float32), gain, _TO_709.get(primaries), code, transfer == _HLG, peak)


def pq_light(code: np.ndarray) -> np.ndarray:
    """Return the light in cd/m² of PQ codes 0..1 (BT.2100, table 4).

    >>> pq_light(np.array([0.0, 0.58, 1.0])).round().tolist()
    [0.0, 202.0, 10000.0]
    """
    power = np.power(code, 32 / 2523)
    return 10000 * np.power(np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power), 8192 / 1305)


def _pq_code(light: np.ndarray) -> np.ndarray:
    power = np.power(np.asarray(light) / 10000, 1305 / 8192)
    return np.power((107 / 128 + 2413 / 128 * power) / (1 + 2392 / 128 * power), 2523 / 32)


def _hlg_scene(code: np.ndarray) -> np.ndarray:
    """Return scene light 0..1 of HLG codes 0..1: the inverse OETF (BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def tone_curve(light: np.ndarray, peak: float) -> np.ndarray:
    """Map light up to `peak` cd/m² to at most WHITE cd/m² (BT.2390-11, section 5.4.1, with black at 0).

    >>> tone_curve(np.array([90.0, 203.0, 1000.0]), 1000.0).round().tolist()
    [90.0, 159.0, 203.0]
    """
    top = float(_pq_code(np.array(peak)))
    code, most = _pq_code(light) / top, float(_pq_code(np.array(WHITE))) / top
    knee = 1.5 * most - 0.5
    if knee >= 1:
        return np.minimum(light, WHITE)
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return np.where(code < knee, light, pq_light(bent * top))
