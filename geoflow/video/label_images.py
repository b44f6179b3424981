"""The user's labels of objects: one picture per frame whose pixels are the numbers of objects, 0 background."""

from __future__ import annotations

import hashlib
import os

import cv2
import numpy as np

from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.values.object_names import MOST_OBJECTS
from geoflow.video import images
from geoflow.video.folder import as_displayed, check_fits, one_per_frame
from geoflow.video.sequence import list_images

_GREY, _PALETTE = "grey", "palette"
_REMEDY = "save labels as PNG of 8 bits, grey or with a palette, whose values are the numbers of the objects"


def label_folder(objects: str, name: str) -> str:
    """The folder of a video's labels below the one that `--objects` names."""
    return os.path.join(os.path.abspath(objects), name)


def check_labels(folder: str, num_source_frames: int, video: VideoInfo) -> str:
    """The SHA-256 of the labels in `folder`, of which every file's header is looked at.

    Raises InputError unless it holds one label image per frame of the source, each of a size that fits the frames and
    of a kind that can hold labels.
    """
    digest = hashlib.sha256()
    for path in one_per_frame(folder, num_source_frames, "label image", "--objects"):
        data = images.read_bytes(path)
        _check_kind(data, path)
        check_fits(*images.upright_size(data, path), path, video, "label image")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()


def read_labels(folder: str, indices: np.ndarray, video: VideoInfo) -> np.ndarray:
    """The labels number `indices`: (T, H, W) uint8, resized and cropped as masks are; numbers are never mixed.

    Raises InputError for a picture that cannot be read, fits no frame, or holds colours or numbers above 255.
    """
    paths = list_images(folder)
    out = np.empty((len(indices), video.height, video.width), np.uint8)
    for k, i in enumerate(indices):
        if i >= len(paths):
            raise InputError(f"label image {i} of {folder} is gone: it holds {len(paths)} now; run again")
        labels = decode_labels(images.read_bytes(paths[i]), paths[i])
        out[k] = images.resize_labels(as_displayed(labels, paths[i], video, "label image"), *out.shape[1:])
    return out


def decode_labels(data: bytes, path: str) -> np.ndarray:
    """(H, W) uint8: the values of a grey picture, or the indices into its palette, as they are stored.

    Raises InputError that names `path`.
    """
    kind = _check_kind(data, path)
    if kind.endswith(_PALETTE):
        return _indices(data, path)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise InputError(f"{path} is damaged; {_REMEDY}")
    if picture.ndim != 2:
        raise InputError(f"{path} holds colours, which number no objects; {_REMEDY}")
    if picture.dtype == np.uint8:
        bits = int(kind.partition("-")[0]) if kind.startswith(("1-", "2-", "4-")) else 8
        return picture if bits == 8 else picture // np.uint8(255 // (2**bits - 1))  # OpenCV spreads few bits over 255
    if picture.dtype.kind != "u" or picture.max() > MOST_OBJECTS:
        raise InputError(f"{path} holds the number {picture.max()}; objects have numbers up to {MOST_OBJECTS}")
    return picture.astype(np.uint8)


def _check_kind(data: bytes, path: str) -> str:
    """What the header says of a picture, as `images.kind`; "" where it says nothing. Raises InputError."""
    kind = images.kind(data)
    if not data:
        raise InputError(f"{path} is empty; {_REMEDY}")
    if data.startswith(b"\xff\xd8"):
        raise InputError(f"{path} is a JPEG, which changes the numbers of pixels near edges; {_REMEDY}")
    if kind and not kind.endswith((_GREY, _PALETTE)):
        raise InputError(f"{path} is a picture of {kind}, which numbers no objects; {_REMEDY}")
    return kind


def _indices(data: bytes, path: str) -> np.ndarray:
    """The indices of a PNG with a palette: OpenCV gives only its colours."""
    import av

    try:
        decoder = av.CodecContext.create("png", "r")
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); {_REMEDY}") from None
    if not frames or frames[0].format.name != "pal8":
        raise InputError(f"{path} is no picture with a palette that can be read; {_REMEDY}")
    plane, width, height = frames[0].planes[0], frames[0].width, frames[0].height
    return np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width].copy()
