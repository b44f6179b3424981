"""Where a network of PyTorch computes. For backends, in the environments that have torch."""

from __future__ import annotations


def choose_device(setting: str) -> str:
    """A device as torch names it: the one that is set, or for `auto` a GPU where there is one, else the CPU."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if setting == "auto" else setting
