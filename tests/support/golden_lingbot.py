"""How golden data of LingBot-Map is run: sizes and options are those that each side-car states."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import Case, Comparison, Unusable, module_of
from torch import Tensor

from geoflow.models.lingbot import poses
from geoflow.models.lingbot.alignment import Frame, Placement, align
from geoflow.models.lingbot.config import LingbotConfig
from geoflow.models.lingbot.depth_head import activate, encode_axis, grid_axes
from geoflow.models.lingbot.encoder import position_table
from geoflow.models.lingbot.fitting import Fit
from geoflow.models.lingbot.keyframes import KEPT, PASSED
from geoflow.models.lingbot.network import LingbotNetwork, Seen, Stream
from geoflow.models.lingbot.rotary import (
    picture_positions,
    picture_table,
    rotate_halves,
    rotate_neighbours,
    video_table,
)
from geoflow.models.lingbot.windows import WindowPlan, run_windows


def network_of(case: Case) -> LingbotNetwork:
    """Return the network that a side-car describes, with its made-up weights."""
    stated = case.spec["components"]["model"]
    network = LingbotNetwork(LingbotConfig.from_dict(stated["config"])).eval()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    made = module_of(case.folder, "lingbot_weights").make_state(
        shapes, stated["weight_prefix"], stated.get("weight_add"), stated.get("weight_scale")
    )
    network.load_state_dict({key: torch.from_numpy(value) for key, value in made.items()})
    return network


def filled(case: Case, key: str, shape: Any, low: float = 0, high: float = 1) -> Tensor:
    return torch.from_numpy(module_of(case.folder, "fill").fill_array(key, tuple(shape), low, high))


def described(case: Case, text: str, **names: Any) -> Tensor:
    """Return the input that a sentence such as "fill_array('key', (2, 3, H, W), 0, 1)" describes."""
    found = re.search(r"fill_array\('([^']+)', \(([\d, ]+)\), (-?[\d.]+), (-?[\d.]+)\)", text)
    if not found:
        raise Unusable(f"{case.name}.json describes an input that no runner knows: {text}")
    key = found[1]
    for name, value in names.items():
        key = key.replace(f"{name}J", f"{name}{value}")
    shape = [int(side) for side in found[2].split(",")]
    return filled(case, key, shape, float(found[3]), float(found[4]))


def named(case: Case) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the calls of a case, and what begins the names of their results."""
    for call in case.spec["calls"]:
        yield call, f"{call['name']}_" if "name" in call else ""


