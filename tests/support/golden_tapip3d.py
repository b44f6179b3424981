"""How golden data of TAPIP3D is run: sizes and options are those that each side-car states."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import Case, Comparison, module_of

from geoflow.models.tapip3d.checkpoint import from_checkpoint
from geoflow.models.tapip3d.clip import Clip
from geoflow.models.tapip3d.config import TrackerConfig
from geoflow.models.tapip3d.fourier import encode_positions, time_table
from geoflow.models.tapip3d.neighbours import nearest
from geoflow.models.tapip3d.network import TrackerNetwork
from geoflow.models.tapip3d.options import TrackOptions
from geoflow.models.tapip3d.prepared import RepairedDepth, ResizedFrames, depth_range
from geoflow.models.tapip3d.pyramid import halve, picked_rows, sample
from geoflow.models.tapip3d.query_grid import grid_pixels, grid_queries
from geoflow.models.tapip3d.rays import project, unproject_maps
from geoflow.models.tapip3d.resizing import resize_depth, resize_intrinsics
from geoflow.models.tapip3d.tracker import Tracker
from geoflow.models.tapip3d.windows import track_windows


def network_of(case: Case) -> TrackerNetwork:
    """Return the network that a side-car describes, with its made-up weights."""
    network = TrackerNetwork(TrackerConfig.from_dict(case.spec["model_config"])).eval()
    fill(network, case.folder, case.spec["weights"])
    return network


def fill(network: TrackerNetwork, folder: Path, weights: str) -> None:
    """Give a network the weights that are made from its parameters' names; `weights` states their prefix."""
    stated = re.search(r"prefix='([^']*)'", weights)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    made = module_of(folder, "tapip3d_weights").make_state(shapes, **({"prefix": stated[1]} if stated else {}))
    state = {key: torch.from_numpy(value) for key, value in made.items()}
    network.load_state_dict({**state, "time_emb": network.time_emb})


def clip_of(case: Case) -> Clip:
    """Return a case's clip in its own size."""
    return Clip.of(case.given("rgb_u8"), case.given("depth"), case.given("intrinsics"), case.given("extrinsics"))


def pieces(case: Case) -> None:
    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(case.given(name))

    case.check("posenc_out", encode_positions(tensor("posenc_in")))
    case.check("avgpool_out", halve(tensor("avgpool_in")))
    txy = tensor("sampler_txy")
    case.check("sampler_out", sample(tensor("sampler_vol").movedim(0, 1), txy[:, 0], txy[:, 1:]))
    cameras = tensor("unproj_K"), tensor("unproj_E")
    case.check("unproj_out", unproject_maps(tensor("unproj_depth"), *cameras).movedim(-1, 1))
    rows = tensor("proj_points_txyz")
    frames, points = rows[:, 0].long(), rows[:, None, 1:] * tensor("proj_std") + tensor("proj_mean")
    height, width = (int(side) for side in case.given("proj_image_size"))
    case.check("proj_out", project(points, *(camera[frames] for camera in cameras), (height, width))[:, 0])
    for name in case.names(r"(time_emb|grid|nearest_exact)(_\d+)+"):
        numbers = [int(number) for number in re.findall(r"\d+", name)]
        if name.startswith("time_emb"):
            case.check(name, time_table(*numbers))
        elif name.startswith("grid"):
            case.check(name, grid_pixels(numbers[0], (numbers[1], numbers[2])))
        else:
            case.check(name, picked_rows(*numbers))


def knn(case: Case) -> None:
    """Among equally near points the original's heap decides; any of them is right here."""
    for name in case.names(r"c\d+_idx"):
        call = name.removesuffix("_idx")
        points, queries = (torch.from_numpy(case.given(f"{call}_{part}")) for part in ("points", "queries"))
        ends, query_ends = (case.given(f"{call}_{part}").tolist() for part in ("offset", "query_offset"))
        distances, indices = [], []
        for first, last, start, stop in zip([0, *ends], ends, [0, *query_ends], query_ends):
            found = nearest(points[first:last], queries[start:stop], int(case.given(f"{call}_k")))
            distances.append(found[0])
            indices.append(found[1] + first)
        case.check(f"{call}_dist", torch.cat(distances))
        found, wanted = torch.cat(indices), torch.from_numpy(case.wanted(name)).long()
        spans = [(points[index] - queries[:, None]).norm(dim=-1) for index in (found, wanted)]
        distinct = torch.tensor([len(set(row.tolist())) for row in found]) == torch.tensor(
            [len(set(row.tolist())) for row in wanted]
        )
        case.check(name, torch.where((spans[0] == spans[1]) & distinct[:, None], wanted, found))


