"""Kinds of sources, files and folders of pictures, told apart by their suffix; and the index of a source's frames."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

import numpy as np

from geoflow.errors import InputError
from geoflow.video.aperture import Aperture

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".flv", ".f4v", ".wmv", ".asf", ".ogv",
    ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".vob", ".mxf", ".y4m", ".gif", ".dv", ".ivf", ".mjpeg", ".mjpg",
    ".h264", ".264", ".h265", ".265", ".hevc",
})
# fmt: on
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
FOLDER_FPS = 30.0  # pictures carry no times; --fps gives the true rate


@dataclass(frozen=True)
class SourceIndex:
    """Every frame of a source, in display order.

    `pts` (F,) int64 is in the stream's time base. It is -1 throughout if frames can only be counted (frame folders, and
    files whose packets do not tell which frames there are); such files have `seek`, (F, 5) int64, see `frame_table`.
    `time` (F,) float64 is in seconds and starts at 0. Sizes are as displayed. `notes` say what was mended, or looked
    wrong.
    """

    sha256: str
    pts: np.ndarray
    time: np.ndarray
    height: int
    width: int
    rotation: int = 0
    pixel_aspect: float = 1.0  # width over height of a stored pixel in the upright picture; sizes are of square pixels
    stream: int | None = None  # number of the video stream in its container
    cropped: Aperture | None = None  # the part of an upright stored picture that is shown; None: all of it
    seek: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    focal_35: float | None = None  # mm: the 35 mm equivalent that the source states, for the whole stored picture


def check_readable(path: str) -> None:
    """Raise InputError unless `path` is a folder, or a regular file with content that this user may read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)
            return
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is neither a file nor a folder; give a video file or a folder of frames")
        with open(path, "rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty (0 bytes); copy or record it again")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise InputError(f"{path} may not be read by this user; allow it with: chmod +r") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and the disk") from None


def natural_key(name: str) -> tuple[object, ...]:
    """Return a sort key that puts `frame2` before `frame10`.

    >>> sorted(["f10.png", "f2.png", "F1.png"], key=natural_key)
    ['F1.png', 'f2.png', 'f10.png']
    """
    pieces = re.split(r"(\d+)", name.casefold())
    return (*[(int(piece), "") if k % 2 else (-1, piece) for k, piece in enumerate(pieces)], (-2, name))


def suffix_of(path: str) -> str:
    """Return the lower-case suffix with its dot, or an empty string."""
    return os.path.splitext(path)[1].lower()
