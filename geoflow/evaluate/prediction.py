"""The contents of a store, read frame by frame with plain h5py."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geoflow.errors import InputError
from geoflow.evaluate.pixels import lift
from geoflow.store.coherence import key_of, reads_everything
from geoflow.store.layout import TRACK_TILE


@dataclass(frozen=True)
class Branch:
    """The dense output of one branch. `points` and `mask` may be absent; depth is 0 where unknown."""

    depth: Any  # h5py.Dataset (T, H, W)
    mask: Any | None
    points: Any | None
    intrinsics: np.ndarray | None  # (T, 3, 3)

    def depth_at(self, i: int) -> np.ndarray:
        """Depth of frame i: (H, W) float32, 0 where invalid."""
        depth = self.depth[i].astype(np.float32)
        keep = np.isfinite(depth) & (depth > 0)
        if self.mask is not None:
            keep &= self.mask[i]
        return np.where(keep, depth, np.float32(0))

    def points_at(self, i: int, depth: np.ndarray, pixels: np.ndarray) -> np.ndarray | None:
        """Return points (N, 3) float32, camera frame, of pixels with flat numbers (N,) in frame i of depth (H, W).

        None if the store does not have the needed data.
        """
        if self.points is not None:
            return self.points[i].reshape(-1, 3)[pixels].astype(np.float32)
        if self.intrinsics is None or not np.isfinite(self.intrinsics[i]).all():
            return None
        return lift(depth.ravel()[pixels], pixels, depth.shape[1], self.intrinsics[i])


@dataclass(frozen=True)
class StoredTracks:
    """The tracks of a store: N points in T frames, read slice by slice."""

    query: np.ndarray  # (N, 4): frame of the store, x, y, z
    uv: Any  # h5py.Dataset (T, N, 2) px
    xyz: Any  # h5py.Dataset (T, N, 3) world
    visible: Any  # h5py.Dataset (T, N)

    def row(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels (N, 2) float32 of all tracks in frame i, NaN where unknown, and which are visible (N,)."""
        return self.uv[i], self.visible[i].astype(bool)

    def columns(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return world points (T, M, 3) and visibility (T, M) of the M tracks `chosen`, which may repeat.

        They are read by tiles of frames: picking columns of a dataset takes far longer.
        """
        shape = len(self.visible), len(chosen)
        xyz, visible = np.empty((*shape, 3), np.float32), np.empty(shape, bool)
        for start in range(0, len(visible), TRACK_TILE[0]):
            part = slice(start, start + TRACK_TILE[0])
            xyz[part], visible[part] = self.xyz[part][:, chosen], self.visible[part][:, chosen]
        return xyz, visible


class Prediction:
    """An open store; use it in a `with` block. Everything except the frame numbers may be absent."""

    def __init__(self, path: Path) -> None:
        import h5py

        if not path.is_file():
            raise InputError(f"no store at {path}; give a videos/*.h5 file that `geoflow run` wrote")
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise InputError(f"{path} is not a readable HDF5 file ({error}); expected a GeoFlow store") from None
        if "geoflow_schema" not in self._file.attrs or "frames/index" not in self._file:
            self._file.close()
            raise InputError(f"{path} has no geoflow_schema attribute or no frames/index; expected a GeoFlow store")
        self.path = path
        self.frame_index: np.ndarray = self._file["frames/index"][:]  # source frame numbers
        self.key = key_of(self._file)
        self.source = str(self._file.attrs.get("source", ""))
        self.source_sha256 = str(self._file.attrs.get("source_sha256", ""))
        self.whole_clip = reads_everything(self._file)  # every frame of the source was to be read
        self.height = int(self._file.attrs["height"])
        self.width = int(self._file.attrs["width"])
        self.metric = bool(self._file.attrs["metric"])  # lengths are metres
        self.branches = {name: b for name in ("prior", "geometry", "camera") if (b := self._branch(name)) is not None}

    def _branch(self, name: str) -> Branch | None:
        if f"{name}/depth" not in self._file:
            return None
        return Branch(
            self._file[f"{name}/depth"],
            self._file.get(f"{name}/mask"),
            self._file.get(f"{name}/points"),
            self.array(f"{name}/intrinsics"),
        )

    @property
    def num_frames(self) -> int:
        return len(self.frame_index)

    def array(self, name: str) -> np.ndarray | None:
        """Return a whole small dataset, or None if it is absent."""
        return self._file[name][:] if name in self._file else None

    def dataset(self, name: str) -> Any | None:
        """Return a dataset to read slice by slice, or None."""
        return self._file.get(name)

    def tracks(self) -> StoredTracks | None:
        """Return the tracks; None if the store holds none."""
        query = self.array("tracks/query")
        uv, xyz, visible = (self.dataset(f"tracks/{name}") for name in ("uv", "xyz", "visible"))
        if query is None or uv is None or xyz is None or visible is None or not len(query):
            return None
        return StoredTracks(query, uv, xyz, visible)

    def seams(self) -> list[tuple[int, int]]:
        """Return for each pair of neighbouring segments the overlap [start, stop) in frames of the store."""
        table = self._file.get("segments")
        if table is None or not len(table):
            return []
        starts, stops = (np.asarray(table[key]).astype(int) for key in ("start", "stop"))
        order = np.argsort(starts)
        return [(int(starts[b]), int(stops[a])) for a, b in pairwise(order)]

    def poses(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return cam_from_world (T, 4, 4) float64, and which frames have a pose (T,) bool; None without cameras.

        Other frames hold NaN, but may have a rotation.
        """
        cam_from_world, valid = self.array("camera/cam_from_world"), self.array("camera/valid")
        if cam_from_world is None:
            return None
        finite = np.isfinite(cam_from_world).all((1, 2))
        return cam_from_world.astype(np.float64), finite if valid is None else finite & valid

    def __enter__(self) -> Prediction:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