def encoder(case: Case) -> None:
    backbone = network_of(case).encoder.backbone
    seen: dict[str, torch.Tensor] = {}
    for name, module in backbone.named_children():
        module.register_forward_hook(lambda module, given, out, name=name: seen.__setitem__(name, out))
    rgb = torch.from_numpy(case.given("rgb_u8")).movedim(-1, 1).float() / 255
    case.check("features", backbone(rgb * 4 - 3))
    norm = torch.nn.functional.instance_norm
    for name in case.names(r"(stem_norm|layer\d|conv2)_(ch\d+_)?frame0.*"):
        part = name.split("_")[0]
        maps = norm(seen["conv1"]).relu() if part == "stem" else seen[part]
        channel = re.search(r"_ch(\d+)_", name)
        first = re.search(r"_first(\d+)$", name)
        case.check(name, maps[0, int(channel[1])] if channel else maps[0, : int(first[1]) if first else None])


def tracker(case: Case) -> None:
    network, clip, options = network_of(case), clip_of(case), case.spec["options"]
    seen = _Seen(case)
    queries = case.given("queries")
    xyz, logits = track_windows(network, clip, queries, iterations=options["num_iters"], watch=seen)
    case.check("coords", xyz)
    case.check("visib_logits", logits)
    seen.check_windows()
    if case.names("roi_.*"):
        low, high = (float(limit) for limit in case.given("roi"))
        xyz, logits = track_windows(network, clip, queries, iterations=1, depth_range=(low, high))
        case.check("roi_coords_1iter", xyz)
        case.check("roi_visib_logits_1iter", logits)
    if case.names("local_.*"):
        xyz, logits = Tracker(network, (1, 1)).one_way(clip, queries, TrackOptions(1, camera_space=True), None, 0)
        case.check("local_coords_1iter", xyz)
        case.check("local_visib_logits_1iter", logits)
    if case.names("short_.*"):
        short = network.config.seq_len // 2 - 1
        cut = Clip.of(*(case.given(name)[:short] for name in ("rgb_u8", "depth", "intrinsics", "extrinsics")))
        xyz, logits = track_windows(network, cut, queries[queries[:, 0] < short], iterations=1)
        case.check("short_coords", xyz)
        case.check("short_visib_logits", logits)


