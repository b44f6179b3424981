"""One run of the tracker over a clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from geoflow.errors import ConfigError
from geoflow.models.vipe.back_end import BackEnd
from geoflow.models.vipe.camera_start import CameraStart, camera_start, working_camera
from geoflow.models.vipe.depth_filter import believed
from geoflow.models.vipe.flow_model import FlowModel
from geoflow.models.vipe.frame_distance import frame_distance
from geoflow.models.vipe.front_end import FrontEnd
from geoflow.models.vipe.infill import Filled, fill
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.motion_filter import MotionFilter
from geoflow.models.vipe.options import SlamOptions
from geoflow.models.vipe.preparing import GRID, Fit, disparity_on_grid, fit_of, invalid_on_grid
from geoflow.models.vipe.prior_scale import with_one_scale
from geoflow.models.vipe.settled import Found, Settled
from geoflow.models.vipe.stream import FrameStream, Taken
from geoflow.models.vipe.view_archive import ViewArchive

_EARLY_ROUNDS = 5  # of the back end, where it improves the focal length between keyframes
_NEAR = 2.0  # px of frames, within which a pose explains what the network says
_ROUNDS = 7  # of its first run at the end


DisparityPrior = Callable[[int], np.ndarray | None]


class Tracking:
    """The state of one run."""

    def __init__(
        self,
        flow: FlowModel,
        device: torch.device,
        stream: FrameStream,
        options: SlamOptions,
        intrinsics: np.ndarray | None,
        distortion: float | Sequence[float] | None,
        watch: Callable[[str, object], None],
        disparity: DisparityPrior | None = None,
    ) -> None:
        self.flow, self.device, self.stream, self.options, self.watch = flow, device, stream, options, watch
        self._intrinsics, self._distortion, self._disparity = intrinsics, distortion, disparity
        self.filter = MotionFilter(flow, options.filter_thresh)
        self.start: CameraStart
        self.fit: Fit
        self.keyframes: Keyframes
        self.front: FrontEnd
        self.back: BackEnd
        self.settled = Settled()
        self.archive: ViewArchive | None = None  # of settled keyframes, once there are any
        self._given: dict[int, torch.Tensor] = {}  # priors of keyframes as they came, where their scales are free
        self._again: Iterator[np.ndarray] | None = None  # frames once more, behind those that become keyframes

    def run(self) -> Found:
        """Track the whole clip."""
        for taken in self.stream:
            if taken.number == 0:
                self._begin(*taken.rgb.shape[:2])
            self._follow(taken)
            if len(self.keyframes) >= self.options.most_keyframes and not taken.last:
                self._settle(len(self.keyframes) - self.options.kept_keyframes)
        self._adjust()
        self.watch("keyframes", self.keyframes)
        self.watch("back_end", self.back)
        self._fill(self.stream.count)
        self._record(len(self.keyframes))
        if self.archive is not None:
            self.settled.close_loops(self.flow, self.keyframes, self.archive, self.options)
        return self.settled.found(self.fit, self.keyframes)

    def _adjust(self) -> None:
        self.back.run(_ROUNDS)
        self._scale_priors()
        self.back.run(self.options.backend_iters)
        if self._given and self.back.free_focal:
            self.back.free_focal = False
            self._scale_priors()
            self.back.run(_ROUNDS)
            self.back.free_focal = True

    def _settle(self, count: int) -> None:
        """Adjust everything once more, find all frames before keyframe `count`, and forget the keyframes before it.

        The focal length stays as it is from here on: settled poses hold for this one.
        """
        if self.archive is None and self.options.close_loops:
            self.archive = ViewArchive(self.device)
        self._adjust()
        self._fill(self.keyframes.frames[count])
        self._record(count)
        self.keyframes.leave(count, fixed=self.options.kept_keyframes // 2)
        self.front.leave(count)
        self.back.leave()
        self.watch("settled", count)

    def _begin(self, height: int, width: int) -> None:
        options = self.options
        self.start = camera_start(self._intrinsics, self._distortion, (height, width), options.start_focal)
        if options.rule == "fused" and len(self.start.values) > 4:
            raise ConfigError("the fused rule knows no wide-angle lens; use the generic one")
        self.fit = fit_of(height, width, options.area, enlarge=options.enlarge)
        down, across = (side // GRID for side in self.fit.size)
        if min(down, across) < 2:
            raise ConfigError(f"frames of {width}x{height} px are too small to be tracked; 16 px a side are needed")
        camera = torch.from_numpy(working_camera(self.start, self.fit)).float().to(self.device)
        self.first_focal = float(camera[0])
        self.keyframes = Keyframes((down, across), camera, options.init_disp)
        free = not self.start.known if options.optimize_intrinsics is None else options.optimize_intrinsics
        self.front = FrontEnd(self.flow, self.keyframes, options)
        self.back = BackEnd(self.flow, self.keyframes, options, free_focal=free)

    def _follow(self, taken: Taken) -> None:
        """Take a frame in: does it become a keyframe, and what follows from that."""
        keyframes = self.keyframes
        rgb = self.fit.picture(self.start.undistorted(taken.rgb), self.device)
        valid = None
        if taken.valid is not None:
            valid = self.fit.valid(self.start.undistorted(taken.valid), self.device)
        invalid = None if valid is None else invalid_on_grid(valid)
        view = self.filter.look(rgb, taken.number, invalid, always=taken.last)
        if view is not None:
            prior = self._prior(taken)
            if prior is not None and self.options.prior_scale_free:
                self._given[taken.number] = prior
            if prior is not None:
                prior = prior * self._focal_ratio
            keyframes.add(taken.number, view, invalid, prior)
        self.front.run()
        if view is not None and self.front.tracked:
            self._scale_priors()
        early = self.settled.keyframes + len(keyframes) in self.options.frontend_backend_iters
        if view is not None and early and self.back.free_focal:
            self.back.run(_EARLY_ROUNDS)
        graph = self.front.graph
        self.watch("frame", (len(keyframes), self.front.tracked, len(graph.ii), len(graph.stored_ii)))

    @property
    def _focal_ratio(self) -> float:
        """The focal length at the start, for which the prior is, over the present one; 1 if the prior needs none."""
        return self.first_focal / float(self.keyframes.lens[0]) if self.options.prior_follows_focal else 1.0

    def _scale_priors(self) -> None:
        """Bring priors to one scale, except while the focal length is free: that rests on their scales, too."""
        if self._given and not self.back.free_focal:
            self._given = {frame: self._given[frame] for frame in self.keyframes.frames if frame in self._given}
            with_one_scale(self.keyframes, {frame: own * self._focal_ratio for frame, own in self._given.items()})

    def _prior(self, taken: Taken) -> torch.Tensor | None:
        """Return the prior's disparity (h, w) of a frame at the grid, 0 where unknown; None if there is none."""
        if self._disparity is None:
            depth = self.stream.depth(taken)
            if depth is None:
                return None
            return disparity_on_grid(self.fit.depth(self.start.undistorted(depth), self.device))
        given = self._disparity(taken.number)
        if given is None:
            return None
        size = self.keyframes.disps.shape[1:]
        if given.shape != size or not np.isfinite(given).all():
            raise ConfigError(f"disparity_prior of frame {taken.number} should be {tuple(size)}, finite: {given.shape}")
        return torch.from_numpy(given.astype(np.float32)).clamp(min=0).to(self.device)

    def _fill(self, stop: int) -> None:
        """Find the poses of frames up to `stop`, and note them with the weights that they were found with."""
        keyframes, settled = self.keyframes, self.settled
        near = _NEAR * self.fit.resized[1] / self.fit.frame[1] / GRID
        if self._again is None:
            self._again = self.stream.again()
        while (first := settled.frames) < stop:
            numbers = list(range(first, min(first + self.options.infill_chunk_size, stop)))
            views = [self.flow.look(rgb, number) for number, rgb in zip(numbers, self._pictures(self._again))]
            if len(views) < len(numbers):
                raise ConfigError(f"the frames ended after {first + len(views)} when they were read again")
            if len(keyframes) == 1:
                settled.add_frames(Filled(keyframes.poses, torch.ones(1), torch.ones(1)))
            else:
                settled.add_frames(fill(self.flow, keyframes, numbers, views, self.options, near))

    def _pictures(self, again: Iterator[np.ndarray]) -> Iterator[torch.Tensor]:
        return (self.fit.picture(self.start.undistorted(rgb), self.device) for rgb in again)

    def _record(self, count: int) -> None:
        """Note what has been found of the first `count` keyframes."""
        keyframes, graph = self.keyframes, self.back.graph
        assert graph is not None
        known = believed(keyframes.geometry, self.options.map_filter_thresh, keyframes.invalid)
        self.watch("map", known)
        depth = torch.where(known, keyframes.disps.reciprocal(), torch.zeros_like(keyframes.disps))
        deviation = graph.information().rsqrt() / keyframes.disps
        ahead = torch.arange(min(count, len(keyframes) - 1), device=self.device)
        shifts = frame_distance(keyframes.geometry, ahead, ahead + 1, beta=0.0)
        self.settled.add_keyframes(keyframes, count, depth[:count], deviation[:count], shifts)
        if self.archive is not None:
            for view in keyframes.views[:count]:
                self.archive.append(view)
