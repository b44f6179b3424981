"""How golden data of WiLoR is run: sizes and options are those that each side-car states."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import Case, Comparison, Unusable, module_of

from geoflow.models.mano.body import HandBody, mirrored_points
from geoflow.models.mano.mano_file import load_body
from geoflow.models.mano.rotations import from_axis_angle, from_six, mirrored
from geoflow.models.wilor.checkpoint import from_checkpoint
from geoflow.models.wilor.config import HandConfig
from geoflow.models.wilor.crops import blurred, cut, normalised, squares_of
from geoflow.models.wilor.full_image import assumed_focal
from geoflow.models.wilor.hand_model import HandModel, Hands
from geoflow.models.wilor.network import HandNetwork, posed, prediction_of, rotations_of

_CORNER = 100  # row and column at which the reference's small squares begin; found out, no side-car says it


def body_of(case: Case) -> HandBody:
    """Return the made-up hand model that a side-car names."""
    return HandBody.from_arrays(module_of(case.folder, "synthetic_mano").make(_set_of(case)))


def _set_of(case: Case) -> str:
    stated = re.search(r"make\('([^']*)'\)", case.spec.get("body_model", ""))
    return stated[1] if stated else str(case.spec.get("set", "A"))


def network_of(folder: Path, model_config: dict[str, Any], weights: str) -> HandNetwork:
    """Return the network that a side-car describes, with the weights that are made from its parameters' names."""
    network = HandNetwork(HandConfig.from_dict(model_config)).eval()
    stated = re.search(r"prefix='([^']*)'", weights)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    made = module_of(folder, "wilor_weights").make_state(shapes, **({"prefix": stated[1]} if stated else {}))
    state = {key: torch.from_numpy(value) for key, value in made.items()}
    network.load_state_dict({key: state.get(key, value) for key, value in network.state_dict().items()})
    return network


_ONLY = {"focal_length": 5000, "image_size": 256, "joint_representation": "6d", "bbox_shape": [192, 256]}


def model_of(case: Case) -> HandModel:
    """Return the model that a side-car describes. Raises Unusable for options that are not those of WiLoR."""
    stated = case.spec.get("options", {})
    if other := {name: stated[name] for name, value in _ONLY.items() if stated.get(name, value) != value}:
        raise Unusable(f"{case.name}.json states {other}; only {_ONLY} are known")
    return HandModel(network_of(case.folder, case.spec["model_config"], case.spec["weights"]), body_of(case))


def mano(case: Case) -> None:
    """The body model in numpy and in torch, and as a user's file gives it."""
    body, betas = body_of(case), case.given("betas")
    rotations = np.concatenate((case.given("global_orient"), case.given("hand_pose")), axis=1)
    found = body.pose(rotations, betas)
    tensors = body.to("cpu").pose(torch.from_numpy(rotations), torch.from_numpy(betas))
    for hands in (found, tensors, _from_a_file(case).pose(rotations, betas)):
        case.check("vertices", hands.vertices)
        case.check("joints16", hands.joints16)
        case.check("joints21", hands.joints)
    case.check("rot6d_out", from_six(case.given("rot6d_in")))
    case.check("rot6d_out", from_six(torch.from_numpy(case.given("rot6d_in"))))
    case.check("axis_angle_out", from_axis_angle(case.given("axis_angle_in")))


def _from_a_file(case: Case) -> HandBody:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "MANO_RIGHT.pkl"
        module_of(case.folder, "synthetic_mano").write_pickle(path, _set_of(case))
        return load_body(path)


def preprocess(case: Case) -> None:
    bgr = case.given("image_bgr_u8")
    size = bgr.shape[1], bgr.shape[0]
    squares = squares_of(case.given("boxes_xyxy"), case.given("right"), size, float(case.given("rescale_factor")))
    crops = cut(bgr[..., ::-1], squares)
    case.check("box_center", squares.centre)
    case.check("box_size", squares.side)
    case.check("img_size", np.tile(np.float32(size), (len(crops), 1)))
    case.check("affine", squares.crop_from_image)
    case.check("blur_sigma", squares.sigma)
    case.check("patch_rgb_u16", np.rint(crops * 256).astype(np.uint16))
    for name in case.names(r"norm_corner_\d+x\d+"):
        rows, columns = (slice(_CORNER, _CORNER + int(number)) for number in re.findall(r"\d+", name))
        case.check(name, normalised(crops)[:, :, rows, columns])
    for name in case.names(r"blurred_bgr_rows\d+_\d+_cols\d+_\d+_box\d+"):
        top, bottom, first, last, box = (int(number) for number in re.findall(r"\d+", name))
        case.check(name, blurred(bgr, slice(top, bottom), slice(first, last), float(squares.sigma[box])))


