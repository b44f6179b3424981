"""WiLoR's arithmetic as it is written down, hand by hand, with the same weights: what the batched one is measured by.

For each hand the whole image is blurred if its square is large, and mirrored if it is a left hand; attention holds its
whole matrices; and the hand model sums over all of its entries.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoflow.models.mano.body import JOINTS, ORDER, TIPS, HandBody
from geoflow.models.wilor.backbone import Attention, Numbers
from geoflow.models.wilor.config import CAMERA, COLUMNS, CROP, SHAPES
from geoflow.models.wilor.crops import Squares, normalised
from geoflow.models.wilor.network import HandNetwork, Prediction, rotations_of


class PlainHands:
    """One hand after the other."""

    def __init__(self, network: HandNetwork, body: HandBody) -> None:
        self.network, self.body = network, body.to("cpu")

    def crop(self, image: np.ndarray, squares: Squares, k: int) -> np.ndarray:
        """Return one square (1, 3, 256, 256) float32, 0..255, of an image (H, W, 3) uint8."""
        sigma, whole = float(squares.sigma[k]), image
        if sigma:
            whole = _blurred(image, sigma)
        if not squares.right[k]:
            whole = np.ascontiguousarray(whole[:, ::-1])
        found = cv2.warpAffine(whole, squares.crop_from_image[k], (CROP, CROP), flags=cv2.INTER_LINEAR)
        return found.transpose(2, 0, 1)[None].astype(np.float32)

    def forward(self, crop: np.ndarray) -> Prediction:
        """Return the hand in a crop, as a right hand."""
        network = self.network
        image = torch.from_numpy(normalised(crop))[..., COLUMNS]
        first, features = self._first_look(image)
        coarse, _ = self._posed(first)
        refine = network.refine_net
        seen = refine.vertex_features(refine.deconv(features), refine.positions(coarse, first.camera))
        return self._prediction(
            Numbers(
                first.pose + refine.dec_pose(seen),
                first.betas + refine.dec_shape(seen),
                first.camera + refine.dec_cam(seen),
            )
        )

    def _first_look(self, image: Tensor) -> tuple[Numbers, Tensor]:
        net = self.network.backbone
        patches = net.patch_embed(image) + net.pos_embed[:, 1:] + net.pos_embed[:, :1]
        pose = net.pose_emb(net.init_hand_pose.reshape(1, JOINTS, 6))
        tokens = (pose, net.shape_emb(net.init_betas)[:, None], net.cam_emb(net.init_cam)[:, None])
        x = torch.cat((*tokens, patches), dim=1)
        for block in net.blocks:
            x = x + _attended(block.attn, block.norm1(x))  # type: ignore[operator, arg-type]
            x = x + block.mlp(block.norm2(x))  # type: ignore[operator]
        x = net.last_norm(x)
        numbers = Numbers(
            net.decpose(x[:, :JOINTS]).reshape(1, JOINTS * 6) + net.init_hand_pose,
            net.decshape(x[:, JOINTS]).reshape(1, SHAPES) + net.init_betas,
            net.deccam(x[:, JOINTS + 1]).reshape(1, CAMERA) + net.init_cam,
        )
        return numbers, x[:, JOINTS + 2 :].transpose(1, 2).reshape(1, -1, *net.grid)

    def _posed(self, numbers: Numbers) -> tuple[Tensor, Tensor]:
        """Return vertices (1, V, 3) and 21 joints (1, 21, 3), by 4 x 4 transforms of all vertices."""
        body, turns = self.body, rotations_of(numbers)
        shaped = body.template + (body.shape_dirs @ numbers.betas[0]).reshape(-1, 3)
        joints = body.joint_template + (body.joint_dirs @ numbers.betas[0]).reshape(-1, 3)
        bent = (turns[0, 1:] - torch.eye(3)).reshape(-1)
        shaped = shaped + (bent @ body.pose_dirs).reshape(-1, 3)
        chain: list[Tensor] = []
        for j, parent in enumerate(body.parents):
            local = torch.eye(4)
            local[:3, :3] = turns[0, j]
            local[:3, 3] = joints[j] - (joints[parent] if j else 0)
            chain.append(chain[parent] @ local if j else local)
        transforms = torch.stack(chain)
        places = transforms[:, :3, 3].clone()
        rest = (transforms @ F.pad(joints, (0, 1))[..., None])[..., 0]
        transforms = transforms - F.pad(rest[..., None], (3, 0))
        blended = torch.einsum("vj,jab->vab", body.weights, transforms)
        vertices = (blended @ F.pad(shaped, (0, 1), value=1)[..., None])[:, :3, 0]
        return vertices[None], torch.cat((places, vertices[list(TIPS)]))[list(ORDER)][None]

    def _prediction(self, numbers: Numbers) -> Prediction:
        vertices, joints = self._posed(numbers)
        return Prediction(numbers, rotations_of(numbers), vertices, joints)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the whole image (H, W, 3) float64 after a Gaussian along each axis; its last pixels go on outside."""
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    found = image.astype(np.float64)
    for axis in range(2):
        padded = np.pad(found, [(radius, radius) if k == axis else (0, 0) for k in range(3)], mode="edge").swapaxes(
            0, axis
        )
        length = found.shape[axis]
        total = sum(weight * padded[k : k + length] for k, weight in enumerate(kernel / kernel.sum()))
        found = np.asarray(total).swapaxes(0, axis)
    return np.ascontiguousarray(found)


def _attended(attention: Attention, x: Tensor) -> Tensor:
    q, k, v = attention.qkv(x).reshape(*x.shape[:2], 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    weights = torch.softmax(q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5, dim=-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(x.shape))
