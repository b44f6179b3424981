"""MoGe (Wang et al. 2024, arXiv:2410.19115; MoGe-2, arXiv:2507.02546) by its own package, in `runtime_envs/moge.yaml`.

Not run with the published weights yet: the tests run it on a CPU with small made-up weights, and `benchmarks/gpu` on a
GPU at full size.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from geoflow.backends import weights
from geoflow.errors import ConfigError, EnvironmentBroken
from geoflow.models.device import choose_device
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param

_MAX_DEPTH = 6e4  # what float16 holds; points beyond it are not valid


class MoGe(Stage):
    """A point map for every frame by itself: v1 in a scale of its own per frame, v2 in metres as far as it can tell.

    A known camera is told to the network, which then works out the depth alone. What its mask leaves out (sky, mostly)
    stays out, and so do points that are not in front of the camera.
    """

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    honours = frozenset({"intrinsics"})  # their field of view
    ladder = ({"batch_size": 2}, {"batch_size": 1}, {"resolution_level": 4})

    @dataclass(frozen=True)
    class Params(Stage.Params):
        model_version: Literal["v1", "v2"] = param("v1", "v1 is what GeometryCrafter was trained with")
        weights: str = param("", "folder with model.pt; empty: from the hub, as pinned in configs/models.yaml")
        resolution_level: int = param(9, "0 is quickest, 9 has the finest detail", at_least=0, at_most=9)
        batch_size: int = param(8, "frames computed at once", at_least=1)
        half_precision: bool = param(True, "float16 on a GPU")
        device: str = param("auto", "cpu, cuda, or auto: a GPU where there is one")

    def weights(self) -> dict[str, str]:
        return {self.params.model_version: self.params.weights}

    def setup(self) -> None:
        torch, model_class = _import_moge(self.params.model_version)
        torch.set_num_threads(self.threads)
        warnings.filterwarnings("ignore", message="In CPU autocast")  # it asks a CPU for what only GPUs have
        device = choose_device(self.params.device)
        path = weights.locate("moge", self.params.model_version, self.params.weights) / "model.pt"
        self.use(_load(model_class, path).to(device).eval(), device)

    def use(self, model: Any, device: str) -> None:
        """Compute with this model, which is on `device` already."""
        self._model, self._device = model, device

    def process(self, segment: Segment, fields: Fields) -> Fields:
        frames = fields["frames.rgb"]
        count, height, width = frames.shape[:3]
        points = np.zeros((count, height, width, 3), np.float16)
        mask = np.zeros((count, height, width), bool)
        intrinsics = np.zeros((count, 3, 3), np.float32)
        known = segment.video.known_intrinsics
        fov = None if known is None else math.degrees(2 * math.atan(width / (2 * float(known[0, 0]))))
        for start in range(0, count, self.params.batch_size):
            part = slice(start, start + self.params.batch_size)
            found = self._infer(self._images(frames[part]), fov)
            points[part], mask[part], intrinsics[part] = (array.cpu().numpy() for array in _in_transit(*found))
        return {"prior.points": points, "prior.mask": mask, "prior.intrinsics": intrinsics}

    def infer(self, images: np.ndarray, fov_x_deg: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (B, H, W, 3) float32 in the camera frame, mask (B, H, W) bool and intrinsics (B, 3, 3) float32 in px.

        `images` are (B, 3, H, W) float32 in 0..1, `fov_x_deg` is the horizontal field of view where it is known.
        Outside the mask points are whatever the network says, and may be infinite.
        """
        import torch

        points, mask, intrinsics = self._infer(torch.from_numpy(images).to(self._device), fov_x_deg)
        return points.cpu().numpy(), mask.cpu().numpy(), intrinsics.cpu().numpy()

    def _images(self, frames: np.ndarray) -> Any:
        """Frames (B, H, W, 3) u8 as (B, 3, H, W) float32 in 0..1, on the device."""
        import torch

        return torch.from_numpy(np.array(frames)).to(self._device).permute(0, 3, 1, 2).float() / 255

    def _infer(self, images: Any, fov_x_deg: float | None) -> tuple[Any, Any, Any]:
        """As `infer`, on the device: there, what follows the network takes less time than NumPy's checks would."""
        import torch

        with torch.inference_mode():
            found = self._model.infer(
                images,
                fov_x=fov_x_deg,
                resolution_level=self.params.resolution_level,
                apply_mask=False,
                use_fp16=self.params.half_precision and self._device != "cpu",
            )
            points = found["points"].float()
            mask = found["mask"] & (points[..., 2] > 0) & (points.abs().amax(-1) < _MAX_DEPTH)  # NaN is neither
            return points, mask, _in_pixels(found["intrinsics"].float(), *images.shape[2:])

    def teardown(self) -> None:
        self._model = None


def _in_transit(points: Any, mask: Any, intrinsics: Any) -> tuple[Any, Any, Any]:
    """Points as float16, 0 outside of the mask, and the mask without those that are too near for float16."""
    packed = points.masked_fill(~mask[..., None], 0).half()
    return packed, mask & (packed[..., 2] > 0), intrinsics


def _in_pixels(intrinsics: Any, height: int, width: int) -> Any:
    """MoGe's matrices (B, 3, 3) are shares of width and height, and count from the image's edge."""
    out = intrinsics.clone()
    out[:, 0] *= width
    out[:, 1] *= height
    out[:, :2, 2] -= 0.5
    return out


def _import_moge(version: str) -> tuple[Any, Any]:
    try:
        import torch
        from moge.model import import_model_class_by_version

        return torch, import_model_class_by_version(version)
    except (ImportError, ValueError) as error:  # ValueError is how it says that something it needs is missing
        raise EnvironmentBroken(
            f"MoGe cannot be imported here ({error}); run the stage with `env: moge`, or install dlr-moge and torch"
        ) from error


def _load(model_class: Any, path: Path) -> Any:
    try:
        return model_class.from_pretrained(path)
    except Exception as error:  # of torch's unpickler and of the package, as the file is
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{path} is not a checkpoint of this MoGe ({reason}); is model_version right?") from error
