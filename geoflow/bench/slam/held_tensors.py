"""How many bytes the tensors hold that are alive: what a device would have to hold."""

from __future__ import annotations

import gc

import torch

_EVERY = 10  # frames, from one look to the next
_MOMENTS = ("map", "settled", "before_loops")  # of the tracker, which are looked at as well


class HeldTensors:
    """Watches a run of the tracker; `peak` is the most bytes that were held at the moments that it looked.

    What an operation needs only until it is done is not seen: that is in the peak of the process.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._frames = 0

    def watch(self, name: str, value: object) -> None:
        """Look, at some of the moments that the tracker names."""
        self._frames += name == "frame"
        if name in _MOMENTS or (name == "frame" and self._frames % _EVERY == 0):
            self.peak = max(self.peak, held_bytes())


def held_bytes() -> int:
    """Return the bytes of all storages that a tensor of this process stands for, each once."""
    storages = (thing.untyped_storage() for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
