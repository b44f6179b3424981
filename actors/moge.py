"""MoGe (Wang et al. 2024, arXiv:2410.19115; MoGe-2, arXiv:2507.02546) by its own package, in `runtime_envs/moge.yaml`.

Not run with the published weights yet: the tests run it on a CPU with small made-up weights, and `benchmarks/gpu` on a
GPU at full size.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from geoflow.backends.torch_stage import TorchStage, read_checkpoint
from geoflow.geometry.cameras import assumed_intrinsics
from geoflow.models.half_range import points_in_half, within_half
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param
from geoflow.workers.array_files import read_images, save_array
from geoflow.workers.declaration import BackendWorker, argument, option


class MoGe(TorchStage):
    """A point map for each frame by itself: v1 with a free scale per frame, v2 in metres as estimated by the network.

    A known camera is given to the network, which then finds only the depth. Pixels outside the network's mask (mostly
    sky) are invalid, and so are points that are not in front of the camera. If the network finds no possible camera for
    a frame, nothing is known in that frame.
    """

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    version = "2"  # frames without a possible camera
    honours = frozenset({"intrinsics"})  # their field of view
    ladder = ({"batch_size": 2}, {"batch_size": 1}, {"resolution_level": 4})
    packages = ("dlr-moge", "torch")

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        model_version: Literal["v1", "v2"] = param("v1", "v1 is what GeometryCrafter was trained with")
        weights: str = param("", "folder with model.pt; empty: from the hub, as pinned in configs/models.yaml")
        resolution_level: int = param(9, "0 is quickest, 9 has the finest detail", at_least=0, at_most=9)
        batch_size: int = param(8, "frames computed at once", at_least=1)

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.metric = self.params.model_version == "v2"

    def weights(self) -> dict[str, str]:
        return {self.params.model_version: self.params.weights}

    def load(self) -> Any:
        version = self.params.model_version
        try:
            from moge.model import import_model_class_by_version

            model_class = import_model_class_by_version(version)
        except ValueError as error:  # MoGe raises this if something that it needs is missing
            raise ImportError(str(error)) from error
        warnings.filterwarnings("ignore", message="In CPU autocast")  # MoGe asks for a mode that only GPUs have
        path = self.located()[version] / "model.pt"
        return read_checkpoint(path, model_class.from_pretrained, "is model_version right?")

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        frames = fields["frames.rgb"]
        count, height, width = frames.shape[:3]
        points = np.zeros((count, height, width, 3), np.float16)
        mask = np.zeros((count, height, width), bool)
        intrinsics = np.zeros((count, 3, 3), np.float32)
        known = segment.video.known_intrinsics
        fov = None if known is None else math.degrees(2 * math.atan(width / (2 * float(known[0, 0]))))
        for start in range(0, count, self.params.batch_size):
            part = slice(start, start + self.params.batch_size)
            xyz, valid, cameras = self.infer(self.images(frames[part]), fov)
            found = (*points_in_half(xyz, valid), cameras)
            points[part], mask[part], intrinsics[part] = (tensor.cpu().numpy() for tensor in found)
        impossible = ~(intrinsics[:, [0, 1], [0, 1]] > 0).all(1)  # an impossible field of view, or NaN
        points[impossible], mask[impossible] = 0, False
        intrinsics[impossible] = assumed_intrinsics(height, width)
        return {"prior.points": points, "prior.mask": mask, "prior.intrinsics": intrinsics}

    def infer(self, images: Any, fov_x_deg: float | None = None) -> tuple[Any, Any, Any]:
        """Return points (B, H, W, 3) float32 in the camera frame, mask (B, H, W), intrinsics (B, 3, 3) float32 in px.

        `images` are (B, 3, H, W) float32 in 0..1. Inputs and results are tensors on the device: the steps after the
        network are faster there than NumPy's checks would be. `fov_x_deg` is the horizontal field of view, if known.
        Outside the mask, points are unchecked values of the network and may be infinite.
        """
        found = self.model.infer(
            images,
            fov_x=fov_x_deg,
            resolution_level=self.params.resolution_level,
            apply_mask=False,
            use_fp16=self.half,
        )
        points = found["points"].float()
        return points, within_half(points, found["mask"]), _in_pixels(found["intrinsics"].float(), *images.shape[2:])


def _in_pixels(intrinsics: Any, height: int, width: int) -> Any:
    """Convert MoGe's matrices (B, 3, 3), in shares of width and height from the image's edge, to pixels."""
    out = intrinsics.clone()
    out[:, 0] *= width
    out[:, 1] *= height
    out[:, :2, 2] -= 0.5
    return out


class MoGeWorker(BackendWorker):
    """Point maps by MoGe: prints {"p": points.npy, "m": mask.npy}, (B,H,W,3) float32 and (B,H,W) bool."""

    persistent = True

    @dataclass(frozen=True)
    class Request:
        input: str = argument("IN.npy", "(B,3,H,W) or (3,H,W) float32 in 0..1; none: requests on stdin")
        fov_x: float | None = option("DEG", "in degrees where that is known", default=None, in_requests_only=True)

    def read(self, request: Request) -> tuple[np.ndarray, float | None]:
        return read_images(request.input), request.fov_x

    def answer(self, request: tuple[np.ndarray, float | None]) -> dict[str, Any]:
        images, fov = request
        self.log(f"{len(images)} images of {images.shape[3]}x{images.shape[2]}")
        points, mask, _ = self.stage.infer(self.stage.on_device(images), fov)
        return {"p": save_array(points.cpu().numpy(), "moge"), "m": save_array(mask.cpu().numpy(), "moge")}