def pieces(case: Case) -> None:
    calls = case.spec["calls"]
    given = {name: filled(case, *row[1:]) for name, row in calls.items() if row[0] == "fill_array"}
    rows, columns = calls["grid"]
    positions = picture_positions(rows, columns)
    case.check("rope2d_positions", positions)
    for name in case.names(r"rope2d(_\d+)?"):
        case.check(name, rotate_halves(given[name], picture_table(positions, given[name].shape[-1])))
    table = video_table(torch.arange(*calls["rope3d_frames"]), rows, columns)
    case.check("rope3d_cos", table[0])
    case.check("rope3d_sin", table[1])
    case.check("rope3d", rotate_neighbours(given["rope3d"], table))
    for k, (width, height, aspect, channels) in enumerate(calls["uv (width, height, aspect, channels)"]):
        axes = grid_axes(width, height, aspect)
        case.check(f"uv_{k}", torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1))
        u, v = (encode_axis(axis, channels // 2) for axis in axes)
        case.check(f"uv_embed_{k}", torch.cat((u.expand(height, -1, -1), v[:, None].expand(-1, width, -1)), dim=-1))
    for name in case.names(r"pos_embed_\d+x\d+"):
        sides = [int(side) for side in name.removeprefix("pos_embed_").split("x")]
        case.check(name, position_table(given["pos_embed (table)"], *sides)[0])
    depth, confidence = activate(given["head"])
    case.check("head_depth", depth[..., None])
    case.check("head_conf", confidence)
    pose = given["pose"]
    case.check("pose_activated", torch.cat((pose[..., :7], pose[..., 7:].relu()), dim=-1))
    rotations = poses.rotation_of(given["quat"])
    case.check("quat_to_mat", rotations)
    case.check("mat_to_quat", poses.quaternion_of(rotations))


def encoder(case: Case) -> None:
    net = network_of(case).aggregator.patch_embed
    for call, name in named(case):
        x = filled(case, *call["images"], -2, 2)
        tokens = net.tokens(x)
        case.check(f"{name}patches", net.patch_embed(x)[..., ::4])
        case.check(f"{name}tokens", tokens[..., ::4])
        case.check(f"{name}block0", net.blocks[0](tokens)[..., ::4])
        case.check(f"{name}out", net(x))


def aggregator(case: Case) -> None:
    net = network_of(case).aggregator
    for call, prefix in named(case):
        images, first = described(case, call["images"]), call["scale_frames"]
        caches = net.caches()
        _aggregated(case, net, caches, images[:first], f"{prefix}scale", begin=True)
        for k in range(first, len(images)):
            keep = k not in call["not_kept"]
            _aggregated(case, net, caches, images[k : k + 1], f"{prefix}f{k:02d}", begin=False, keep=keep)
        kept = case.spec.get("measured", {}).get("cache_frames_per_block", caches[0].kept)
        if {cache.kept for cache in caches} != {kept}:
            raise AssertionError(f"{case.name}: {kept} frames should be in the caches, found {caches[0].kept}")


def _aggregated(case: Case, net: Any, caches: Any, images: Tensor, name: str, **how: bool) -> None:
    seen: dict[str, list[Tensor]] = {}
    levels = net(images, caches, **how, watch=lambda part, x: seen.setdefault(part, []).append(x))
    case.check(f"{name}_tokens", seen["tokens"][0][:, :8, ::2])
    for part in ("frame", "global"):
        for k, x in enumerate(seen[part]):
            case.check(f"{name}_{part}{k}", x[..., ::8])
    for k, level in enumerate(levels):
        case.check(f"{name}_level{k}_mean", level.mean(1))
    case.check(f"{name}_last", levels[-1][..., ::8])
    case.check(f"{name}_last_camera", levels[-1][:, 0])


def camera_head(case: Case) -> None:
    head = network_of(case).camera_head
    for call, prefix in named(case):
        tokens, first = described(case, call["tokens"])[0, :, 0], call["scale_frames"]
        for name, skipped in (("kept", []), ("skips", call["skips"])):
            caches = head.caches()
            steps = [head(tokens[:first], caches)]
            for k in range(first, len(tokens)):
                steps.append(head(tokens[k : k + 1], caches, keep=k not in skipped))
            for k, poses_found in enumerate(zip(*steps)):
                case.check(f"{prefix}{name}_iter{k}", torch.cat(poses_found))


def depth_head(case: Case) -> None:
    net = network_of(case)
    head = net.depth_head
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, module: Any) -> None:
        module.register_forward_hook(lambda module, given, out: seen.setdefault(name, []).append(out))

    for k in range(4):
        note(f"project{k}", head.projects[k])
        note(f"resize{k}", head.resize_layers[k])
        note(f"refine{k + 1}", getattr(head.scratch, f"refinenet{k + 1}"))
    note("conv1", head.scratch.output_conv1)
    for call, name in named(case):
        seen.clear()
        levels = [described(case, call["tokens"], level=k)[0] for k in range(4)]
        depth, confidence = head(levels, tuple(14 * side for side in call["grid"]))
        for part, maps in seen.items():
            fine = part in ("refine2", "refine1", "conv1")
            found = torch.cat(maps)
            case.check(f"{name}{part}", found[:1, ::4, ::2, ::2] if fine else found[:, ::2])
        case.check(f"{name}depth", depth)
        case.check(f"{name}conf", confidence)


def stream(case: Case) -> None:
    net = network_of(case)
    for call, name in named(case):
        images = described(case, call["images"])[: call["frames"]]
        found, trace = streamed(net, images, call["scale_frames"], call["keyframe_interval"])
        case.check(f"{name}trace", trace)
        _check_run(case, name, found)


def streamed(net: LingbotNetwork, images: Tensor, first: int, interval: int) -> tuple[Seen, list[list[int]]]:
    """Return what a network sees, and per frame its time, frames seen with all tokens, with special ones, and kept."""
    made, trace = Stream(net, len(images)), []
    first = min(first, len(images))
    found = [made.begin(images[:first])]
    trace += [[k, first, first, first] for k in range(first)]
    for k in range(first, len(images)):
        keep, time = (k - first) % interval == 0, made.kept
        whole, special = made.frames[0].seen_by_next(keep=keep)
        found.append(made.next(images[k : k + 1], keep=keep))
        trace.append([time, whole, special, made.kept])
    return Seen.joined(found), trace


def _check_run(case: Case, name: str, found: Seen) -> None:
    """Maps are stored whole, or every third row and column of them."""
    case.check(f"{name}pose_enc", found.encoding)
    for part, maps in (("depth", found.depth), ("conf", found.confidence)):
        whole = case.has(f"{name}{part}") and case.wanted(f"{name}{part}").shape == maps.shape
        case.check(f"{name}{part}", maps if whole else maps[:, ::3, ::3])


def tiny_activations(case: Case) -> None:
    net = network_of(case)
    encoder_, frame, deep = net.aggregator.patch_embed, net.aggregator.frame_blocks[0], net.aggregator.global_blocks[0]
    parts = {
        "encoder_norm1": encoder_.blocks[0].norm1,
        "encoder": encoder_,
        "frame_k_norm": frame.attn.k_norm,
        "frame0": frame,
        "q_norm": deep.attn.q_norm,
        "global0": deep,
        "token_norm": net.camera_head.token_norm,
        "trunk0_norm1": net.camera_head.trunk[0].norm1,
        "trunk_norm": net.camera_head.trunk_norm,
        "depth_norm": net.depth_head.norm,
    }
    calls: dict[str, list[Tensor]] = {}
    for name, module in parts.items():
        module.register_forward_hook(lambda module, given, out, name=name: calls.setdefault(name, []).append(out))
    call = case.spec["calls"][0]
    images = described(case, call["images"])
    first = min(call["scale_frames"], len(images))
    found, _ = streamed(net, images, first, 1)
    seen = {name: outs[-1] for name, outs in calls.items()}
    seen["depth_norm"] = calls["depth_norm"][3]  # of the last level; the next call is of the next frame
    for name, value in seen.items():
        case.check(name, value.flatten(0, -2)[: len(case.wanted(name))])
    case.check("adaln", torch.nn.functional.layer_norm(seen["token_norm"], seen["token_norm"].shape[-1:], eps=1e-6))
    case.check("pose_enc", found.encoding)
    case.check("depth", found.depth[..., None])
    case.check("depth_conf", found.confidence)


def windowed(case: Case) -> None:
    net = network_of(case)
    for call, name in named(case):
        images = described(case, call["images"])[: call["frames"]]
        plan = plan_of(call)
        log: dict[str, list[Any]] = {"frame": [], "placed": [], "flow": []}
        ends: list[int] = []

        def watch(kind: str, value: Any, log: dict[str, list[Any]] = log, ends: list[int] = ends) -> None:
            log.setdefault(kind, []).append(value)
            if kind == "end":
                ends.append(len(log["frame"]))

        frames = list(run_windows(partial(Stream, net, plan.expected(len(images))), images, plan, watch))
        case.check(f"{name}window_lengths", np.diff([0, *ends]))
        case.check(f"{name}overlap", min(plan.overlap, len(images) - 1))
        by_flow = plan.flow is not None
        case.check(f"{name}frame_type", [frame.kind for frame in (log["frame"] if by_flow else frames)])
        case.check(f"{name}flow", log["flow"])
        case.check(f"{name}raw_pose_enc", torch.cat([frame.seen.encoding for frame in log["frame"]]))
        case.check(f"{name}chunk_scales", [float(row.scale) for row in log["placed"]])
        if case.has(f"{name}chunk_transforms"):
            case.check(f"{name}chunk_transforms", np.stack([_matrix(row) for row in log["placed"]]))
        if len(ends) > 1:  # then the original has unit quaternions for the first window, too
            unmoved = Placement.none(frames[0].seen.encoding)
            first = sum(frame.seen.encoding is raw.seen.encoding for frame, raw in zip(frames, log["frame"]))
            frames[:first] = [unmoved.place(frame) for frame in frames[:first]]
        _check_run(case, name, Seen.joined([frame.seen for frame in frames]))


def plan_of(call: dict[str, Any]) -> WindowPlan:
    """Return how a call of the original divides a video."""
    first, interval = call["scale_frames"], call.get("keyframe_interval", 1)
    overlap = call.get("overlap_size")
    if call.get("overlap_keyframes") is not None:
        overlap = max(first, call["overlap_keyframes"] * interval)
    threshold = call.get("flow_threshold", 0)
    flow = (threshold, call.get("max_non_keyframe_gap", 30)) if threshold else None
    return WindowPlan(first, call["window_size"], first if overlap is None else overlap, interval, flow)


def _matrix(placement: Any) -> np.ndarray:
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = placement.rotation, placement.shift
    return found


def alignment(case: Case) -> None:
    for call, name in named(case):
        sides = []
        for side, keyframes in zip("ab", call["keyframes"]):
            depth = torch.from_numpy(case.given(f"{name}{side}_depth"))[0, ..., 0]
            key = re.findall(r"'([^']+)'", call["pose"])[0].removesuffix("a.pose")
            pose = filled(case, f"{key}{side}.pose", (1, len(depth), 9), -1, 1)[0]
            kept = keyframes or []
            seen = Seen(pose, depth, depth)
            sides.append([Frame(seen[k : k + 1], KEPT if k in kept else PASSED) for k in range(len(depth))])
        before, after = sides
        found = align(before[len(before) - call["overlap"] :], after)
        case.check(f"{name}scale", found.scale[None])
        case.check(f"{name}R", found.rotation)
        case.check(f"{name}t", found.shift)
        placed = Seen.joined([found.place(frame).seen for frame in after])
        case.check(f"{name}pose_enc", placed.encoding)
        case.check(f"{name}depth", placed.depth)


def conversion(case: Case) -> None:
    encoding = torch.from_numpy(case.given("pose_enc"))[0]
    for call, name in named(case):
        depth = described(case, call["depth"])[0, ..., 0]
        size = (depth.shape[1], depth.shape[2])
        pose, intrinsics = poses.world_from_cam(encoding), poses.network_intrinsics(encoding, size)
        case.check(f"{name}world_from_cam", pose)
        case.check(f"{name}intrinsics", intrinsics)
        case.check(f"{name}cam_from_world", poses.inverse(pose))
        case.check(f"{name}world_points", poses.world_points(depth, encoding))
        case.check(f"{name}pose_enc_back", poses.encode(pose, intrinsics, size))


def preprocess(case: Case) -> None:
    """Pictures are turned and put on white by the reader of a video; here Pillow does it."""
    from PIL import Image, ImageOps

    for call, name in named(case):
        picture = Image.fromarray(case.given(f"{name}in_u8"))
        picture.getexif()[0x0112] = call["exif_orientation"]
        picture = ImageOps.exif_transpose(picture)
        if picture.mode == "RGBA":
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, (255, 255, 255, 255)), picture)
        rgb = np.asarray(picture.convert("RGB"))
        height, width = rgb.shape[:2]
        fit = Fit.of((height, width), call["image_size"], call["mode"])
        case.check(f"{name}out_u8", fit.apply(rgb))
        middles = [min(fit.resized[side], fit.picture[side]) / 2 for side in (1, 0)]  # padding is left out
        case.check(f"{name}known", [0.9 * fit.resized[1], 0.9 * width / height * fit.resized[0], *middles])


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes with those that a file lists, of the published network if it states none."""
    stated = json.loads(path.read_text())
    with torch.device("meta"):
        network = LingbotNetwork(LingbotConfig.from_dict(stated.get("config", {})))
    found = {key: list(value.shape) for key, value in network.state_dict().items()}
    wanted = stated["keys"]
    wrong = sum(found.get(key) != wanted.get(key) for key in found.keys() | wanted.keys())
    count = sum(value.numel() for value in network.parameters())
    return [
        Comparison("keys", wrong, 0, "keys and shapes that differ"),
        Comparison("parameters", abs(count - stated["parameters"]), 0, "parameters more or fewer"),
    ]


RUNNERS: dict[str, Callable[[Case], None]] = {
    "pieces": pieces,
    "encoder": encoder,
    "aggregator": aggregator,
    "camera head": camera_head,
    "depth head": depth_head,
    "stream": stream,
    "stream with tiny activations": tiny_activations,
    "windowed": windowed,
    "windowed, keyframes by flow": windowed,
    "window alignment": alignment,
    "output conversion": conversion,
    "preprocess": preprocess,
}
LISTS = {"keys_full.json": keys}  # files that are no cases