def model(case: Case) -> None:
    """Crop to hand, piece by piece, and the whole at once."""
    built = model_of(case)
    crops = case.given("patch_bgr_u8")[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    network, body = built.network, built.body
    first, features = network.first_look(torch.from_numpy(normalised(crops)))
    rotations = rotations_of(first)
    case.check("backbone_hand_pose6d", first.pose)
    case.check("backbone_betas", first.betas)
    case.check("backbone_cam", first.camera)
    case.check("backbone_global_orient", rotations[:, :1])
    case.check("backbone_hand_rotmats", rotations[:, 1:])
    _check_thinned(case, "vit_features", features)
    coarse = posed(first, body).vertices
    _check_thinned(case, "coarse_vertices", coarse)
    maps = network.refine_net.deconv(features)
    for k, one in enumerate(maps):
        _check_thinned(case, f"refine_map{k}", one)
        case.check(f"refine_map{k}_shape", one.shape)
    positions = network.refine_net.positions(coarse, first.camera)
    _check_thinned(case, "refine_verts2d", positions[0])
    case.check("refine_vertex_features", network.refine_net.vertex_features(maps, positions))
    refined = network.refine_net(features, coarse, first)
    for found in (prediction_of(refined, body), built.forward(crops)):
        case.check("pred_cam", found.numbers.camera)
        case.check("pred_cam_t", found.crop_translation)
        case.check("pred_global_orient", found.rotations[:, :1])
        case.check("pred_hand_pose", found.rotations[:, 1:])
        case.check("pred_betas", found.numbers.betas)
        case.check("pred_keypoints_3d", found.joints)
        _check_thinned(case, "pred_vertices", found.vertices)
        case.check("pred_keypoints_2d", found.crop_uv)


def end_to_end(case: Case) -> None:
    """Image and boxes to hands in the camera, left hands mirrored; the image is that of another case."""
    given = Case(case.folder, re.findall(r"(\w+)\.npz", case.spec["options"]["image"])[0])
    built, rgb = model_of(case), np.ascontiguousarray(given.given("image_bgr_u8")[..., ::-1])
    boxes, right = given.given("boxes_xyxy"), given.given("right").astype(bool)
    rescale = float(case.spec["options"].get("rescale_factor", given.given("rescale_factor")))
    size = rgb.shape[1], rgb.shape[0]
    squares = squares_of(boxes, right, size, rescale)
    found = built.forward(cut(rgb, squares))
    _check_hands(case, built.full_image(found, squares), found.joints)
    _check_hands(case, built.predict(rgb, boxes, right, batch=3, rescale=rescale), found.joints)
    case.check("scaled_focal", np.float32(assumed_focal(size)))
    if case.names("cam_t_full_real_focal"):
        focal = float(case.given("real_focal"))
        case.check("cam_t_full_real_focal", built.full_image(found, squares, focal).cam_t)


def _check_hands(case: Case, hands: Hands, as_right: torch.Tensor) -> None:
    """The reference gives rotations as of right hands, which `Hands` does not."""
    left = ~hands.right
    rotations = hands.rotations.copy()
    rotations[left] = mirrored(rotations[left])
    case.check("pred_cam", hands.camera)
    case.check("pred_global_orient", rotations[:, :1])
    case.check("pred_hand_pose", rotations[:, 1:])
    case.check("pred_betas", hands.betas)
    case.check("pred_keypoints_3d_right_frame", as_right)
    case.check("joints_3d", hands.joints)
    if not np.allclose(hands.joints[left], mirrored_points(as_right.numpy())[left], atol=1e-7):
        raise AssertionError(f"{case.name}: left hands are not mirrored")
    for name in case.names(r"vertices(_every\d+)?"):
        _check_thinned(case, name, hands.vertices)
    case.check("cam_t_full", hands.cam_t)
    case.check("keypoints_2d_full", hands.uv)


def _check_thinned(case: Case, name: str, found: torch.Tensor | np.ndarray) -> None:
    """Compare with a reference that may hold every n-th entry of an axis alone, from the first on."""
    value = np.asarray(found)
    wanted = case.wanted(name).shape
    texts = [text for key, text in case.spec.get("subsampled", {}).items() if name.startswith(key)]
    stated = [int(number) for number in re.findall(r"(?:every ?|channels 0, )(\d+)", " ".join((name, *texts)))]
    for axis, (have, full) in enumerate(zip(wanted, value.shape)):
        if have < full:
            steps = [n for n in (*stated, -(-full // have)) if -(-full // n) == have]
            if not steps:
                raise Unusable(f"{case.name}: how {full} entries of {name} became {have} is not known")
            value = value.take(range(0, full, steps[0]), axis=axis)
    case.check(name, value)


def keys(path: Path) -> list[Comparison]:
    """Compare the network, in the sizes that a file's shapes have, with the names and shapes that it lists."""
    stated = json.loads(path.read_text())
    wanted = {key: tuple(shape) for key, shape in stated["needed_for_inference"].items()}
    with torch.device("meta"):
        network = HandNetwork(HandConfig.from_shapes(wanted))
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wrong = sum(found.get(key) != wanted.get(key) for key in found.keys() | wanted.keys())
    parts = {"backbone": network.backbone, "refine_net": network.refine_net}
    rows = [Comparison("keys", wrong, 0, "keys and shapes that differ")]
    for name, part in parts.items():
        count = sum(value.numel() for value in part.parameters())
        more = abs(count - stated["counts"][f"parameters_{name}"])
        rows.append(Comparison(f"parameters of {name}", more, 0, "parameters more or fewer"))
    return rows


def checkpoint(path: Path) -> list[Comparison]:
    """Read a file laid out like the released checkpoint; its weights are made from their names."""
    stated = json.loads(path.with_suffix(".json").read_text())
    config = HandConfig.from_dict(stated["model_config"])
    arrays = module_of(path.parent, "synthetic_mano").make("A")
    found = from_checkpoint(path, arrays, heads=config.heads)
    wanted = network_of(path.parent, stated["model_config"], stated["weights"])
    pairs = zip(found.network.state_dict().values(), wanted.state_dict().values(), strict=True)
    wrong = sum(not torch.equal(one.to(other.dtype), other) for one, other in pairs)
    return [
        Comparison("weights", wrong, 0, "arrays that differ"),
        Comparison("sizes", int(found.network.config != config), 0, "sizes that differ"),
    ]


RUNNERS: dict[str, Callable[[Case], None]] = {
    "mano": mano,
    "preprocess": preprocess,
    "model": model,
    "end_to_end": end_to_end,
}
LISTS = {"keys_full.json": keys, "checkpoint_tiny.ckpt": checkpoint}  # files that are no cases
