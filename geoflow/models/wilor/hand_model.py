"""WiLoR with its weights and the user's hand model, ready on a device: images and boxes to hands in the camera."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from geoflow.errors import ConfigError
from geoflow.models.mano.body import HandBody, mirrored_points
from geoflow.models.mano.rotations import mirrored, to_axis_angle
from geoflow.models.wilor.crops import RESCALE, Squares, cut, normalised, squares_of
from geoflow.models.wilor.full_image import lens, places, projection
from geoflow.models.wilor.network import HandNetwork, Prediction, joined

BATCH = 16


@dataclass(frozen=True)
class Hands:
    """N hands, in the order of their boxes; float32, metres, camera axes (x right, y down, z forward).

    Rotations, joints and vertices are those of the hand as it is: of left hands, the mirrored ones. Lengths are as
    metric as the estimated shape is, and distances as the focal length.
    """

    right: np.ndarray  # (N,) bool
    rotations: np.ndarray  # (N, 16, 3, 3), cam_from_hand first, then of each joint relative to its parent
    betas: np.ndarray  # (N, 10), shape; of a left hand, that of the right hand in the mirror
    joints: np.ndarray  # (N, 21, 3) about the model's origin, wrist, then thumb to little finger, base to tip
    vertices: np.ndarray  # (N, V, 3) about the model's origin
    cam_t: np.ndarray  # (N, 3), the model's origin in the camera frame
    uv: np.ndarray  # (N, 21, 2) px, the joints in the image: the projection of `joints_in_camera`
    camera: np.ndarray  # (N, 3), scale and shift in the crop as the network gives them, as of right hands

    def __len__(self) -> int:
        return len(self.right)

    @property
    def joints_in_camera(self) -> np.ndarray:
        """The joints in the camera frame: (N, 21, 3)."""
        return self.joints + self.cam_t[:, None]

    @property
    def vertices_in_camera(self) -> np.ndarray:
        """The vertices in the camera frame: (N, V, 3)."""
        return self.vertices + self.cam_t[:, None]

    @property
    def axis_angle(self) -> np.ndarray:
        """The rotations as axis-angle vectors in rad: (N, 16, 3)."""
        return to_axis_angle(self.rotations).astype(np.float32)

    def __getitem__(self, rows: Any) -> Hands:
        """Return some of the hands, by a slice, a mask or indices."""
        return Hands(*(getattr(self, row.name)[rows] for row in fields(self)))


class HandModel:
    """WiLoR, ready on a device. `dtype` is that of the backbone; everything after it is float32."""

    def __init__(
        self, network: HandNetwork, body: HandBody, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> None:
        self.device, self.dtype = torch.device(device), dtype
        self.network, self.faces = network.to(self.device).eval().requires_grad_(False), body.faces
        self.shape, self.body = body, body.to(self.device)

    def predict(
        self,
        image: np.ndarray,
        boxes: np.ndarray,
        right: np.ndarray,
        focal: float | tuple[float, float] | None = None,
        principal: tuple[float, float] | None = None,
        batch: int = BATCH,
        rescale: float = RESCALE,
    ) -> Hands:
        """Return the hands in an image.

        image      (H, W, 3) uint8 RGB
        boxes      (N, 4) x1, y1, x2, y2 in px
        right      (N,) whether it is a right hand
        focal      px, one number or two (x, y); None: 19.5 times the image's longer side, as in the published program
        principal  (2,) px; None: (W / 2, H / 2)
        batch      hands computed at once; changes nothing but memory and time
        rescale    side of the square that is cut out, over the box's

        Raises ConfigError if shapes or values do not fit.
        """
        _check_image(image)
        size = image.shape[1], image.shape[0]
        squares = squares_of(boxes, right, size, rescale)
        return self.full_image(self.forward(cut(image, squares), batch), squares, focal, principal)

    def crop(self, image: np.ndarray, boxes: np.ndarray, right: np.ndarray, rescale: float = RESCALE) -> np.ndarray:
        """Return what the network sees of boxes: (N, 3, 256, 256) float32, RGB in 0..255, left hands mirrored."""
        _check_image(image)
        return cut(image, squares_of(boxes, right, (image.shape[1], image.shape[0]), rescale))

    def forward(self, crops: np.ndarray, batch: int = BATCH) -> Prediction:
        """Return the hands in crops (N, 3, 256, 256), RGB in 0..255, all as right hands; tensors on the CPU."""
        if batch < 1:
            raise ConfigError(f"batch should be at least 1, found {batch}")
        parts = [self._run(crops[start : start + batch]) for start in range(0, len(crops), batch)]
        return joined(parts) if parts else self._run(crops)

    def full_image(
        self,
        prediction: Prediction,
        squares: Squares,
        focal: float | tuple[float, float] | None = None,
        principal: tuple[float, float] | None = None,
    ) -> Hands:
        """Return the hands in the camera that took the image from which `squares` were cut; see `predict`."""
        lengths, point = lens(squares.image_size, focal, principal)
        left = ~squares.right
        joints, vertices = prediction.joints.numpy().copy(), prediction.vertices.numpy().copy()
        rotations, camera = prediction.rotations.numpy().copy(), prediction.numbers.camera.numpy()
        joints[left], vertices[left] = mirrored_points(joints[left]), mirrored_points(vertices[left])
        rotations[left] = mirrored(rotations[left])
        cam_t = places(camera, squares, lengths, point)
        uv = projection(joints + cam_t[:, None].astype(np.float64), lengths, point)
        betas = prediction.numbers.betas.numpy()
        return Hands(squares.right, rotations, betas, joints, vertices, cam_t, uv, camera)

    def _run(self, crops: np.ndarray) -> Prediction:
        images = torch.from_numpy(normalised(crops)).to(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return joined([self.network(images, self.body)])


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ConfigError(f"an image should be (H, W, 3) uint8, found {image.shape} {image.dtype}")
