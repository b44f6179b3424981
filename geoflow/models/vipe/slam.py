"""A clip's poses, intrinsics and depth of keyframes, from a stream of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from geoflow.models.vipe import se3
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.options import SlamOptions
from geoflow.models.vipe.stream import FrameStream, Prior
from geoflow.models.vipe.tracking import DisparityPrior, Tracking

Watch = Callable[[str, object], None]


@dataclass(frozen=True)
class SlamResult:
    """What became of T frames and their K keyframes. The world is the first keyframe's camera.

    Lengths are in the unit of the depth prior, and in a unit of their own without one.
    """

    cam_from_world: np.ndarray  # (T, 4, 4) float32
    intrinsics: np.ndarray  # (T, 3, 3) float32, px of the frames, pixel centres on whole numbers
    valid: np.ndarray  # (T,) bool: the frame's pose was found from pixels that the network believes
    keyframes: np.ndarray  # (K,) int64, numbers of frames
    keyframe_depth: np.ndarray  # (K, h, w) float32 at an eighth of the working size; 0 where neighbours disagree
    uncertainty: np.ndarray  # (K, h, w) float32: deviation of the depth in parts of it; inf where nothing is known
    keyframe_uv: np.ndarray  # (h, w, 2) float32: the frames' pixel that each pixel of the maps stands for
    parallax: float  # px of frames, how far pixels move between keyframes by the camera's translation alone: the median
    quality: np.ndarray  # (T,) float32: share of what the network believes that the frame's pose explains within 2 px
    loops: np.ndarray  # (L, 2) int64: frames that were found to show the same place, long after each other
    distortion: float | None = None  # k of a wide-angle lens, as found


class Slam:
    """ViPE's tracker, with a network or another source of flow."""

    def __init__(self, flow_model: FlowModel, device: torch.device | str | None = None) -> None:
        self.flow_model = flow_model
        self.device = torch.device(getattr(flow_model, "device", "cpu") if device is None else device)

    def run(
        self,
        frames: Iterable[np.ndarray],
        *,
        intrinsics: np.ndarray | None = None,
        distortion: float | Sequence[float] | None = None,
        masks: Iterable[np.ndarray | None] | None = None,
        depth_prior: Prior | None = None,
        disparity_prior: DisparityPrior | None = None,
        rule: str = "generic",
        watch: Watch | None = None,
        **options: Any,
    ) -> SlamResult:
        """Track a camera through frames (H, W, 3) uint8, of which few are held at once.

        They are read twice, once if they can be iterated over only once: then they pass through a temporary file.
        intrinsics (3, 3) in px; None if the focal length is to be found. distortion: k of a wide-angle lens, or one to
        five coefficients of OpenCV. masks (H, W) per frame, True where pixels are to be ignored. depth_prior: a depth
        map (H, W) per frame, 0 where unknown, or a function of the frame's number and pixels that gives one; it is
        asked for keyframes alone. disparity_prior takes its place: a function of the frame's number that gives the
        disparity (h, w) at the pixels of the grid, an eighth of the working size; 0 or None where unknown.

        `options` are fields of SlamOptions.

        Raises ConfigError if shapes or values do not fit.
        """
        chosen = SlamOptions(rule=rule, **options)
        stream = FrameStream(frames, masks, depth_prior)
        with torch.inference_mode():
            tracking = Tracking(
                self.flow_model, self.device, stream, chosen, intrinsics, distortion, watch or _nobody, disparity_prior
            )
            found = tracking.run()
        return SlamResult(
            se3.matrix(torch.from_numpy(found.poses)).numpy(),
            np.tile(found.intrinsics, (len(found.poses), 1, 1)).astype(np.float32),
            found.valid,
            found.keyframes,
            found.depth,
            found.uncertainty,
            found.uv.astype(np.float32),
            found.parallax,
            found.quality.astype(np.float32),
            found.loops,
            found.distortion,
        )


def _nobody(name: str, value: object) -> None:
    """Watch nothing."""
