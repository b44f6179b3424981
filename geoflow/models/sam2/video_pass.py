"""Objects through a video, frame by frame: what is found of each, and the little that a later frame needs of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from geoflow.models.sam2.frame_pixels import frame_pixels
from geoflow.models.sam2.object_session import ObjectSession, Shown

MOST_PROMPTS = 8


@dataclass(frozen=True)
class Sight:
    """What a frame shows of an object."""

    logits: torch.Tensor  # (h, w) float32 on the network's device: above 0 on the object
    score: float  # above 0 if the object is seen at all; otherwise all logits are -1024

    @property
    def seen(self) -> bool:
        return self.score > 0


class Sam2:
    """The network with its weights. It keeps nothing of a video: runs do."""

    def __init__(self, network: Any, half: torch.dtype | None = None, most_prompts: int = MOST_PROMPTS) -> None:
        """`half` is the dtype of matrix products and convolutions, as the published program has bfloat16; None for
        that of the weights."""
        self.network, self._half, self._most_prompts = network, half, most_prompts

    @property
    def size(self) -> int:
        """Return the side of the square, in pixels, to which frames are resized."""
        return int(self.network.config.image_size)

    def begin(self, *, reverse: bool = False) -> VideoPass:
        """Return a run that knows no object yet; one in `reverse` is given frames from a later one to an earlier."""
        return VideoPass(self, reverse)

    def session(self, cache: Any) -> ObjectSession:
        return ObjectSession(self.network, cache, self._most_prompts)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._half is None:
            return contextlib.nullcontext()
        return torch.autocast(self.network.device.type, dtype=self._half)


class VideoPass:
    """Follows objects through consecutive frames. Memory is bounded; objects do not change each other."""

    def __init__(self, model: Sam2, reverse: bool) -> None:
        self._model, self._reverse = model, reverse
        self._cache = _feature_cache(model.network)
        self._sessions: dict[int, ObjectSession] = {}

    @property
    def numbers(self) -> list[int]:
        """Return the objects that have been shown so far."""
        return sorted(self._sessions)

    def step(self, t: int, rgb: np.ndarray, shown: Mapping[int, Shown]) -> dict[int, Sight]:
        """Return what frame t, (H, W, 3) uint8, shows of each object known so far, by number.

        `shown` are the user's prompts in this frame. An object that was not known begins here; one that was is
        corrected.
        """
        for number in sorted(shown.keys() - self._sessions.keys()):
            self._sessions[number] = self._model.session(self._cache)
        if not self._sessions:
            return {}
        network = self._model.network
        height, width = rgb.shape[:2]
        pixels = frame_pixels(rgb, self._model.size, network.device).to(network.dtype)
        self._cache.clear_all()
        with torch.inference_mode(), self._model.autocast():
            found = {
                number: Sight(*session.step(t, pixels, height, width, shown.get(number), self._reverse))
                for number, session in sorted(self._sessions.items())
            }
        self._cache.clear_all()
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Return what the run has to know of the past, as arrays; `restore` makes it go on to the same bits."""
        return {
            f"{number}.{name}": array
            for number, session in sorted(self._sessions.items())
            for name, array in session.state().items()
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._sessions = {}
        for number in sorted({int(name.partition(".")[0]) for name in state}):
            own = {name.partition(".")[2]: array for name, array in state.items() if name.startswith(f"{number}.")}
            self._sessions[number] = self._model.session(self._cache)
            with torch.inference_mode():
                self._sessions[number].restore(own)


def _feature_cache(network: Any) -> Any:
    """Return where the sessions of a run have the features of the one frame that they look at."""
    from geoflow.models.without_torchvision import without_torchvision

    with without_torchvision():
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceCache

    return Sam2VideoInferenceCache(network.device, network.device)
