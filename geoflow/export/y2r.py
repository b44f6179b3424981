"""`y2r`: windows of tracks, camera and hands from every frame on, in the form of y2r's data loader."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.export.frames import Depths, cameras_of, pictures, posed_frames
from geoflow.export.statistics import Moments
from geoflow.export.track_rows import TrackRow, track_rows, tracks_of
from geoflow.geometry.rigid import apply, invert
from geoflow.store.lazy import Hand
from geoflow.store.reader import Video
from geoflow.store.whole import whole_h5, write_whole

STATISTICS_FILE = "normalization_stats.yaml"
_IMAGENET = {"imagenet_mean": [0.485, 0.456, 0.406], "imagenet_std": [0.229, 0.224, 0.225]}  # the loader's, of [0, 1]
# Statistics: name in the file, where the mean and the deviation go, width.
_STATISTICS = {
    "displacement": ("displacement_mean", "displacement_std", 3),
    "depth": ("depth_mean", "depth_std", 1),
    "pose": ("pose_mean", "pose_std", 9),
    "hand_uvd": ("hand_uvd_disp_mean", "hand_uvd_disp_std", 3),
    "hand_rot": ("hand_rot_disp_mean", "hand_rot_disp_std", 6),
}


@dataclass(frozen=True)
class _Crop:
    """The square in the middle of the picture, resized to `size` pixels."""

    left: int
    top: int
    side: int
    size: int

    @classmethod
    def of(cls, video: Video, size: int) -> _Crop:
        side = min(video.height, video.width)
        return cls((video.width - side) // 2, (video.height - side) // 2, side, size)

    def picture(self, array: np.ndarray, interpolation: int) -> np.ndarray:
        import cv2

        square = array[self.top : self.top + self.side, self.left : self.left + self.side]
        return cv2.resize(square, (self.size, self.size), interpolation=interpolation)

    def intrinsics(self, k: np.ndarray) -> np.ndarray:
        """Return pinhole matrices (..., 3, 3) float64 of the cropped picture, whose corner is (0, 0)."""
        out = np.array(k, np.float64)
        out[..., 0, 2] += 0.5 - self.left
        out[..., 1, 2] += 0.5 - self.top
        out[..., :2, :] *= self.size / self.side
        return out

    def uvd(self, xyz: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Project camera-frame points (..., 3) to u, v in [0, 1] and depth, float64; `k` is of the crop.

        NaN behind the camera.
        """
        z = np.where(xyz[..., 2] > 1e-9, xyz[..., 2], np.nan)
        x, y = xyz[..., 0] / z, xyz[..., 1] / z
        u = k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2]
        v = k[..., 1, 1] * y + k[..., 1, 2]
        return np.stack([u / self.size, v / self.size, z], axis=-1)


