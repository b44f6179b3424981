"""Depth priors of the walk round a box: the truth, with errors of the kinds that networks make."""

from __future__ import annotations

import box_walk
import numpy as np
import torch

from geoflow.bench.slam.box_flow import BoxFlow
from geoflow.geometry.depth.coarse_prior import CoarsePrior
from geoflow.geometry.depth.prior_unit import PriorUnit, unit_of_prior
from geoflow.models.vipe.camera_start import camera_start, disparity_at_grid
from geoflow.models.vipe.preparing import fit_of
from geoflow.models.vipe.slam import Slam, SlamResult

HEIGHT, WIDTH = box_walk.SIZE
FX, FY, CX, CY = box_walk.CAMERA.tolist()
K = np.array([[FX, 0, CX - 0.5], [0, FY, CY - 0.5], [0, 0, 1]])


def box_flow(count: int, noise: float = 0.0) -> BoxFlow:
    """Return flow that knows the walk, with so many px of noise."""
    return BoxFlow(torch.from_numpy(box_walk.path(count)), box_walk.CAMERA, box_walk.ROOM, box_walk.SIZE, noise)


def true_depth(count: int) -> np.ndarray:
    """Return the depth (T, H, W) of the frames' pixels, m."""
    flow = box_flow(count)
    camera = flow.camera - torch.tensor([0, 0, 0.5, 0.5])
    y, x = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    return np.stack([flow.depth(t, torch.stack((x, y)), camera).numpy() for t in range(count)])


def wrong_depth(count: int, *, factors: float = 0.0, pixels: float = 0.0, missing: float = 0.0) -> np.ndarray:
    """Return the true depth, times a factor for each frame and for each pixel (deviations of the logarithm).

    A share of the frames is `missing`: 0 throughout.
    """
    rng = np.random.default_rng(0)
    depth = true_depth(count) * np.exp(rng.normal(0, factors, count))[:, None, None]
    depth *= np.exp(rng.normal(0, pixels, depth.shape))
    depth[rng.permutation(count)[: round(missing * count)]] = 0
    return depth


def prior_of(depth: np.ndarray) -> CoarsePrior:
    """Return what the tracker takes of depth maps (T, H, W)."""
    start, fit = camera_start(K, None, box_walk.SIZE, 1.0), fit_of(*box_walk.SIZE)
    prior = CoarsePrior(fit.grid_pixels())
    for frame, one in enumerate(depth):
        prior.add(frame, disparity_at_grid(one, start, fit), FX)
    return prior


def metric_walk(depth: np.ndarray, noise: float = 0.3, **options: object) -> tuple[SlamResult, PriorUnit]:
    """Track the walk with a depth prior (T, H, W); the second value brings it to the prior's unit."""
    prior = prior_of(depth)
    found = Slam(box_flow(len(depth), noise)).run(
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in depth),
        intrinsics=K,
        disparity_prior=lambda frame: prior.of(frame, FX),
        **{**box_walk.OPTIONS, "backend_iters": 4, "prior_scale_free": True, **options},
    )
    return found, unit_of_prior(found.keyframe_depth, found.keyframes, lambda frame: prior.of(frame, FX))


def metric_error(found: SlamResult, unit: PriorUnit) -> tuple[float, float]:
    """Return the error of the path, m, after a rigid motion alone, and that of its scale in parts of it."""
    from geoflow.geometry.rigid import umeyama

    own, truth = box_walk.centres(found) * unit.factor, box_walk.path(len(found.cam_from_world))[:, :3, 3]
    sim = umeyama(own, truth)
    a, b = own - own.mean(0), truth - truth.mean(0)
    return float(np.sqrt(((a @ sim.rotation.T - b) ** 2).sum(1).mean())), float(1 / sim.scale - 1)
