"""Whether a ground truth is of the clip that a store was made from: scores against another clip mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from geoflow.errors import InputError
from geoflow.evaluate.prediction import Prediction

_SAME_SHAPE = 0.05  # relative difference of width over height that rounding to whole pixels may leave
_REMEDY = "give the ground truth of the same clip"
_COPY = "; if it shows the same frames, such as a copy in another format, add --same-frames"


class TrueClip(Protocol):
    """What a truth says of its clip."""

    @property
    def path(self) -> Path: ...

    @property
    def num_frames(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width)."""

    @property
    def source_sha256(self) -> str:
        """Return the checksum of the clip's file; "" if not known."""


def check_same_clip(prediction: Prediction, truth: TrueClip, *, same_frames: bool = False) -> None:
    """Raise InputError if the truth is of another clip, as far as the two files tell.

    They tell by the checksum of the clip's file, the number of its frames, and the shape of the picture. Where neither
    states a checksum, another clip of the same length and shape cannot be told apart. With `same_frames` the user
    vouches for the clip's file: then the frames must still lie within the truth, and the shapes be the same.
    """
    _check_range(prediction, truth)
    _check_shape(prediction, truth)
    if same_frames:
        return
    if truth.source_sha256 and prediction.source_sha256:
        if truth.source_sha256 != prediction.source_sha256:
            raise InputError(
                f"{truth.path} is the ground truth of another clip than {prediction.path} was made from: "
                f"{prediction.source} has another content (SHA-256 {prediction.source_sha256[:12]}, expected "
                f"{truth.source_sha256[:12]}); {_REMEDY}{_COPY}"
            )
        return
    last = int(prediction.frame_index.max())
    if prediction.whole_clip and last + 1 < truth.num_frames:
        raise InputError(
            f"{prediction.path} holds all {last + 1} frames of its clip, but {truth.path} covers {truth.num_frames}; "
            f"{_REMEDY}{_COPY}"
        )


def _check_range(prediction: Prediction, truth: TrueClip) -> None:
    index = prediction.frame_index
    if len(index) == 0 or index.min() < 0 or index.max() >= truth.num_frames:
        raise InputError(
            f"{prediction.path} holds source frames {index.min() if len(index) else '-'} to "
            f"{index.max() if len(index) else '-'}, but {truth.path} covers frames 0 to {truth.num_frames - 1}; "
            f"{_REMEDY}"
        )


def _check_shape(prediction: Prediction, truth: TrueClip) -> None:
    true_height, true_width = truth.size
    if abs(prediction.width * true_height / (prediction.height * true_width) - 1) > _SAME_SHAPE:
        raise InputError(
            f"{prediction.path} is {prediction.width}x{prediction.height}, the truth {true_width}x{true_height}: "
            f"the shapes differ; {_REMEDY}"
        )