def export_y2r(
    video: Video, out: Path, *, num_track_ts: int = 16, target_size: int = 256, stride: int = 1, text: str = ""
) -> int:
    """Write `out`, an .hdf5, and `normalization_stats.yaml` for all of its folder; return T, the number of frames.

    A window starts at every `stride`-th frame t from which on `num_track_ts` = W frames all have a pose. Pictures are
    the middle square at `target_size` = S pixels. Depth is z in scene units, poses are in OpenCV's convention.

    `root/video` (T, 3, S, S) uint8 RGB; `root/depth` (T, S, S) float32, 0 where unknown; `root/intrinsics` (3, 3)
    float32, of the cropped pictures, the median over the posed frames; `root/num_frames`, `root/num_track_ts` int64;
    `root/track_type` "3d"; `root/text` the `text` given, or empty. For each window a group `root/tracks/frame_%04d`:

    - `query_coords` (N, 3) float32: u, v in [0, 1] from the left and upper edges of the picture, and depth, of the
      tracks that are seen in frame t and known and inside the picture throughout the window, in the camera of frame t
    - `displacements` (W, N, 3) float32: the same of every frame of the window, in the camera of frame t, less the first
    - `poses` (W, 9) float32: camera of each frame from camera of frame t, the first two columns of the rotation one
      after the other, then the translation
    - of a hand that is valid throughout, `left_wrist_…` or `right_wrist_…`: `query_uvd` (3,), `uvd_displacements` (W,
      3), `query_rot_6d` (6,) and `rot_displacements` (W, 6), each frame's in its own camera; a rotation's displacement
      is that from the first, R_t R_0^T, by its first two columns

    With E mapping the world into the camera, the relative pose is E_t E_0^-1: a camera that goes ahead by 0.5 has the
    row 1, 0, 0, 0, 1, 0, 0, 0, -0.5. Joints of a store are in the camera's frame, rotated already; the wrist's rotation
    is not applied to them. A left hand is that of the mirror image: beside the right hand with the rotation R, its
    mirror image x -> -x has M R M with M = diag(-1, 1, 1), and so do the stores. Of the six numbers 0, 1, 0, -1, 0, 0
    it makes 0, -1, 0, 1, 0, 0.

    Depths of hands are in the unit of the scene. A hand that is in metres where the scene is not is left out of the
    windows in which it is: its depth would be no depth of this scene.

    Attributes of `root` hold mean, deviation and number of the displacements, depths, poses and hands of this file,
    `unit` ("m" or "scene"), and `hands_left_out`, the number of hands in windows that are left out for their unit.

    Raises StoreError without poses, tracks or depth, if no window has all poses, or if pixels cannot be read.
    """
    if num_track_ts < 2 or target_size < 2:
        raise ConfigError(f"--set num_track_ts={num_track_ts} target_size={target_size}: both should be at least 2")
    tracks_of(video)
    depths = Depths(video)
    crop = _Crop.of(video, target_size)
    intrinsics = np.median(crop.intrinsics(cameras_of(video).intrinsics[posed_frames(video)]), axis=0)
    starts = _starts(video, num_track_ts, stride)
    moments = {name: Moments(width) for name, (_, _, width) in _STATISTICS.items()}
    with whole_h5(out) as whole:
        root = whole.file.create_group("root")
        _write_frames(root, video, depths, crop, moments["depth"], whole.check)
        root["intrinsics"] = intrinsics.astype(np.float32)
        root["num_frames"], root["num_track_ts"], root["track_type"] = len(video), num_track_ts, "3d"
        root["text"] = text
        root.attrs["unit"] = "m" if video.metric else "scene"
        groups, left_out = root.create_group("tracks"), 0
        for t, window in _windows(video, starts, num_track_ts):
            hands = _whole_hands(video, slice(t, t + num_track_ts))
            placed = {
                side: hand
                for side, hand in hands.items()
                if hand.in_scene_units(video.metric)[t : t + num_track_ts].all()
            }
            left_out += len(hands) - len(placed)
            arrays = {**_tracks(video, window, crop, intrinsics), **_hands(placed, t, num_track_ts, crop, intrinsics)}
            group = groups.create_group(f"frame_{t:04d}")
            for name, array in arrays.items():
                group[name] = array.astype(np.float32)
            _count(moments, arrays)
            whole.check()
        root.attrs["hands_left_out"] = left_out
        for name, (mean, std, _) in _STATISTICS.items():
            root.attrs.update(
                {mean: moments[name].mean, std: moments[name].std, f"{name}_num_samples": moments[name].count[0]}
            )
    pool_statistics(out.parent)
    return len(video)


def pool_statistics(folder: Path) -> Path:
    """Write `normalization_stats.yaml` for all .hdf5 files of a folder; return its path. Raises StoreError.

    Files of other formats are ignored. Statistics of hands are written only if there are hands.
    """
    import h5py
    import yaml

    pooled = {name: Moments(width) for name, (_, _, width) in _STATISTICS.items()}
    for path in sorted(folder.glob("*.hdf5")):
        with h5py.File(path, "r") as file:
            attrs = file["root"].attrs if "root" in file else {}
            for name, (mean, std, _) in _STATISTICS.items():
                if f"{name}_num_samples" in attrs:
                    pooled[name].merge(attrs[mean], attrs[std], int(attrs[f"{name}_num_samples"]))
    stats: dict[str, Any] = {**_IMAGENET, "track_type": "3d", "track_dim": 3}
    for name, (mean, std, width) in _STATISTICS.items():
        count = int(pooled[name].count[0])
        if name.startswith("hand") and not count:
            continue
        values = pooled[name].mean.tolist(), pooled[name].std.tolist()
        stats[mean], stats[std] = values if width > 1 else (values[0][0], values[1][0])
        stats["hand_pose_num_samples" if name.startswith("hand") else f"{name}_num_samples"] = count
    target = folder / STATISTICS_FILE
    write_whole(target, yaml.safe_dump(stats).encode())
    return target


