"""What has been found and does not change any more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoflow.models.vipe.adjustment import Adjustment
from geoflow.models.vipe.camera_start import matrix_of
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.infill import Filled
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.loop_closing import close
from geoflow.models.vipe.loops import Visits, candidates, measure
from geoflow.models.vipe.map_archive import MapArchive
from geoflow.models.vipe.options import SlamOptions
from geoflow.models.vipe.preparing import GRID, Fit
from geoflow.models.vipe.view_archive import ViewArchive

_LEAST_WEIGHT = 0.01  # mean over a frame's edges, below which its pose is not valid


@dataclass(frozen=True)
class Found:
    """What a run has found; see `slam.SlamResult`."""

    poses: np.ndarray  # (T, 7)
    intrinsics: np.ndarray  # (3, 3)
    distortion: float | None
    valid: np.ndarray
    keyframes: np.ndarray
    depth: np.ndarray
    uncertainty: np.ndarray
    uv: np.ndarray  # (h, w, 2)
    parallax: float
    loops: np.ndarray  # (L, 2) numbers of frames
    quality: np.ndarray  # (T,)


class Settled:
    """Poses of the first frames in arrays of the host, and maps of the first keyframes in files."""

    def __init__(self) -> None:
        self._poses: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []
        self._explained: list[np.ndarray] = []
        self._numbers: list[int] = []
        self._together: list[int] = []  # by keyframe, the first one that was not adjusted together with it
        self._cameras: list[np.ndarray] = []  # keyframes' poses and disparities, as they were adjusted together
        self._disps = MapArchive()
        self._shifts: list[float] = []
        self._depth, self._deviation = MapArchive(), MapArchive()
        self._loops: list[tuple[int, int]] = []
        self.frames = 0

    @property
    def keyframes(self) -> int:
        """The number of keyframes."""
        return len(self._numbers)

    def add_frames(self, filled: Filled) -> None:
        """Note the next frames' poses, and what they rest on."""
        self._poses.append(filled.poses.cpu().numpy())
        self._weights.append(filled.weight.cpu().numpy())
        self._explained.append(filled.explained.cpu().numpy())
        self.frames += len(filled.poses)

    def add_keyframes(self, keyframes: Keyframes, count: int, depth: Tensor, deviation: Tensor, shifts: Tensor) -> None:
        """Note the first `count` keyframes: depth and its relative deviation (K, h, w), and flows.

        `shifts` are the lengths of the flow to the keyframe after each, of translation alone, in px of the grid.
        """
        self._together += [self.keyframes + len(keyframes)] * count
        self._numbers += keyframes.frames[:count]
        self._cameras.append(keyframes.poses[:count].cpu().numpy())
        self._disps.append(keyframes.disps[:count].cpu().numpy())
        self._shifts += shifts.tolist()
        self._depth.append(depth.cpu().numpy())
        self._deviation.append(deviation.cpu().numpy())

    @property
    def poses(self) -> np.ndarray:
        """Poses (T, 7) of the frames."""
        return np.concatenate(self._poses)

    def close_loops(self, flow: FlowModel, lens: Tensor, archive: ViewArchive, options: SlamOptions) -> None:
        """Bring poses and depth into agreement with what the network says of places that were seen twice."""
        visits = Visits(torch.from_numpy(np.concatenate(self._cameras)).to(lens.device), self._disps, lens)
        wanted = Adjustment(1, 2, 3, motion_only=True, limited_disp=True, rule=options.rule)
        seen = [
            measure(flow, visits, archive, revisit, wanted)
            for revisit in candidates(visits, self._together, options.backend_thresh)
        ]
        loops = [loop for loop in seen if loop is not None]
        if not loops:
            return
        numbers = np.array(self._numbers)
        bent = close(self.poses, numbers, loops)
        if bent is None:
            return
        self._poses = [bent.poses]
        self._depth.scale(bent.factors)
        self._loops = [(int(numbers[loop.i]), int(numbers[loop.j])) for loop in loops]

    def found(self, fit: Fit, keyframes: Keyframes) -> Found:
        """Return everything, with the camera that the last keyframes have."""
        camera = fit.original_intrinsics(keyframes.lens.double().cpu().numpy())
        poses, weights = self.poses, np.concatenate(self._weights)
        return Found(
            poses,
            matrix_of(camera),
            float(camera[4]) if len(camera) > 4 else None,
            np.isfinite(poses).all(1) & (weights >= _LEAST_WEIGHT),
            np.array(self._numbers, np.int64),
            self._depth.whole(),
            self._deviation.whole(),
            fit.grid_pixels(),
            float(np.median(self._shifts)) * GRID * fit.frame[1] / fit.resized[1] if self._shifts else 0.0,
            np.array(self._loops, np.int64).reshape(-1, 2),
            np.concatenate(self._explained),
        )
