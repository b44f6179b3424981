"""Single pictures: frames of a folder, and masks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import cv2
import numpy as np

from geoflow.errors import InputError

_EXIF_ORIENTATION = 0x0112
_APP1, _EXIF = 0xE1, b"Exif\0\0"
_INTEGERS = {3: ("H", 2), 4: ("I", 4)}  # TIFF's kinds of numbers: form and bytes


def read_bytes(path: str) -> bytes:
    """Read a picture's file. Raises InputError that names the file if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from None


def decode_rgb(data: bytes, path: str) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB, upright by EXIF; 16 bits lose their lower 8, grey is repeated, alpha is dropped.

    Raises InputError that names `path`.
    """
    return _decode(data, path, cv2.IMREAD_COLOR_RGB)


def decode_rgba(data: bytes, path: str) -> np.ndarray:
    """Decode to (H, W, 4) uint8 RGBA; 16 bits lose their lower 8, grey is repeated, and without alpha all is opaque.

    Raises InputError that names `path`.
    """
    picture = _decode(data, path, cv2.IMREAD_UNCHANGED)
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.dtype != np.uint8:
        raise InputError(f"{path} should have 8 or 16 bits a channel, found {picture.dtype}; save it again as PNG")
    channels = 1 if picture.ndim == 2 else picture.shape[-1]
    to_rgba = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}
    if channels not in to_rgba:
        raise InputError(f"{path} should have 1, 3 or 4 channels, found {channels}; save it again as PNG")
    return cv2.cvtColor(picture, to_rgba[channels])


def encode_png(rgb: np.ndarray) -> bytes:
    """Return a picture (H, W, 3) uint8 RGB as a PNG."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))
    assert done, "OpenCV writes any such array"
    return data.tobytes()


def decode_mask(data: bytes, path: str) -> np.ndarray:
    """Decode a mask to (H, W) bool: True where any colour channel is not zero; alpha does not count."""
    picture = _decode(data, path, cv2.IMREAD_UNCHANGED)  # label images use the lower bits of 16
    if picture.ndim == 2:
        return picture != 0
    colours = picture[..., :3] if picture.shape[-1] != 2 else picture[..., :1]
    return (colours != 0).any(axis=-1)


def _decode(data: bytes, path: str, flags: int) -> np.ndarray:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        picture = None
    if picture is None:
        what = "is damaged, or of a kind OpenCV cannot read (8 or 16 bits a channel)" if data else "is empty"
        raise InputError(f"{path} {what}; save it again as PNG or JPEG, or remove it")
    return picture


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 by the half-pixel rule: average areas when shrinking, else interpolate linearly."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W) bool to the nearest pixel by the half-pixel rule (OpenCV's INTER_NEAREST is off by up to one)."""
    if mask.shape == (height, width):
        return mask
    return cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def resize_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W) uint8 labels as `resize_mask` does: numbers of objects are never mixed."""
    if labels.shape == (height, width):
        return labels
    return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def upright_size(data: bytes, path: str) -> tuple[int, int]:
    """Return height and width of the upright picture: from the header for PNG and JPEG, else by decoding."""
    size = _png_size(data) or _jpeg_size(data)
    if size is None:
        height, width = decode_rgb(data, path).shape[:2]
        return height, width
    return size


def kind(data: bytes) -> str:
    """Return bit depth and colours from the header of a PNG, JPEG or TIFF, such as "16-bit grey"; else ""."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 25:
        colours = {0: "grey", 2: "colour", 3: "palette", 4: "grey with alpha", 6: "colour with alpha"}
        return f"{data[24]}-bit {colours.get(data[25], 'picture')}"
    if (header := _jpeg_header(data)) is not None:
        return f"{data[header[0]]}-bit {'grey' if data[header[0] + 5] == 1 else 'colour'}"
    if data[:4] in (b"II*\0", b"MM\0*"):
        tags = tiff_tags(data)
        return f"{tags.get(258, 1)}-bit {'colour' if tags.get(277, 1) >= 3 else 'grey'}"
    return ""


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Read the size from IHDR, which comes first (PNG specification, section 5.6); None if EXIF may turn it."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or data[12:16] != b"IHDR" or len(data) < 24 or b"eXIf" in data:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    header = _jpeg_header(data)
    if header is None:
        return None
    place, turned = header
    height, width = struct.unpack(">HH", data[place + 1 : place + 5])
    return None if not height else ((width, height) if turned else (height, width))


def _jpeg_header(data: bytes) -> tuple[int, bool] | None:
    """Return where the frame header begins (with its bit depth), and whether EXIF turns the picture."""
    turned = False
    for place, marker, part in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return place, turned
        if marker == _APP1 and part[:6] == _EXIF:
            turned = tiff_tags(part[6:]).get(_EXIF_ORIENTATION, 1) >= 5
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield place, marker and content of a JPEG's segments (ITU-T T.81, annex B); EXIF precedes the frame header."""
    position = 2 if data.startswith(b"\xff\xd8") else len(data)
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        yield position + 4, marker, data[position + 4 : position + 2 + length]
        position += 2 + length


def exif_block(data: bytes) -> bytes:
    """Return the EXIF block of a JPEG picture, or a TIFF picture itself, which has the same form; b"" if none."""
    if data[:4] in (b"II*\0", b"MM\0*"):
        return data
    return next((part[6:] for _, marker, part in _jpeg_segments(data) if marker == _APP1 and part[:6] == _EXIF), b"")


def tiff_tags(tiff: bytes, place: int | None = None) -> dict[int, int]:
    """Return the first number of each tag of (long or short) integers in a directory of a TIFF file: the first one, or
    the one at `place` (TIFF 6.0, section 2)."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    found: dict[int, int] = {}
    try:
        if order is None:
            return found
        start = struct.unpack_from(order + "I", tiff, 4)[0] if place is None else place
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, length, offset = struct.unpack_from(order + "HHII", tiff, entry)
            if kind in _INTEGERS:
                form, size = _INTEGERS[kind]
                where = offset if length * size > 4 else entry + 8
                found[tag] = int(struct.unpack_from(order + form, tiff, where)[0])
    except struct.error:
        pass  # a damaged block: OpenCV ignores it too
    return found
