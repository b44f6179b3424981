"""What is remembered of keyframes, in a temporary file: read again where a camera returns to an old place."""

from __future__ import annotations

import tempfile

import torch
from torch import Tensor

from geoflow.models.vipe.flow_model import View

_Place = tuple[int, int, torch.dtype, tuple[int, ...]]  # offset, bytes, dtype, shape


class ViewArchive:
    """Views by number, in the order in which they come."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._places: list[tuple[_Place | None, ...]] = []
        self._end = 0

    def __len__(self) -> int:
        return len(self._places)

    def append(self, view: View) -> None:
        """Take a view in."""
        self._places.append(tuple(self._write(part) for part in (view.features, view.hidden, view.context)))

    def __getitem__(self, number: int) -> View:
        features, hidden, context = (self._read(place) for place in self._places[number])
        assert features is not None
        return View(features, hidden, context)

    def _write(self, part: Tensor | None) -> _Place | None:
        if part is None:
            return None
        held = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        self._file.seek(self._end)
        self._file.write(held)
        place = self._end, len(held), part.dtype, tuple(part.shape)
        self._end += len(held)
        return place

    def _read(self, place: _Place | None) -> Tensor | None:
        if place is None:
            return None
        offset, length, dtype, shape = place
        if not length:
            return torch.empty(shape, dtype=dtype, device=self._device)
        self._file.seek(offset)
        held = torch.frombuffer(bytearray(self._file.read(length)), dtype=torch.uint8)
        return held.view(dtype).reshape(shape).to(self._device)