class _Seen:
    """Notes what passes through the windows."""

    def __init__(self, case: Case) -> None:
        self.case, self.network = case, network_of(case)
        self.windows: list[Any] = []
        self.iterations: list[Any] = []
        self.inner: dict[str, Any] = {}
        self.nearby: dict[int, list[Any]] = {}
        self.support: dict[int, dict[int, Any]] = {}
        self.of_interest = case.spec["options"].get("stage_window_index", -1)

    def __call__(self, name: str, value: Any) -> None:
        if name == "window":
            self.windows.append(value)
        elif name == "iteration":
            self.iterations.append(value)
        elif name == "support":
            frame, level, index, nearby = value
            for k, row in zip(index.tolist(), nearby):
                self.support.setdefault(level, {})[k] = (frame, row)
        if len(self.windows) - 1 == self.of_interest and (name, "done") not in self.inner:
            self._note(name, value)

    def _note(self, name: str, value: Any) -> None:
        """What is stored of one window's first iteration."""
        if name == "neighbours" and "update" not in self.inner:
            level, _, _, index = value
            self.nearby.setdefault(level, []).append(index)
        elif name == "support_tokens":
            self.inner[f"tokens{value[0]}"] = value[1:]
        elif name == "iteration" and "iteration" in self.inner:
            self.inner[name, "done"] = True
        else:
            self.inner.setdefault(name, value)

    def check_windows(self) -> None:
        """Compare with what the case knows of every window, and of one in detail."""
        case = self.case
        case.check("window_mean", np.array([mean for _, _, mean, _, _ in self.windows]))
        case.check("window_std", np.repeat([[deviation] for _, _, _, deviation, _ in self.windows], 3, axis=1))
        for k, (start, _, index, _, coords, logits) in enumerate(self.iterations):
            name = f"iter{k:02d}"
            if not case.has(f"{name}_coords"):
                continue
            count, total = case.wanted(f"{name}_coords").shape[:2]
            whole = np.zeros((count, total, 3), np.float32), np.zeros((count, total), np.float32)
            whole[0][:, index], whole[1][:, index] = coords[:count], logits[:count]
            case.check(f"{name}_coords", whole[0])
            case.check(f"{name}_visib_logits", whole[1])
            case.check(f"{name}_frames", [start, start + count])
        if self.of_interest >= 0:
            self._check_stage()

    def _check_stage(self) -> None:
        case, network, inner = self.case, self.network, self.inner
        start, stop, _, _, index = inner["window"]
        case.check("stage_window", [start, stop])
        for level, rows in self.support.items():
            frames, nearby = zip(*(rows[k] for k in sorted(rows)))
            case.check(f"stage_support_index_l{level}", torch.stack(nearby))
            case.check("stage_support_frame", list(frames)) if level == 0 else None
        space, maps = inner["space"], inner["maps"]
        queries = torch.from_numpy(case.given("queries"))[index]
        case.check("stage_norm_queries", torch.cat((queries[:, :1], space.enter(queries[:, 1:])), dim=1))
        for level in range(network.config.corr_levels):
            size = maps[0].features[level].shape[1:]
            cloud = torch.stack([space.enter(frame.points[level]) for frame in maps])
            case.check(f"stage_pcd_l{level}", cloud.unflatten(1, size).movedim(-1, 1))
            features = torch.stack([frame.features[level] for frame in maps])
            case.check("stage_features", features) if level == 0 else case.check(f"stage_feat_l{level}", features[:2])
            case.check(f"stage_support_feat_l{level}", inner[f"tokens{level}"][0])
            case.check(f"stage_support_offset_l{level}", inner[f"tokens{level}"][1])
            case.check(f"stage_knn_index_l{level}", torch.stack(self.nearby[level]))
        coords, logits = inner["first_state"]
        case.check("stage_coords_init", coords)
        case.check("stage_visibs_init", logits)
        correlation, logits, coords, parts, step = inner["update"]
        case.check("stage_corr_in_coords", coords)
        case.check("stage_corr_out", correlation)
        case.check("stage_updater_in", network.updater_input(logits, correlation, coords, parts))
        case.check("stage_updater_out", step)
        given = torch.from_numpy(case.given("stage_updater_in")) if case.has("stage_updater_in") else None
        if given is not None:
            case.check("stage_updater_out", network.point_updater(given), isolated=True)
        case.check("stage_iter0_coords", inner["iteration"][3])
        case.check("stage_iter0_visibs", inner["iteration"][5])


def inference(case: Case) -> None:
    native = clip_of(case)
    height, width = (int(side) for side in case.given("inference_res"))
    size = (height, width)
    resized = resize_intrinsics(native.intrinsics, native.size, size)
    frames, depth = ResizedFrames(case.given("rgb_u8"), size), RepairedDepth(case.given("depth"), resized, size)
    plain = np.stack([resize_depth(one, size) for one in case.given("depth")])
    repaired = np.stack(list(depth))
    shown = len(case.wanted("prep_depth_resized"))
    case.check("prep_video_u8", np.stack([frames[k] for k in range(shown)]))
    case.check("prep_depth_resized", plain[:shown])
    case.check("prep_depth_filtered", repaired[:shown])
    case.check("prep_depth_filtered_changed", np.packbits((plain != repaired).ravel()))
    case.check("prep_depth_shape", repaired.shape)
    case.check("prep_intrinsics", resized)
    case.check("prep_extrinsics", native.cam_from_world)
    chained = Clip.of(frames, depth, resized, native.cam_from_world)
    at_rest = chained.in_cameras()
    case.check("default_grid_queries", grid_queries(at_rest, 0, TrackOptions().grid_size))
    case.check("default_extrinsics0", at_rest.cam_from_world[0])
    tracker = Tracker(network_of(case), (1, 1))
    for name, clip in (("chained", chained), ("native", native), ("native_forward_only", native)):
        if name in case.spec["options"]:
            _both_ways(case, tracker, name, clip)


