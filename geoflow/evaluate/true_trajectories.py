"""True trajectories of points, from a file of the TAPVid-3D benchmark or from a GeoFlow ground truth."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.errors import InputError
from geoflow.synth.groundtruth import GroundTruth, load_ground_truth

_NAMES = ("tracks_XYZ", "visibility", "queries_xyt", "fx_fy_cx_cy", "images_jpeg_bytes")
_REMEDY = "give a file of the TAPVid-3D benchmark, or one that `geoflow synth` writes"


@dataclass(frozen=True)
class Trajectories:
    """N points in the T frames of a clip. Pixels are the truth's, with their centres at integers."""

    path: Path
    xyz: np.ndarray  # (T, N, 3) float32, camera frame of each frame; NaN where unknown
    visible: np.ndarray  # (T, N) bool
    queries: tuple[np.ndarray, np.ndarray] | None  # frame (N,) int64 and pixel (N, 2) float64; None if not stated
    uv: np.ndarray | None  # (T, N, 2) px; needed without stated queries
    focal: np.ndarray  # (T,) float64 px, sqrt(fx * fy); NaN where unknown
    size: tuple[int, int]  # height, width
    posed: np.ndarray  # (T,) bool: False where the truth does not know the camera, and so no position
    metric: bool  # lengths are metres
    source_sha256: str  # of the clip's file; "" if not known

    @property
    def num_frames(self) -> int:
        return len(self.xyz)

    def queries_at(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the queries in the frames `index` (M,) of the clip: which points, in which of the M frames, and where.

        Points and frames are (K,) int64, pixels (K, 2). The frame is -1 where a stated query lies in none of them.
        Without stated queries, a point's query is the first of these frames in which it is visible, and points that
        are visible in none have none.
        """
        if self.queries is not None:
            frame, uv = self.queries
            order = np.argsort(index, kind="stable")
            place = order[np.minimum(np.searchsorted(index[order], frame), len(index) - 1)]
            return np.arange(len(frame)), np.where(index[place] == frame, place, -1), uv
        assert self.uv is not None
        visible = self.visible[index]
        points = np.flatnonzero(visible.any(0))
        first = visible[:, points].argmax(0)
        return points, first, self.uv[index[first], points].astype(np.float64)


def read_trajectories(path: str | Path) -> Trajectories:
    """Read the truth of points: an .npz of TAPVid-3D, or a GeoFlow ground truth with tracks.

    Raises InputError if the file is missing, holds no such truth, or contradicts itself.
    """
    path = Path(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return _read_tapvid3d(path)
    with load_ground_truth(path) as truth:
        found = trajectories_of(truth)
    if found is None:
        raise InputError(f"{path} holds no tracks; {_REMEDY}")
    return found


def trajectories_of(truth: GroundTruth) -> Trajectories | None:
    """Bring the tracks of a GeoFlow ground truth into its cameras; None if it has none."""
    tracks = truth.tracks
    if tracks is None or not tracks.visible.size:
        return None
    pose, k = truth.cam_from_world.astype(np.float64), truth.intrinsics.astype(np.float64)
    focal = np.sqrt(k[:, 0, 0] * k[:, 1, 1])
    return Trajectories(
        path=truth.path,
        xyz=np.einsum("tij,tnj->tni", pose[:, :3, :3], tracks.xyz) + pose[:, None, :3, 3],
        visible=tracks.visible,
        queries=None,
        uv=tracks.uv,
        focal=focal,
        size=truth.size,
        posed=np.isfinite(pose).all((1, 2)) & np.isfinite(focal),
        metric=truth.metric,
        source_sha256=truth.source_sha256,
    )


def _read_tapvid3d(path: Path) -> Trajectories:
    arrays = _arrays(path)
    xyz, visible, queries = arrays["tracks_XYZ"], arrays["visibility"], arrays["queries_xyt"]
    num_frames, count = visible.shape if visible.ndim == 2 else (0, 0)
    shapes = {
        "tracks_XYZ": (num_frames, count, 3),
        "visibility": (num_frames, count),
        "queries_xyt": (count, 3),
        "fx_fy_cx_cy": (4,),
        "images_jpeg_bytes": (num_frames,),
    }
    if not num_frames or not count:
        raise InputError(f"{path} has no points: visibility is {visible.shape}, expected (frames, points); {_REMEDY}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise InputError(f"{path}: {name} is {arrays[name].shape}, expected {shape}; {_REMEDY}")
    camera = arrays["fx_fy_cx_cy"].astype(np.float64)
    frame = np.rint(queries[:, 2]).astype(np.int64)
    if not (np.isfinite(queries).all() and (frame >= 0).all() and (frame < num_frames).all()):
        raise InputError(f"{path}: queries_xyt must be pixels and frames 0 to {num_frames - 1}; {_REMEDY}")
    if not (np.isfinite(camera).all() and (camera[:2] > 0).all()):
        raise InputError(f"{path}: fx_fy_cx_cy is {camera.tolist()}, expected positive focal lengths; {_REMEDY}")
    return Trajectories(
        path=path,
        xyz=xyz,
        visible=visible.astype(bool),
        queries=(frame, queries[:, :2].astype(np.float64) - 0.5),  # the benchmark's (0, 0) is the picture's corner
        uv=None,
        focal=np.full(num_frames, np.sqrt(camera[0] * camera[1])),
        size=_picture_size(path, arrays["images_jpeg_bytes"]),
        posed=np.ones(num_frames, bool),
        metric="frames" not in arrays,  # an export of GeoFlow's own, which does not say whether its unit is the metre
        source_sha256="",
    )


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Return the file's arrays. Pickled ones are refused, since a pickle can run anything."""
    found: dict[str, np.ndarray] = {}
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(np.load(path, allow_pickle=False))
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not a readable .npz file ({error}); {_REMEDY}") from None
        missing = [name for name in _NAMES if name not in file]
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}; {_REMEDY}")
        for name in (*_NAMES, *(name for name in ("frames",) if name in file)):
            try:
                found[name] = file[name]
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise InputError(
                    f"{path}: {name} cannot be read ({error}); if it holds Python objects, write it again as plain "
                    "numbers, and pictures with np.array(list_of_jpegs) without a dtype"
                ) from None
    frames = found.get("frames")
    if frames is not None and not np.array_equal(frames, np.arange(len(frames))):
        raise InputError(
            f"{path} holds some frames of a clip only (its `frames` are {frames[:4].tolist()}…), and its rows cannot "
            "be found in the clip; export a store whose frames are all posed, with stride=1"
        )
    return found


def _picture_size(path: Path, jpegs: np.ndarray) -> tuple[int, int]:
    import cv2

    picture = None
    if jpegs.dtype.kind == "S" and len(jpegs[0]):
        picture = cv2.imdecode(np.frombuffer(jpegs[0], np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path}: images_jpeg_bytes[0] is not a JPEG, whose size thresholds depend on; {_REMEDY}")
    return picture.shape[0], picture.shape[1]
