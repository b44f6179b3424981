"""Values of an open store: arrays that are read when they are indexed, and groups of such arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import h5py
import numpy as np

from geoflow.errors import StoreError
from geoflow.geometry.rigid import invert

_SAME_HAND = 0.1  # of a hand's size: mean distance of joints below which two hands are one


class Lazy:
    """A dataset that is read when it is indexed. It behaves like an array in `[]`, `len`, `.shape`, `np.asarray`."""

    def __init__(self, dataset: h5py.Dataset, convert: Callable[[np.ndarray, Any], np.ndarray] | None = None) -> None:
        self._dataset = dataset
        self._convert = convert
        self._name = dataset.name.lstrip("/")

    @property
    def shape(self) -> tuple[int, ...]:
        return self._dataset.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32) if self._convert else self._dataset.dtype

    def __getitem__(self, where: Any) -> np.ndarray:
        if not self._dataset:
            raise StoreError(f"{self._name} was read after its store was closed; open it again")
        if isinstance(where, int | np.integer) and not -len(self) <= where < len(self):
            raise IndexError(f"frame {where} of {self._name}: it has {len(self)}")
        try:
            array = self._dataset[where]
            return self._convert(array, where) if self._convert else array
        except OSError as error:
            raise StoreError(f"cannot read {self._name} of {self._dataset.file.filename}: {error}") from error

    def __len__(self) -> int:
        return len(self._dataset)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[()], dtype)

    @property
    def unit(self) -> str:
        """Return the unit that the file states; "" if it states none, and for numbers without a unit."""
        return str(self._dataset.attrs.get("unit", "")) if self._dataset else ""

    def __repr__(self) -> str:
        if not self._dataset:
            return f"Lazy({self._name}, closed)"
        return f"Lazy({self._name}: {described(self, self.unit)})"


def described(array: Any, unit: str = "") -> str:
    """Return dtype, shape and unit of an array in a few words.

    >>> described(np.zeros((4, 3, 3), np.float32), "px")
    'float32 (4, 3, 3) px'
    """
    return f"{array.dtype} {array.shape}{f' {unit}' if unit else ''}"


@dataclass(frozen=True)
class Cameras:
    """Cameras of all frames. Where `valid` is False a pose is NaN, except the rotation of a camera that only turns."""

    intrinsics: np.ndarray  # (T, 3, 3) float32 px
    cam_from_world: np.ndarray  # (T, 4, 4) float32, scene units
    valid: np.ndarray  # (T,) bool
    motion: np.ndarray  # (T,) uint8: 0 unknown, 1 moving, 2 still, 3 rotating in place
    quality: np.ndarray | None = None  # (T,) float32, 0 to 1: how far a pose can be believed; None: not stated
    doubt: np.ndarray | None = None  # (T,) uint8: geoflow.fields.DOUBT_*; None: not stated
    # (T,) float32, relative: standard deviation of the focal length; NaN where it was given; None: not stated
    focal_error: np.ndarray | None = None

    @property
    def centers(self) -> np.ndarray:
        """Return the camera centres in the world: (T, 3) float32, NaN where not valid."""
        return invert(self.cam_from_world)[:, :3, 3]

    def __repr__(self) -> str:
        return (
            f"Cameras({int(self.valid.sum())} of {len(self.valid)} frames posed: cam_from_world "
            f"{described(self.cam_from_world, 'scene')}, intrinsics {described(self.intrinsics, 'px')})"
        )


@dataclass(frozen=True)
class Tracks:
    """Point tracks of the video, a column per point; read by slices, since T x N grows large."""

    xyz: Lazy  # (T, N, 3) float32 world; NaN where unknown
    visible: Lazy  # (T, N) bool
    uv: Lazy  # (T, N, 2) float32 px; NaN where unknown
    query: np.ndarray  # (N, 4) float32: frame, x, y, z
    id: np.ndarray | None = None  # (N,) int32 from 1; None: the store's tracks end with their segments
    object: np.ndarray | None = (
        None  # (N,) uint8: the object that it was picked on, 0: none; None: no objects are known
    )
    row: np.ndarray | None = None  # (N,) int32: row of the file of queries, -1: not from it; None: there was no file

    def __len__(self) -> int:
        return len(self.query)

    def __repr__(self) -> str:
        xyz, uv = described(self.xyz, "scene, world frame"), described(self.uv, "px")
        return f"Tracks({len(self)} tracks: xyz {xyz}, uv {uv}, visible {described(self.visible)})"


@dataclass(frozen=True)
class Hand:
    """One side's hand in all frames; NaN where `valid` is False.

    Joints and wrists of a frame are in scene units where `scale` is finite, in metres where it is NaN. In a store that
    is `metric` both are metres.
    """

    valid: np.ndarray  # (T,) bool
    joints: np.ndarray  # (T, 21, 3) float32 camera frame
    wrist: np.ndarray  # (T, 4, 4) float32: cam_from_wrist
    uv: np.ndarray  # (T, 21, 2) float32 px
    confidence: np.ndarray  # (T,) float32
    filled: np.ndarray | None = None  # (T,) bool: valid, but interpolated between two frames in which the hand was seen
    mano_pose: np.ndarray | None = None  # (T, 16, 3) float32 rad
    betas: np.ndarray | None = None  # (T, 10) float32
    mano_scale: np.ndarray | None = None  # (T,) float32: joints are MANO's, about the wrist, times this
    vertices: np.ndarray | None = None  # (T, 778, 3) float32 camera frame, of MANO's hand
    scale: np.ndarray | None = None  # (T,) float32 scene units per metre; None: not in the file, which is older

    @cached_property
    def metres_per_unit(self) -> np.ndarray | None:
        """Return the factor from joints and wrists to metres: (T,) float32, NaN where not valid; None if not known.

        It is 1 where the hand is in metres already. The metres assume a hand of average size, as the network does,
        unless the scene itself is in metres.
        """
        if self.scale is None:
            return None
        return np.where(self.valid, np.where(np.isfinite(self.scale), 1 / self.scale, 1), np.nan).astype(np.float32)

    @property
    def joints_m(self) -> np.ndarray | None:
        """Return the joints in metres: (T, 21, 3) float32, camera frame, NaN where not valid; None if not known."""
        factor = self.metres_per_unit
        return None if factor is None else self.joints * factor[..., None, None]

    def in_scene_units(self, metric: bool) -> np.ndarray:
        """Return where the hand has the scene's unit, so that it fits depth and tracks: (T,) bool.

        `metric` is the store's attribute. For an older file without `scale`, the scene's unit is assumed.
        """
        return self.valid if metric or self.scale is None else self.valid & np.isfinite(self.scale)

    def __repr__(self) -> str:
        joints, uv = described(self.joints, "camera frame"), described(self.uv, "px")
        parts = [f"joints {joints}", f"uv {uv}"]
        parts += [name for name in ("mano_pose", "betas", "vertices") if getattr(self, name) is not None]
        return f"Hand({int(self.valid.sum())} of {len(self.valid)} frames: {', '.join(parts)})"


@dataclass(frozen=True)
class AllHands(Hand):
    """All hands of all frames: as `Hand`, with R rows per frame, so that `valid` is (T, R) and `joints` (T, R, 21, 3).

    A hand keeps its number in `id`. It keeps its row, too, as far as rows are free; after it has gone, its row may hold
    another hand with another number.
    """

    id: np.ndarray = field(kw_only=True)  # (T, R) int32 number of the hand in the video, from 1; 0: none
    side: np.ndarray = field(kw_only=True)  # (T, R) uint8: geoflow.fields.HAND_*
    right: np.ndarray = field(kw_only=True)  # (T, R) float32 probability that it is a right hand; NaN: no hand
    found: np.ndarray = field(kw_only=True)  # (T,) int32 hands in the frame, more than valid ones if rows were lacking

    @property
    def numbers(self) -> list[int]:
        """Return the numbers of all hands of the video."""
        return sorted(set(self.id[self.id > 0].tolist()))

    def hand(self, number: int) -> Hand:
        """Return one hand in all frames, whichever rows it was in. Raises KeyError for a number that no hand has."""
        if number not in self.numbers:
            raise KeyError(f"no hand has the number {number}; the numbers are {self.numbers}")
        own = self.id == number
        frames, rows = np.arange(len(own)), own.argmax(1)
        there = own.any(1)
        values = {}
        for entry in fields(Hand):
            if (array := getattr(self, entry.name)) is not None:
                blank = np.nan if array.dtype.kind == "f" and entry.name != "confidence" else 0
                chosen = array[frames, rows]
                known = there.reshape(-1, *[1] * (chosen.ndim - 1))
                values[entry.name] = np.where(known, chosen, array.dtype.type(blank))
        return Hand(**values)


@dataclass(frozen=True)
class Hands:
    """The main hand of each side, and all hands; each is None if the file does not hold it."""

    left: Hand | None
    right: Hand | None
    all: AllHands | None = None

    def further(self, i: int) -> list[int]:
        """Return the rows of `all` in frame i whose hand is not the main hand of its side there.

        The main hand may be put together from several hands of `all`, and be smoothed as one: so its joints are near
        those of its row, and not the same.
        """
        if self.all is None:
            return []
        main = [hand.uv[i] for hand in (self.left, self.right) if hand is not None and hand.valid[i]]
        rows = [int(row) for row in np.flatnonzero(self.all.valid[i])]
        return [row for row in rows if not any(_same_hand(self.all.uv[i, row], uv) for uv in main)]


def _same_hand(uv: np.ndarray, other: np.ndarray) -> bool:
    """Return whether joints (21, 2) of two hands lie on each other, as those of different hands do not."""
    return bool(np.linalg.norm(uv - other, axis=1).mean() < _SAME_HAND * np.linalg.norm(np.ptp(other, axis=0)))
