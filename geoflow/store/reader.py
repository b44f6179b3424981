"""Reader of a video's store. Nothing is read until it is needed."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import h5py
import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.fields import field
from geoflow.files.locations import is_remote, local
from geoflow.geometry.cameras import unproject
from geoflow.geometry.rigid import apply, invert
from geoflow.store.index import table_rows
from geoflow.store.lazy import AllHands, Cameras, Hand, Hands, Lazy, Tracks
from geoflow.store.objects import Objects
from geoflow.store.opening import Uri, open_h5
from geoflow.store.schema import ATTRIBUTES, IDENTITY, NOTES, SCHEMA, SEGMENTS, datasets

_SomeHands = TypeVar("_SomeHands", Hand, AllHands)


def open_video(path: str | os.PathLike[str]) -> Video:
    """Open a store for reading: a file, or a URI, from which only the needed blocks are fetched.

    Raises StoreError if the file is missing, incomplete, not a store, or of a newer schema.
    """
    where = Uri(path) if is_remote(path) else local(path)
    try:
        file = open_h5(where)
    except FileNotFoundError:
        raise StoreError(f"{where} does not exist; expected the .h5 file of a video below OUT/videos") from None
    except OSError as error:
        raise StoreError(f"{where} is not a whole HDF5 file ({error}); write it again with `geoflow run`") from error
    found = file.attrs.get("geoflow_schema")
    missing = [name for name in ATTRIBUTES if name not in file.attrs]
    if found is None:
        problem = f"{where} is HDF5 but not a GeoFlow store: it has no attribute geoflow_schema"
    elif found > SCHEMA:
        problem = f"{where} has schema {found}, this version reads up to {SCHEMA}; install a newer geoflow-video"
    elif missing:
        problem = f"{where} lacks the attributes {missing}; `geoflow verify` says more"
    else:
        return Video(file, where)
    file.close()
    raise StoreError(problem)


class Video:
    """One video's store, read lazily. Use it in a `with` block or call `close`.

    Indices are frames of the store, 0 to len(video) - 1; `frame_index` maps them to frames of the source.
    """

    def __init__(self, file: h5py.File, path: Path | Uri) -> None:
        self.file, self.path = file, path
        attrs = file.attrs
        self.source = str(attrs["source"])
        self.source_sha256 = str(attrs["source_sha256"])
        self.source_identity = str(attrs.get(IDENTITY, ""))
        self.fps = float(attrs["fps"])
        self.num_frames = int(attrs["num_frames"])
        self.height = int(attrs["height"])
        self.width = int(attrs["width"])
        self.metric = bool(attrs["metric"])
        self.status = str(attrs["status"])
        self.version = str(attrs["geoflow_version"])

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def pipeline(self) -> dict[str, Any]:
        """Return every parameter, seed, version, revision and licence with which the file was made."""
        return json.loads(self.file.attrs["pipeline"])

    @cached_property
    def frame_index(self) -> np.ndarray:
        """Return the source frame numbers, (T,) int64."""
        return self._array("frames/index")

    @cached_property
    def frame_time(self) -> np.ndarray:
        """Return the times in seconds since the start of the source, (T,) float64."""
        return self._array("frames/time")

    @cached_property
    def views(self) -> np.ndarray:
        """Return geoflow.fields.VIEW_* of each frame, (T,) uint8; 0 throughout if the file lacks it."""
        return self._array("frames/view") if "frames/view" in self.file else np.zeros(len(self), np.uint8)

    @property
    def source_choice(self) -> dict[str, Any]:
        """Return the user's choice of stream or pictures of the source: `stream` and `pattern` of `ReadOptions`."""
        reading = self.pipeline.get("reading", {})
        return {name: reading.get(name) for name in ("stream", "pattern")}

    @cached_property
    def notes(self) -> list[str]:
        """Return sentences on what is unusual about the source, how it was read, and what was repaired."""
        return list(json.loads(self.file.attrs.get(NOTES, "[]")))

    @cached_property
    def remarks(self) -> list[str]:
        """Return `notes` and sentences on what could not be recovered of this video, and why; [] if all went well."""
        from geoflow.store.remarks import remarks

        return remarks(self)

    @cached_property
    def recovered(self) -> str:
        """Return a sentence on what was recovered of this video, and what was not and why."""
        from geoflow.store.recovery import recovery_of

        return str(self.file.attrs["recovered"]) if "recovered" in self.file.attrs else recovery_of(self).sentence

    @property
    def depth(self) -> Lazy:
        """Return depth z, (T, H, W) float32 scene units, 0 where invalid. Raises StoreError without geometry."""
        return self._masked_depth("geometry")

    @property
    def mask(self) -> Lazy:
        """Return where `depth` is valid: (T, H, W) bool."""
        return Lazy(self._dataset("geometry/mask"))

    @property
    def prior_depth(self) -> Lazy:
        """Return the prior's depth, (T, H, W) float32 with its own scale in each frame, 0 where invalid."""
        return self._masked_depth("prior")

    @property
    def camera_depth(self) -> Lazy:
        """Return multi-view depth of the camera branch: (T, H, W) float32 scene units, 0 where unknown."""
        return Lazy(self._dataset("camera/depth"), lambda depth, _: depth.astype(np.float32))

    @cached_property
    def intrinsics(self) -> np.ndarray:
        """Return the pinhole matrices of `depth`: (T, 3, 3) float32 px."""
        return self._array("geometry/intrinsics")

    @cached_property
    def cameras(self) -> Cameras | None:
        """Return poses and intrinsics; None if the file holds none."""
        if "camera" not in self.file:
            return None
        motion = self._array("camera/motion") if "camera/motion" in self.file else np.zeros(len(self), np.uint8)
        intrinsics, pose, valid = (self._array(f"camera/{name}") for name in ("intrinsics", "cam_from_world", "valid"))
        judged = {
            name: self._array(f"camera/{name}") if f"camera/{name}" in self.file else None
            for name in ("quality", "doubt", "focal_error")
        }
        return Cameras(intrinsics, pose, valid, motion, **judged)

    @cached_property
    def tracks(self) -> Tracks | None:
        """Return point tracks; None if the file holds none."""
        if "tracks" not in self.file:
            return None
        xyz, visible, uv = (Lazy(self._dataset(f"tracks/{name}")) for name in ("xyz", "visible", "uv"))
        names = ("id", "object", "row")
        extra = {name: self._array(f"tracks/{name}") for name in names if f"tracks/{name}" in self.file}
        return Tracks(xyz, visible, uv, self._array("tracks/query"), **extra)

    @cached_property
    def hands(self) -> Hands | None:
        """Return hands; None if the file holds none."""
        if "hands" not in self.file:
            return None
        return Hands(self._hand("left", Hand), self._hand("right", Hand), self._hand("all", AllHands))

    @cached_property
    def objects(self) -> Objects | None:
        """Return objects by number, each with its masks and its mesh; None if the file holds none."""
        return Objects(self.file, str(self.path)) if "objects" in self.file else None

    @cached_property
    def segments(self) -> list[dict[str, Any]]:
        """Return the rows of the `segments` table: start, stop, status, scale, seam_residual, seconds per stage,
        ladder."""
        return table_rows(self._array(SEGMENTS))

    @property
    def fields(self) -> list[str]:
        """Return the names of fields that the file holds directly, for `field`."""
        return [row.field for name, row in datasets().items() if not row.take and name in self.file]

    def field(self, name: str) -> Lazy:
        """Return a field of the table by its name, such as `camera.depth`: its stored values.

        Raises ConfigError for a name that the table lacks, StoreError if the file does not hold the field.
        """
        row = field(name)
        whole = [entry.name for entry in datasets().values() if entry.field == name and not entry.take]
        if whole and whole[0] in self.file:
            return Lazy(self._dataset(whole[0]))
        part = [entry.name for entry in datasets().values() if entry.field == name and entry.name in self.file]
        if part:
            raise StoreError(f"{self.path} holds only the depth of {name} ({part[0]}); `points(i)` computes the points")
        if not whole:
            raise StoreError(f"{name} is not kept in stores: {row.meaning}")
        return Lazy(self._dataset(whole[0]))

    def points(self, i: int, *, world: bool = False) -> np.ndarray:
        """Return the point map of frame i: (H, W, 3) float32 scene units, camera frame; NaN where invalid.

        With `world`, it is in the world frame, and NaN throughout if the frame has no pose. (In the file itself, a
        stored `geometry/points` is 0 where invalid.)
        """
        if "geometry/points" in self.file:
            xyz = Lazy(self._dataset("geometry/points"))[i].astype(np.float32)
        else:
            xyz = unproject(self.depth[i], self.intrinsics[i])
        xyz = np.where(xyz[..., 2:] > 0, xyz, np.float32(np.nan))
        if not world:
            return xyz
        if self.cameras is None:
            raise StoreError(f"{self.path} holds no camera poses; points(i) gives the camera frame")
        return apply(invert(self.cameras.cam_from_world[i]), xyz)

    def rgb(self, i: int) -> np.ndarray:
        """Return frame i: (H, W, 3) uint8, from the file if it holds frames, otherwise decoded from the source.

        Raises StoreError if the source is gone, cannot be read, or was replaced since then; and if it must be decoded
        and PyAV is not installed.
        """
        if "frames/rgb" in self.file:
            return Lazy(self._dataset("frames/rgb"))[i]
        from geoflow.store.source_frames import source_frames

        return source_frames(self, self.frame_index[[i]])[0]

    def show(self, i: int) -> np.ndarray:
        """Return a strip (H, n W, 3) uint8 of frame i: colour, depth and multi-view depth, as far as they are there.

        In Jupyter it is also shown below the cell. Depth is coloured by its inverse, both depths in one range: near is
        red, far is blue, invalid is grey.

        Raises StoreError if there is nothing to show, or if the source was replaced by another.
        """
        from geoflow.store.depth_colours import colour_depth, inverse_range
        from geoflow.store.picture import Picture
        from geoflow.store.source_frames import is_of_another_source

        panels = []
        try:
            panels.append(self.rgb(i))
        except StoreError as error:
            if is_of_another_source(error) or ("geometry" not in self.file and "camera" not in self.file):
                raise
        branches = (("geometry", "depth"), ("camera", "camera_depth"))
        maps = [getattr(self, depth)[i] for group, depth in branches if f"{group}/depth" in self.file]
        panels += [colour_depth(depth, inverse_range(maps)) for depth in maps]
        return Picture.shown(np.concatenate(panels, axis=1))

    def trajectory(self, *, points: int = 2000, frusta: int = 12) -> Any:
        """Return an interactive plotly figure: the camera's path, some of its views and tracked points in the world.

        Raises StoreError if no frame has a pose, ConfigError if plotly (the extra `notebook`) is not installed.
        """
        try:
            from geoflow.notebook.scene_figure import trajectory_figure
        except ModuleNotFoundError as error:  # of `geoflow-reader`, which leaves out what draws
            raise ConfigError(
                f'trajectory() cannot be drawn ({error}); pip install "geoflow-video[notebook]"'
            ) from error
        return trajectory_figure(self, points=points, frusta=frusta)

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    def __repr__(self) -> str:
        if not self.file:
            return f"Video({self.name!r}, closed)"
        slots = dict.fromkeys(row.row.slot for row in datasets().values())
        held = [name for name in slots if name in self.file and name != "frames"]
        size = f"{self.num_frames} frames {self.width}x{self.height} at {self.fps:g} fps"
        unit = "metres" if self.metric else "up to one scale"
        return f"Video({self.name!r}, {size}, {', '.join(held) or 'empty'}; {unit})"

    def _repr_html_(self) -> str | None:
        try:
            from geoflow.notebook.video_card import video_html
        except ModuleNotFoundError:  # of `geoflow-reader`, which leaves out what draws: the plain text is shown
            return None
        return video_html(self) if self.file else None  # if closed, its plain text is shown

    def _dataset(self, name: str) -> h5py.Dataset:
        if not self.file:
            raise StoreError(f"{self.path} is closed; open it again")
        if name not in self.file:
            held = ", ".join(self.file)
            raise StoreError(f"{self.path} holds no {name}, only {held}; run a pipeline that has this slot")
        return self.file[name]

    def _array(self, name: str) -> np.ndarray:
        return Lazy(self._dataset(name))[()]

    def _masked_depth(self, group: str) -> Lazy:
        mask = self._dataset(f"{group}/mask")
        return Lazy(
            self._dataset(f"{group}/depth"),
            lambda depth, where: np.where(mask[where], depth, np.float16(0)).astype(np.float32),
        )

    def _hand(self, group: str, kind: type[_SomeHands]) -> _SomeHands | None:
        held = self.file.get(f"hands/{group}")
        if held is None:
            return None
        return kind(**{name: held[name][()] for name in kind.__dataclass_fields__ if name in held})