def _starts(video: Video, length: int, stride: int) -> np.ndarray:
    posed = np.zeros(len(video), bool)
    posed[posed_frames(video)] = True
    last = len(video) - length + 1
    starts = [t for t in range(0, max(last, 0), stride) if posed[t : t + length].all()]
    if not starts:
        raise StoreError(
            f"{video.path} does not have {length} frames with a pose in a row; ask for fewer with --set num_track_ts=N"
        )
    return np.array(starts)


def _write_frames(root: Any, video: Video, depths: Depths, crop: _Crop, moments: Moments, check: Any) -> None:
    import cv2

    count, size = len(video), crop.size
    videos = root.create_dataset(
        "video", (count, 3, size, size), np.uint8, chunks=(1, 3, size, size), compression="gzip"
    )
    maps = root.create_dataset("depth", (count, size, size), np.float32, chunks=(1, size, size), compression="gzip")
    for i, rgb in enumerate(pictures(video, range(count))):
        videos[i] = crop.picture(rgb, cv2.INTER_AREA).transpose(2, 0, 1)
        maps[i] = depth = crop.picture(depths[i][0], cv2.INTER_NEAREST)
        moments.add(depth[depth > 0][:, None])
        check()


def _windows(video: Video, starts: np.ndarray, length: int) -> Iterator[tuple[int, list[TrackRow]]]:
    wanted = set(starts.tolist())
    recent: deque[TrackRow] = deque(maxlen=length)
    for row in track_rows(video):
        recent.append(row)
        if recent[0].i in wanted and len(recent) == length:
            yield recent[0].i, list(recent)


def _tracks(video: Video, window: list[TrackRow], crop: _Crop, intrinsics: np.ndarray) -> dict[str, np.ndarray]:
    first = window[0]
    chosen = np.flatnonzero(first.visible)
    cam_from_world = cameras_of(video).cam_from_world[first.i : first.i + len(window)].astype(np.float64)
    xyz = np.stack([row.xyz[chosen] for row in window])
    uvd = crop.uvd(apply(cam_from_world[0], xyz), intrinsics)
    inside = (np.isfinite(uvd) & (uvd >= 0)).all(-1) & (uvd[..., :2] <= 1).all(-1)
    uvd = uvd[:, inside.all(0)]
    from_first = cam_from_world @ invert(cam_from_world[0])
    poses = np.concatenate([_six(from_first[:, :3, :3]), from_first[:, :3, 3]], axis=1)
    return {"query_coords": uvd[0], "displacements": uvd - uvd[:1], "poses": poses}


def _whole_hands(video: Video, window: slice) -> dict[str, Hand]:
    """The hands that are valid throughout a window, by side."""
    found = {side: getattr(video.hands, side, None) for side in ("left", "right")}
    return {side: hand for side, hand in found.items() if hand is not None and hand.valid[window].all()}


def _hands(hands: dict[str, Hand], t: int, length: int, crop: _Crop, intrinsics: np.ndarray) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for side, hand in hands.items():
        wrist = hand.wrist[t : t + length].astype(np.float64)
        uvd = crop.uvd(wrist[:, :3, 3], intrinsics)
        if not (np.isfinite(uvd).all() and np.isfinite(wrist).all()):
            continue
        rotation = wrist[:, :3, :3]
        arrays |= {
            f"{side}_wrist_query_uvd": uvd[0],
            f"{side}_wrist_uvd_displacements": uvd - uvd[:1],
            f"{side}_wrist_query_rot_6d": _six(rotation[:1])[0],
            f"{side}_wrist_rot_displacements": _six(rotation @ rotation[0].T),
        }
    return arrays


def _six(rotation: np.ndarray) -> np.ndarray:
    """Return the first two columns of rotations (W, 3, 3), one after the other: (W, 6) (Zhou et al. 2019)."""
    return np.concatenate([rotation[..., 0], rotation[..., 1]], axis=-1)


def _count(moments: dict[str, Moments], arrays: dict[str, np.ndarray]) -> None:
    moments["displacement"].add(arrays["displacements"])
    moments["depth"].add(arrays["query_coords"][:, 2:])
    moments["pose"].add(arrays["poses"])
    for side in ("left", "right"):
        if f"{side}_wrist_query_uvd" in arrays:
            moments["hand_uvd"].add(arrays[f"{side}_wrist_uvd_displacements"])
            moments["hand_rot"].add(arrays[f"{side}_wrist_rot_displacements"])
