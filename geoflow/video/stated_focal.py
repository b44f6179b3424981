"""The focal length that a file states about itself: EXIF of pictures, QuickTime metadata of phones' videos.

It is a hint only. Files state the 35 mm equivalent, which by convention compares diagonals; digital stabilisation and
cropping narrow the view without a word, and editing keeps what no longer holds.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping

from geoflow.video.aperture import box_places, boxes
from geoflow.video.images import exif_block, tiff_tags

_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
_EXIF_DIRECTORY, _FOCAL_35 = 0x8769, 0xA405  # EXIF 2.3, sections 4.6.3 and 4.6.5
_DIAGONAL_35 = math.hypot(36, 24)  # mm, of the picture that the equivalent is defined by
_LEAST, _MOST = 6.0, 400.0  # mm; beyond, a camera states nonsense or a lens that no walk is filmed with
_SAME = 1.02  # ratio of lengths that are the same lens, rounded
_TEXT, _SIGNED, _UNSIGNED, _FLOAT, _DOUBLE = 1, 21, 22, 23, 24  # "well-known types" of QuickTime's metadata


def focal_35_of_pictures(stated: Iterable[float | None]) -> float | None:
    """Return the focal length that pictures state, mm; None if some differ (a zoom) or none states one.

    >>> focal_35_of_pictures([None, 26.0, 26.0]), focal_35_of_pictures([26.0, 52.0])
    (26.0, None)
    """
    found = [focal for focal in stated if focal is not None]
    return found[0] if found and max(found) <= _SAME * min(found) else None


def focal_35_of_picture(data: bytes) -> float | None:
    """Return FocalLengthIn35mmFilm from the EXIF of a JPEG or TIFF, mm; None if it is not stated, or is 0."""
    block = exif_block(data)
    place = tiff_tags(block).get(_EXIF_DIRECTORY)
    return None if place is None else _sensible(tiff_tags(block, place).get(_FOCAL_35))


def focal_35_of_video(path: str, metadata: Mapping[str, str]) -> float | None:
    """Return the 35 mm equivalent that a QuickTime or MP4 file states, mm; None if there is none, or several.

    `metadata` are the container's tags as FFmpeg reads them. Phones write it into the video track, where FFmpeg does
    not look.
    """
    if _KEY in metadata:
        return _sensible(_of_text(metadata[_KEY]))
    return focal_35_of_pictures(map(_sensible, _of_tracks(path)))


def focal_px(focal_35: float, height: int, width: int) -> float:
    """Return the focal length in pixels of a picture with this 35 mm equivalent.

    >>> round(focal_px(26, 1080, 1920))
    1324
    """
    return focal_35 / _DIAGONAL_35 * math.hypot(height, width)


def _sensible(focal: float | None) -> float | None:
    return focal if focal is not None and _LEAST <= focal <= _MOST else None


def _of_text(text: str) -> float | None:
    """Read "26", "26.00" or "26.00mm"."""
    try:
        return float(text.strip().lower().removesuffix("mm"))
    except ValueError:
        return None


def _of_tracks(path: str) -> Iterator[float | None]:
    with open(path, "rb") as file:
        for kind, start, stop in box_places(file, 0, os.path.getsize(path)):
            if kind != b"moov":
                continue
            for inner, begin, end in box_places(file, start, stop):
                for part, first, last in [
                    (inner, begin, end),
                    *(box_places(file, begin, end) if inner == b"trak" else ()),
                ]:
                    if part == b"meta":
                        file.seek(first)
                        yield _of_meta(file.read(min(last - first, 1 << 20)))


def _of_meta(meta: bytes) -> float | None:
    """Read a `meta` box: names in `keys`, and values in `ilst` by the names' numbers (QuickTime File Format, 2016).

    In MP4 files the box begins with a version, in QuickTime files it does not.
    """
    parts = dict(boxes(meta if meta[4:8] == b"hdlr" else meta[4:]))
    names, place = [], 8
    keys = parts.get(b"keys", b"")
    while place + 8 <= len(keys):
        size = int.from_bytes(keys[place : place + 4], "big")
        if size < 8:
            break
        names.append(keys[place + 8 : place + size])
        place += size
    wanted = {(k + 1).to_bytes(4, "big") for k, name in enumerate(names) if name == _KEY.encode()}
    for number, item in boxes(parts.get(b"ilst", b"")):
        if number in wanted and (value := dict(boxes(item)).get(b"data")) is not None:
            return _of_value(int.from_bytes(value[:4], "big"), value[8:])
    return None


def _of_value(kind: int, value: bytes) -> float | None:
    if kind == _TEXT:
        return _of_text(value.decode("utf-8", "replace"))
    if kind in (_SIGNED, _UNSIGNED):
        return float(int.from_bytes(value, "big", signed=kind == _SIGNED))
    form = {(_FLOAT, 4): ">f", (_DOUBLE, 8): ">d"}.get((kind, len(value)))
    return None if form is None else float(struct.unpack(form, value)[0])
