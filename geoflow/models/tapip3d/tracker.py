"""The tracker with everything around its network: working size, queries, both directions of time, visibility."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from geoflow.errors import ConfigError
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.options import TrackOptions
from geoflow.models.tapip3d.prepared import RepairedDepth, ResizedFrames, depth_range
from geoflow.models.tapip3d.query_grid import grid_queries
from geoflow.models.tapip3d.resizing import resize_intrinsics, working_size
from geoflow.models.tapip3d.templates import Carried
from geoflow.models.tapip3d.windows import More, WindowRun


@dataclass(frozen=True)
class Tracks:
    """What became of N points in T frames."""

    xyz: np.ndarray  # (T, N, 3) float32, world, in the unit of depth
    visible: np.ndarray  # (T, N) bool
    logits: np.ndarray  # (T, N) float32, of being visible
    queries: np.ndarray  # (N, 4) float32: frame, x, y, z


class Tracker:
    """TAPIP3D with its weights, ready on a device."""

    def __init__(self, network: TrackerNetwork, base_size: tuple[int, int], dtype: torch.dtype | None = None) -> None:
        self.network, self.base_size, self.dtype = network.eval(), base_size, dtype
        self.device = next(network.parameters()).device

    def track(
        self,
        rgb: np.ndarray,
        depth: np.ndarray,
        intrinsics: np.ndarray,
        cam_from_world: np.ndarray | None = None,
        queries: np.ndarray | None = None,
        **options: Any,
    ) -> Tracks:
        """Follow points through a clip.

        rgb (T, H, W, 3) uint8; depth (T, H, W) float32 along the optical axis in any unit, 0 where unknown; intrinsics
        (T, 3, 3) px of the depth maps; cam_from_world (T, 4, 4) in the unit of depth, None for a camera at rest;
        queries (N, 4): frame, and position in the world, or None for a grid on frame 0. `options` are fields of
        TrackOptions.

        Memory does not grow with T beyond the arguments and the result; prepared depth lies in a temporary file. Raises
        ConfigError if shapes or values do not fit.
        """
        chosen = TrackOptions(**options)
        at_rest = np.broadcast_to(np.eye(4, dtype=np.float32), (len(rgb), 4, 4))
        poses = at_rest if cam_from_world is None else cam_from_world
        _check(rgb, depth, intrinsics, poses, queries)
        clip = self.prepare(rgb, depth, intrinsics, poses, chosen)
        counted = depth_range(clip.depth)  # type: ignore[arg-type]
        given = grid_queries(clip, 0, chosen.grid_size) if queries is None else np.asarray(queries, np.float32)
        helped = 0 if queries is None else chosen.support_grid_size
        xyz, logits = self.both_ways(clip, given, chosen, counted, helped)
        return Tracks(xyz, self.believed(logits, chosen), logits, given)

    @staticmethod
    def believed(logits: np.ndarray, options: TrackOptions) -> np.ndarray:
        """Return which of the logits reach the threshold, as float32 has them."""
        belief = torch.from_numpy(np.ascontiguousarray(logits)).sigmoid().numpy()
        return belief >= np.float32(options.visibility_threshold)

    def prepare(
        self, rgb: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, poses: np.ndarray, options: TrackOptions
    ) -> Clip:
        """Return the clip at its working size, with depth repaired at its edges."""
        if options.resolution_factor is None:
            return Clip.of(rgb, depth, intrinsics.astype(np.float32), poses.astype(np.float32))
        size = working_size(self.base_size, options.resolution_factor)
        resized = resize_intrinsics(intrinsics, depth.shape[1:], size)
        frames, repaired = ResizedFrames(rgb, size), RepairedDepth(depth, resized, size)
        return Clip.of(frames, repaired, resized, poses.astype(np.float32))

    def both_ways(
        self,
        clip: Clip,
        queries: np.ndarray,
        options: TrackOptions,
        counted: tuple[float, float] | None,
        support_grid: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (T, N, 3) and logits (T, N); frames before a query's come from the clip run backwards."""
        xyz, logits = self.one_way(clip, queries, options, counted, support_grid)
        if options.bidirectional and (queries[:, 0] > 0).any():
            turned = queries.copy()
            turned[:, 0] = len(clip) - 1 - queries[:, 0]
            back_xyz, back_logits = self.one_way(clip.reversed(), turned, options, counted, support_grid)
            before = np.arange(len(clip))[:, None] < queries[:, 0]
            xyz = np.where(before[..., None], back_xyz[::-1], xyz)
            logits = np.where(before, back_logits[::-1], logits)
        return xyz, logits

    def one_way(
        self,
        clip: Clip,
        queries: np.ndarray,
        options: TrackOptions,
        counted: tuple[float, float] | None,
        support_grid: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and logits of one pass, helped by a grid of points on the first frame."""
        helpers = grid_queries(clip, 0, support_grid) if support_grid else queries[:0]
        everything = np.concatenate((queries, helpers)).astype(np.float32)
        poses = np.stack([clip.cam_from_world[k] for k in clip.order])
        if options.camera_space:
            clip, everything = clip.in_cameras(), _into_cameras(everything, poses)
        run = self.run(clip, everything, options, counted)
        xyz, logits = run.positions(), run.beliefs()
        if options.camera_space:
            xyz = _out_of_cameras(xyz, poses)
        return xyz[:, : len(queries)], logits[:, : len(queries)]

    def run(
        self,
        clip: Clip,
        queries: np.ndarray,
        options: TrackOptions,
        counted: tuple[float, float] | None,
        carried: Carried | None = None,
        more: More | None = None,
    ) -> WindowRun:
        """Return one pass that has gone through all windows; `carried` and `more` as of `WindowRun`."""
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            run = WindowRun(self.network, clip, queries, options.num_iters, counted, options.tokens, carried=carried)
            run.go(more)
        return run


def _into_cameras(queries: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Move queries (N, 4) from the world into the cameras (T, 4, 4) of their frames."""
    own = poses[queries[:, 0].astype(int)]
    moved = (own[:, :3, :3] @ queries[:, 1:, None])[..., 0] + own[:, :3, 3]
    return np.concatenate((queries[:, :1], moved), axis=1).astype(np.float32)


def _out_of_cameras(xyz: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Move positions (T, N, 3) from their frames' cameras (T, 4, 4) into the world."""
    return ((xyz - poses[:, None, :3, 3]) @ poses[:, :3, :3]).astype(np.float32)


def _check(
    rgb: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, poses: np.ndarray, queries: np.ndarray | None
) -> None:
    count = len(rgb)
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or rgb.dtype != np.uint8:
        raise ConfigError(f"frames should be (T, H, W, 3) uint8, found {rgb.shape} {rgb.dtype}")
    for name, array, shape in (("intrinsics", intrinsics, (count, 3, 3)), ("poses", poses, (count, 4, 4))):
        if array.shape != shape or not np.isfinite(array).all():
            raise ConfigError(f"{name} should be {shape} and finite, found {array.shape}")
    if depth.ndim != 3 or len(depth) != count:
        raise ConfigError(f"depth should be ({count}, H, W), found {depth.shape}")
    if not np.isfinite(depth).all() or (depth < 0).any():
        raise ConfigError("depth should be 0 where it is unknown, found NaN or negative values")
    if queries is None:
        return
    if queries.ndim != 2 or queries.shape[1] != 4 or not np.isfinite(queries).all():
        raise ConfigError(f"queries should be (N, 4) and finite: frame, x, y, z; found {queries.shape}")
    frames = queries[:, 0]
    if len(frames) and (frames.min() < 0 or frames.max() > count - 1 or (frames != np.rint(frames)).any()):
        raise ConfigError(f"frames of queries should be whole numbers in 0..{count - 1}")
