"""An .npz file whose arrays are written piece by piece."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy

from geoflow.store.whole import whole_draft


class NpzWriter:
    """Writes arrays into a zip archive one after another, in the layout of numpy's own savez."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def array(self, name: str, array: np.ndarray) -> None:
        """Write a whole array."""
        self.stream(name, array.shape, array.dtype, [array])

    def stream(self, name: str, shape: tuple[int, ...], dtype: Any, pieces: Iterable[np.ndarray]) -> None:
        """Write an array from its pieces in memory order. Raises ValueError if they do not fill it."""
        dtype = np.dtype(dtype)
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            _header(file, shape, dtype)
            count = 0
            for piece in pieces:
                file.write(np.ascontiguousarray(piece, dtype).tobytes())
                count += piece.size
        if count != int(np.prod(shape)):
            raise ValueError(f"{name} should have {int(np.prod(shape))} values, its pieces had {count}")


def _header(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> None:
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)


@contextlib.contextmanager
def whole_npz(path: Path) -> Iterator[NpzWriter]:
    """Write an .npz file so that `path` appears whole or not at all. Raises StoreError."""
    with whole_draft(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        yield NpzWriter(archive)