def _both_ways(case: Case, tracker: Tracker, name: str, clip: Clip) -> None:
    given = case.spec["options"][name]
    stated = (row["vis_threshold"] for row in (given, *case.spec["options"].values()) if "vis_threshold" in row)
    grid, threshold = given["support_grid"], next(stated, TrackOptions().visibility_threshold)
    options = TrackOptions(
        num_iters=given["num_iters"], bidirectional=given["bidirectional"], visibility_threshold=threshold
    )
    counted, queries = depth_range(clip.depth), case.given("query_point")
    case.check(f"{name}_support_grid_queries", grid_queries(clip, 0, grid)) if grid else None
    case.check(f"{name}_depth_roi", counted)
    xyz, logits = tracker.both_ways(clip, queries, options, counted, grid)
    for suffix in ("", "_1iter"):
        case.check(f"{name}_coords{suffix}", xyz)
        case.check(f"{name}_visible{suffix}", tracker.believed(logits, options))
        case.check(f"{name}_visib_logits{suffix}", logits)
    if case.has(f"{name}_forward_coords"):
        xyz, logits = tracker.one_way(clip, queries, options, counted, grid)
        case.check(f"{name}_forward_coords", xyz)
        case.check(f"{name}_forward_visib_logits", logits)
        turned = np.concatenate((len(clip) - 1 - queries[:, :1], queries[:, 1:]), axis=1)
        xyz, logits = tracker.one_way(clip.reversed(), turned, options, counted, grid)
        case.check(f"{name}_backward_coords_flipped_time", xyz)
        case.check(f"{name}_backward_visib_logits_flipped_time", logits)


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes of the network, in the sizes that a file states, with those it lists."""
    stated = json.loads(path.read_text())
    wanted = next(value for value in stated.values() if isinstance(value, dict) and "time_emb" in value)
    with torch.device("meta"):
        network = TrackerNetwork(TrackerConfig.from_dict(stated["config"]))
    found = {key: list(value.shape) for key, value in network.state_dict().items()}
    wrong = sum(found.get(key) != wanted.get(key) for key in found.keys() | wanted.keys())
    count = sum(value.numel() for value in network.parameters())
    return [
        Comparison("keys", wrong, 0, "keys and shapes that differ"),
        Comparison("parameters", abs(count - stated["counts"]["parameters"]), 0, "parameters more or fewer"),
    ]


def checkpoint(path: Path) -> list[Comparison]:
    """Read a file laid out like the released checkpoint; its weights are made from their names."""
    stated = json.loads(path.with_suffix(".json").read_text())
    found = from_checkpoint(path)
    wanted = TrackerNetwork(TrackerConfig.from_dict(stated["model_config"]))
    fill(wanted, path.parent, stated["weights"])
    pairs = zip(found.network.state_dict().values(), wanted.state_dict().values(), strict=True)
    wrong = sum(not torch.equal(one, other) for one, other in pairs)
    return [
        Comparison("weights", wrong, 0, "arrays that differ"),
        Comparison("resolution", int(found.base_size != tuple(stated["resolution"])), 0, "sizes that differ"),
    ]


RUNNERS: dict[str, Callable[[Case], None]] = {
    "pieces": pieces,
    "knn": knn,
    "encoder": encoder,
    "tracker": tracker,
    "inference": inference,
}
LISTS = {"keys_full.json": keys, "checkpoint_tiny.pth": checkpoint}  # files that are no cases
