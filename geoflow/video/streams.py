"""The choice of a video stream in a file that holds several."""

from __future__ import annotations

from typing import Any

import av

from geoflow.errors import InputError

_Flag = av.stream.Disposition
_NO_FILM = _Flag.attached_pic | _Flag.timed_thumbnails | _Flag.still_image | _Flag.dependent


def choose_stream(container: Any, path: str, wanted: int | None = None) -> Any:
    """Return the video stream to read: number `wanted` in the file, else the one flagged default, else the largest.

    Cover art, thumbnails and layers that need another stream are never taken. Raises InputError if the file holds no
    film, `wanted` is not one of its films, or its decoder is missing.
    """
    films = _films(container)
    if not films:
        kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
        raise InputError(f"{path} has no video stream (it holds: {kinds}); give a file with pictures")
    if wanted is not None:
        stream = next((s for s in films if s.index == wanted), None)
        if stream is None:
            numbers = " or ".join(f"--stream {s.index}" for s in films)
            raise InputError(f"{path} has no video stream {wanted}; its video streams are {_list(films)}: {numbers}")
    else:
        stream = max(_flagged(films), key=_pixels)  # the first of equals
    if stream.codec_context is None:
        raise InputError(f"{path} uses a video codec this build of FFmpeg cannot decode; convert it to H.264 first")
    return stream


def note_on_choice(container: Any, stream: Any) -> str | None:
    """Return which stream was taken and which others there are, in a sentence; None if there is only one."""
    films = _films(container)
    if len(films) < 2:
        return None
    flagged = _flagged(films)
    equals = sum(_pixels(s) == _pixels(stream) for s in flagged)
    why = (
        "the one flagged default" if len(flagged) == 1 else "the first of the largest" if equals > 1 else "the largest"
    )
    return f"Of the video streams {_list(films)}, {stream.index} is read, {why}; --stream N takes another."


def _films(container: Any) -> list[Any]:
    streams = [s for s in container.streams.video if not s.disposition & _NO_FILM]
    moving = [s for s in streams if s.frames != 1]  # cameras add a track of one JPEG; 0: the container does not say
    decodable = [s for s in moving or streams if s.codec_context is not None]
    return decodable or moving or streams


def _flagged(films: list[Any]) -> list[Any]:
    """Return the films flagged default; all films if none is."""
    flagged = [s for s in films if s.disposition & _Flag.default]
    return flagged or films


def _pixels(stream: Any) -> int:
    context = stream.codec_context
    return 0 if context is None else int(context.width) * int(context.height)


def _list(films: list[Any]) -> str:
    names = []
    for stream in films:
        context = stream.codec_context
        what = "unknown codec" if context is None else f"{context.name} {context.width}x{context.height}"
        names.append(f"{stream.index} ({what})")
    return ", ".join(names)
