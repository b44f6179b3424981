"""The user's labels of objects: pictures of frames whose pixels are the numbers of objects, 0 background.

There is one for each frame of the source, in natural order; or there are fewer, for a stage that finds the objects in
all other frames. Then each has the name of its frame: the number of the frame, such as `00000.png`; in a folder of
frames, the name of the frame's picture will do.
"""

from __future__ import annotations

import hashlib
import os
import re

import cv2
import numpy as np

from geoflow.errors import InputError
from geoflow.segments import VideoInfo
from geoflow.values.object_names import MOST_OBJECTS
from geoflow.video import images
from geoflow.video.folder import as_displayed, check_fits
from geoflow.video.sequence import list_images

_GREY, _PALETTE = "grey", "palette"
_REMEDY = "save labels as PNG of 8 bits, grey or with a palette, whose values are the numbers of the objects"


def label_folder(objects: str, name: str) -> str:
    """The folder of a video's labels below the one that `--objects` names."""
    return os.path.join(os.path.abspath(objects), name)


def check_labels(folder: str, num_source_frames: int, video: VideoInfo) -> tuple[str, tuple[int, ...]]:
    """The SHA-256 of the labels in `folder`, of which every file's header is looked at, and which frames have some.

    The frames are source frame numbers in rising order; () if each frame of the source has a label image. Raises
    InputError if a label image belongs to no frame, does not fit the frames, or is of a kind that holds no labels.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder} should hold this video's label images, but is not a folder; make it, or leave out --objects"
        )
    paths = list_images(folder)
    labelled = () if len(paths) == num_source_frames else tuple(_by_frame(paths, folder, num_source_frames, video))
    digest = hashlib.sha256(repr(labelled).encode() if labelled else b"")
    for path in paths:
        data = images.read_bytes(path)
        _check_kind(data, path)
        check_fits(*images.upright_size(data, path), path, video, "label image")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest(), labelled


def _by_frame(paths: list[str], folder: str, num_source_frames: int, video: VideoInfo) -> dict[int, str]:
    """Label images by the source frame that their names state, in rising order. Raises InputError."""
    remedy = (
        "fewer label images than frames are named by their frames, counted from 0, such as 00000.png; or give one per "
        "frame"
    )
    if not paths or len(paths) > num_source_frames:
        raise InputError(
            f"{folder} holds {len(paths)} label images, but the video has {num_source_frames} frames; {remedy}"
        )
    pictures = list_images(video.source, video.pattern) if os.path.isdir(video.source) else []
    names = {_stem(path): i for i, path in enumerate(pictures)}
    same = all(_stem(path) in names for path in paths)
    found: dict[int, str] = {}
    for path in paths:
        numbers = re.findall(r"\d+", _stem(path))
        if not same and not numbers:
            raise InputError(f"{path} states no frame in its name; {remedy}")
        frame = names[_stem(path)] if same else int(numbers[-1])
        if frame >= num_source_frames:
            raise InputError(f"{path} is for frame {frame}, but the video ends at {num_source_frames - 1}; {remedy}")
        if frame in found:
            raise InputError(f"{path} and {found[frame]} are both for frame {frame}; {remedy}")
        found[frame] = path
    return dict(sorted(found.items()))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def read_labels(folder: str, indices: np.ndarray, video: VideoInfo) -> np.ndarray:
    """The labels number `indices`: (T, H, W) uint8, resized and cropped as masks are; numbers are never mixed.

    Frames without a label image, where only some have one, get 0. Raises InputError for a picture that cannot be read,
    fits no frame, or holds colours or numbers above 255.
    """
    paths = list_images(folder)
    if video.labelled and len(paths) != len(video.labelled):
        raise InputError(f"{folder} held {len(video.labelled)} label images, and holds {len(paths)} now; run again")
    by_frame = _by_frame(paths, folder, video.labelled[-1] + 1, video) if video.labelled else dict(enumerate(paths))
    out = np.zeros((len(indices), video.height, video.width), np.uint8)
    for k, i in enumerate(indices.tolist()):
        if video.labelled and i not in video.labelled:
            continue
        if i not in by_frame:
            raise InputError(f"label image {i} of {folder} is gone: it holds {len(paths)} now; run again")
        labels = decode_labels(images.read_bytes(by_frame[i]), by_frame[i])
        out[k] = images.resize_labels(as_displayed(labels, by_frame[i], video, "label image"), *out.shape[1:])
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
