"""How golden data of ViPE is run: sizes and settings are those that each side-car states."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import Case, Comparison, Unusable, module_of

from geoflow.bench.slam.box_flow import BoxFlow
from geoflow.models.vipe import lens, se3
from geoflow.models.vipe.adjustment import Adjustment, Scene, adjust
from geoflow.models.vipe.back_end import BackEnd
from geoflow.models.vipe.checkpoint import from_checkpoint
from geoflow.models.vipe.correlation import lookup, pyramid
from geoflow.models.vipe.depth_align import SteadyAffine, fit_inverse_depth
from geoflow.models.vipe.depth_filter import seen_by_neighbours
from geoflow.models.vipe.factor_graph import FactorGraph
from geoflow.models.vipe.flow_model import View
from geoflow.models.vipe.frame_distance import both_ways, frame_distance
from geoflow.models.vipe.keyframes import Keyframes
from geoflow.models.vipe.motion_filter import motion_score
from geoflow.models.vipe.network import SlamNetwork
from geoflow.models.vipe.network_flow import NetworkFlow
from geoflow.models.vipe.options import SlamOptions
from geoflow.models.vipe.preparing import disparity_on_grid, fit_of, invalid_on_grid
from geoflow.models.vipe.proximity import neighbours
from geoflow.models.vipe.reprojection import Edges, Geometry, linearize, reproject
from geoflow.models.vipe.robust import RobustKernel
from geoflow.models.vipe.slam import Slam
from geoflow.models.vipe.velocity import next_pose
from geoflow.video import camera_files

FILTER_LIMIT = 0.12  # of `geometry`, whose side-car does not state it


def tensor(case: Case, name: str) -> torch.Tensor:
    """Return an input, stored or made from its key."""
    made = case.spec.get("inputs_by_key", {}).get(name)
    if made is None:
        return torch.from_numpy(np.ascontiguousarray(case.given(name)))
    _, key, shape, low, high = made
    return torch.from_numpy(module_of(case.folder, "fill").fill_array(key, shape, low, high))


def network_of(case: Case) -> SlamNetwork:
    """Return the network with the weights that are made from its parameters' names."""
    network = SlamNetwork().eval()
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    made = module_of(case.folder, "fill").fill_state(shapes, case.spec["weights_prefix"])
    network.load_state_dict({key: torch.from_numpy(value) for key, value in made.items()})
    return network


def pixels_last(found: torch.Tensor) -> torch.Tensor:
    """(E, C, h, w) as the reference has it, (E, h, w, C)."""
    return found.movedim(1, -1)


def encoder(case: Case) -> None:
    network = network_of(case)
    rgb = tensor(case, "images_u8").float() / 255
    seen: dict[str, torch.Tensor] = {}
    for part in ("fnet", "cnet"):
        one = getattr(network, part)
        for layer in ("layer1", "layer2", "layer3"):
            getattr(one, layer).register_forward_hook(
                lambda module, given, out, name=f"{part}_{layer}": seen.__setitem__(name, out)
            )
        one.layer1.register_forward_pre_hook(
            lambda module, given, name=f"{part}_stem": seen.__setitem__(name, given[0])
        )
    case.check("fmap", network.features(rgb))
    hidden, context = network.context(rgb)
    case.check("net", hidden)
    case.check("inp", context)
    for name, found in seen.items():
        case.check(f"inner_{name}", found[:, :6, ::2, ::2])


def correlation(case: Case) -> None:
    levels = pyramid(tensor(case, "fmap1")[0], tensor(case, "fmap2")[0])
    height, width = levels[0].shape[2:]
    case.check("pyramid_l0", levels[0].unflatten(1, (height, width))[:, ::2, ::2])
    for level in (1, 2, 3):
        case.check(f"pyramid_l{level}", levels[level].unflatten(1, (height, width)))
    coords = tensor(case, "coords")[0].movedim(-1, 1)
    case.check("lookup", lookup(levels, coords)[None])
    case.check("lookup_grid", lookup(levels, lens.grid(height, width, coords)[None])[None])
    frames = tensor(case, "frames")[0]
    ii, jj = tensor(case, "ii"), tensor(case, "jj")
    coords = tensor(case, "coords_frames")[0].movedim(-1, 1)
    case.check("lookup_frames", lookup(pyramid(frames[ii], frames[jj]), coords)[None])


def update(case: Case) -> None:
    operator = network_of(case).update
    net, inp, corr, motion = (tensor(case, name)[0] for name in ("net", "inp", "corr", "motion"))
    frames, row = torch.unique(tensor(case, "ii"), return_inverse=True)
    hidden = operator(net, inp, corr, motion)
    delta, weight = operator.flow(hidden)
    case.check("one_net", hidden[None, :, ::4])
    case.check("one_delta", pixels_last(delta)[None])
    case.check("one_weight", pixels_last(weight)[None])
    case.check("one_damping", operator.damping(hidden, row, len(frames))[None])
    case.check("one_upmask", operator.agg.upmask(operator.agg(hidden, row, len(frames)))[None, :, ::48])
    levels = pyramid(tensor(case, "fmap1")[0], tensor(case, "fmap2")[0])
    pixels = lens.grid(*net.shape[2:], net)[None]
    coords = pixels + tensor(case, "start")[0].movedim(-1, 1)
    target, hidden = coords, net
    for k in range(len(case.names(r"chain\d+_target"))):
        motion = torch.cat((coords - pixels, target - coords), 1)
        hidden = operator(hidden, inp, lookup(levels, coords), motion)
        delta, weight = operator.flow(hidden)
        target = coords + delta
        coords = coords + delta / 2
        case.check(f"chain{k}_target", pixels_last(target)[None])
    case.check("chain_net", hidden[None, :, ::4])
    case.check("chain_weight", pixels_last(weight)[None])
    case.check("chain_damping", operator.damping(hidden, row, len(frames))[None])
    case.check("chain_coords", pixels_last(coords)[None])
    still = lookup(levels, pixels.expand(len(net), -1, -1, -1))
    delta, _ = operator.flow(operator(net, inp, still, torch.zeros_like(motion)))
    case.check("motion_delta", pixels_last(delta)[None])
    case.check("motion_score", [motion_score(flow, None) for flow in delta])
    invalid = tensor(case, "mask") < 0.3
    case.check("motion_score_masked", [motion_score(flow, mask) for flow, mask in zip(delta, invalid)])


def geometry(case: Case) -> None:
    poses, disps = tensor(case, "poses"), tensor(case, "disps")
    size = disps.shape[1:]
    case.check("retr", se3.retract(poses, tensor(case, "xi")))
    case.check("log", se3.log(poses))
    case.check("matrix", se3.matrix(poses))
    case.check("extrapolated", next_pose(poses[0], poses[1]))
    for name in ("pinhole", "mei"):
        one, two = tensor(case, f"{name}_K"), tensor(case, f"{name}_K2")
        _projections(case, name, one, disps)
        scene = Geometry(poses, disps, one)
        edges = Edges.single(tensor(case, "ii"), tensor(case, "jj"))
        linear = _linearized(case, f"{name}_re", scene, edges)
        case.check(f"{name}_re_valid", reproject(scene, edges)[1][..., None])
        for part, found in (("Jfi", linear.by_lens_i), ("Jfj", linear.by_lens_j)):
            assert found is not None
            case.check(f"{name}_re_{part}", found.unflatten(-1, size).permute(0, 3, 4, 1, 2))
        views = Edges(*(tensor(case, f"mv_{part}") for part in ("pi", "pj", "qi", "qj", "di")))
        _linearized(case, f"{name}_mv", Geometry(poses, disps, two, tensor(case, "rig")), views)
        case.check(f"{name}_pinhole", lens.pinhole(one))
        case.check(f"{name}_scaled", lens.scaled(one, 1 / 8))
        case.check(f"{name}_distance", frame_distance(scene, edges.pose_i, edges.pose_j))
    smooth = torch.from_numpy(case.wanted("filter_disps"))
    case.check("filter_disps", smooth)  # what the count is of: an input, kept among the results
    limit = torch.full((len(smooth),), float(case.spec.get("filter_limit", FILTER_LIMIT)))
    case.check("filter_count", seen_by_neighbours(Geometry(poses, smooth, tensor(case, "pinhole_K")), limit))


def _projections(case: Case, name: str, camera: torch.Tensor, disps: torch.Tensor) -> None:
    size = disps.shape[1:]
    pixels = lens.grid(*size, disps).flatten(1)[None]
    rays, first = lens.unproject(pixels, camera), disps[:1].flatten(1)
    points = torch.cat((rays, first[:, None]), 1)
    case.check(f"{name}_iproj", points.unflatten(-1, size).permute(0, 2, 3, 1))
    slope = lens.unproject_jacobian(pixels, camera)
    slope = torch.cat((slope, torch.zeros_like(slope)), 1).unflatten(-1, size)
    case.check(f"{name}_iproj_Jf", slope.permute(0, 3, 4, 1, 2))
    given = torch.from_numpy(case.wanted(f"{name}_proj_in"))
    case.check(f"{name}_proj_in", given)  # an input, kept among the results
    there = given.permute(0, 3, 1, 2)[:, :3].flatten(2)
    case.check(f"{name}_proj", lens.project(there, camera).unflatten(-1, size).permute(0, 2, 3, 1))
    by_point = lens.project_jacobian(there, camera)
    by_point = torch.cat((by_point, torch.zeros_like(by_point[:, :, :1])), 2).unflatten(-1, size)
    case.check(f"{name}_proj_Jp", by_point.permute(0, 3, 4, 1, 2))
    by_lens = lens.project_lens_jacobian(there, camera).unflatten(-1, size)
    case.check(f"{name}_proj_Jf", by_lens.permute(0, 3, 4, 1, 2))


def _linearized(case: Case, name: str, scene: Geometry, edges: Edges) -> Any:
    size = scene.disps.shape[1:]
    linear = linearize(scene, edges, with_lens=True)
    coords, _ = reproject(scene, edges)
    case.check(f"{name}_coords", pixels_last(coords))
    by_target = linear.by_target.unflatten(-1, size).permute(0, 3, 4, 2, 1)
    by_source = -torch.einsum("ehwck,ekl->ehwcl", by_target, linear.between)
    case.check(f"{name}_Jj", by_target[:, ::2])
    case.check(f"{name}_Ji", by_source[:, ::2])
    case.check(f"{name}_Jz", linear.by_disp.unflatten(-1, size).permute(0, 2, 3, 1)[..., None])
    return linear


def bundle(case: Case) -> None:
    """Every case with the generic rule, and with the fused one where the reference has it."""
    for name, stated in case.spec["cases"].items():
        rules = {"generic": name, "fused": f"{name}_fusedrule"}
        for rule, prefix in rules.items():
            if case.has(f"{prefix}_poses"):
                found = _adjusted(case, name, stated, rule)
                case.check(f"{prefix}_poses", found.poses)
                case.check(f"{prefix}_disps", found.disps.reshape(case.wanted(f"{prefix}_disps").shape))
                case.check(f"{prefix}_intrinsics", found.lenses)
                case.check(f"{prefix}_rig", found.rig) if found.rig is not None else None


def _adjusted(case: Case, name: str, stated: dict[str, Any], rule: str) -> Scene:
    def given(part: str) -> torch.Tensor:
        return tensor(case, f"{name}_{part}")

    disps, views = given("disps_in"), stated["views"]
    height, width = disps.shape[-2:]
    rig = given("rig_in") if stated.get("views", 1) > 1 else None
    scene = Scene(given("poses_in"), disps.flatten(0, 1), given("intrinsics_in"), rig)
    ii, jj = given("ii"), given("jj")
    edges = expanded(ii, jj, views)
    flow = [given(part).movedim(-1, 1).unflatten(-1, (height, width)) for part in ("target", "weight")]
    sens = f"{name}_sens"
    prior = tensor(case, sens).flatten(0, 1) if sens in case.spec["inputs"] else None
    kernel = stated.get("robust_kernel")
    schedule = {
        ours: stated[theirs]
        for ours, theirs in (
            ("mu_init", "gnc_mu_init"),
            ("mu_step", "gnc_mu_step"),
            ("mu_max", "gnc_mu_max"),
            ("mu_steps", "gnc_n_mu_steps"),
            ("iterations", "gnc_gn_iters_per_mu"),
        )
        if theirs in stated
    }
    chosen = Adjustment(
        stated["t0"],
        stated["t1"],
        stated["n_iters"],
        stated["pose_damping"],
        stated["pose_ep"],
        motion_only=stated["motion_only"],
        limited_disp=stated["limited_disp"],
        free_focal=stated["optimize_intrinsics"],
        free_rig=stated["optimize_rig_rotation"],
        alpha=stated.get("dense_disp_alpha", 0.001),
        rule=rule,
        robust=RobustKernel(kernel, stated.get("robust_kernel_threshold", 3.0), **schedule) if kernel else None,
    )
    return adjust(scene, edges, *flow, given("damping").flatten(0, 1), chosen, prior)


def expanded(ii: torch.Tensor, jj: torch.Tensor, views: int) -> Edges:
    """Return the pairs of pictures of pairs of keyframes: view by view, and within a keyframe each view to the next."""
    view = torch.arange(views).repeat(len(ii))
    pose_i, pose_j = ii.repeat_interleave(views), jj.repeat_interleave(views)
    view_j = torch.where(pose_i == pose_j, (view + 1) % views, view)
    return Edges(pose_i, pose_j, view, view_j, pose_i * views + view)


class _Graphs:
    """Keyframes of `graph.npz`, a network with made-up weights, and what is compared of both."""

    def __init__(self, case: Case) -> None:
        self.case, self.flow = case, NetworkFlow(network_of(case))
        given = {name: tensor(case, name) for name in ("fmaps", "nets", "inps", "masks", "poses", "disps")}
        self.given, self.lens = given, tensor(case, "intrinsics")[0]

    def keyframes(self, count: int, prior: float | None = None) -> Keyframes:
        made = Keyframes(tuple(self.given["disps"].shape[1:]), self.lens)  # type: ignore[arg-type]
        self.extend(made, count, prior)
        return made

    def extend(self, made: Keyframes, count: int, prior: float | None = None) -> None:
        given = self.given
        for k in range(len(made), count):
            made.expect(given["poses"][k], torch.tensor(0.0))
            view = View(given["fmaps"][k], given["nets"][k], given["inps"][k])
            made.add(k, view, given["masks"][k] < 0.15, None if prior is None else prior * given["disps"][k])
            made.disps[k] = given["disps"][k]

    def edges(self, name: str, graph: FactorGraph) -> None:
        self.case.check(name, np.array(graph.pairs()).reshape(-1, 2))

    def state(self, name: str, keyframes: Keyframes) -> None:
        self.case.check(f"{name}_poses", keyframes.poses)
        self.case.check(f"{name}_disps", keyframes.disps)


def graph(case: Case) -> None:
    made = _Graphs(case)
    everything = made.keyframes(len(made.given["poses"]))
    numbers = torch.arange(len(everything))
    i, j = (side.flatten() for side in torch.meshgrid(numbers, numbers, indexing="ij"))
    case.check("distance", both_ways(everything.geometry, i, j).unflatten(0, (len(everything), -1)))
    for name in case.names(r"edges_neighbours_r\d+"):
        case.check(name, neighbours(0, _begun(case), int(name.rsplit("r")[-1])))
    for name, rule in GRAPH_RULES.items():
        if case.has(name):
            found = FactorGraph(made.flow, everything, 16 * len(everything), keeps=False)
            found.add_near(0, 0, *rule, 0.3)
            made.edges(name, found)
    _front_graph(made)
    for name, free in (("batch", False), ("batch_focal", True)):
        if case.has(f"{name}_edges"):
            _back_graph(made, name, free_focal=free)


# Of the back end's edges: radius, suppression, limit. The side-car does not state those of the second.
GRAPH_RULES = {"edges_backend": (2, 3, 22.0), "edges_backend_near": (2, 1, 5.0)}


def _begun(case: Case) -> int:
    """The number of keyframes that the front end begins with."""
    return len(case.wanted("init_poses"))


def _front_graph(made: _Graphs) -> None:
    case, count = made.case, _begun(made.case)
    keyframes = made.keyframes(count)
    edges = FactorGraph(made.flow, keyframes, 20)
    edges.add(neighbours(0, count, 1))
    for _ in range(2):
        edges.update(Adjustment(1, edges.stop, 3), with_stored=True)
    begun = keyframes.poses.clone(), keyframes.disps.clone(), edges.damping.clone()
    case.check("init_target", pixels_last(edges.target))
    case.check("init_weight", pixels_last(edges.weight))
    assert edges.hidden is not None
    case.check("init_hidden", edges.hidden[:, ::8])
    edges.remove(edges.ii < count - 4, store=True)
    made.edges("after_rm_edges", edges)
    case.check("after_rm_inactive", edges.stored_pairs())
    made.extend(keyframes, count + 1)
    edges.add_near(count - 4, 0, 2, 1, 16.0, 0.3, remove=True)
    edges.update(Adjustment(edges.first_free, edges.stop, 3), with_stored=True)
    made.edges("new_edges", edges)
    case.check("new_inactive", edges.stored_pairs())
    case.check("new_age", edges.age)
    followed = keyframes.poses, keyframes.disps
    edges.drop_keyframe(count - 1)
    if np.array_equal(case.wanted("init_poses"), case.wanted("new_poses")[:count]):
        # The reference was stored from buffers that were written over later on: it has the state of the end, in which
        # the last keyframe has taken the place of the one before it, and also still has its own.
        begun = keyframes.poses, keyframes.disps, edges.damping[:count]
        followed = torch.cat((begun[0], followed[0][count:])), torch.cat((begun[1], followed[1][count:]))
    for part, found in zip(("poses", "disps", "damping"), begun):
        case.check(f"init_{part}", found)
    for part, found in zip(("poses", "disps"), followed):
        case.check(f"new_{part}", found)
    made.edges("dropped_edges", edges)
    case.check("dropped_inactive", edges.stored_pairs())
    case.check("dropped_tstamp", keyframes.frames)


def _back_graph(made: _Graphs, name: str, *, free_focal: bool) -> None:
    case, keyframes = made.case, made.keyframes(len(made.given["poses"]), 1.03)
    edges = FactorGraph(made.flow, keyframes, 16 * len(keyframes), keeps=False)
    edges.add_near(0, 0, 1, 2, 3.0, 0.3)
    made.edges(f"{name}_edges", edges)
    for _ in range(2):
        edges.update(Adjustment(1, len(keyframes), 4, 1e-5, 1e-2, free_focal=free_focal))
    made.state(name, keyframes)
    case.check(f"{name}_intrinsics", keyframes.lens[None])
    case.check(f"{name}_target", pixels_last(edges.target)[::3])


def slam(case: Case) -> None:
    config, size = case.spec["config"], tuple(case.spec["frame_size"])
    truth, camera, room = (tensor(case, name) for name in ("world_from_cam_true", "K_true", "room"))
    start = tensor(case, "K_start")
    flow = BoxFlow(truth, camera, room, size)  # type: ignore[arg-type]
    seen: dict[str, Any] = {"frame": []}

    def watch(name: str, value: object) -> None:
        seen["frame"].append(value) if name == "frame" else seen.__setitem__(name, value)

    factor = float(start[0] / camera[0])
    k = np.array([[start[0], 0, start[2] - 0.5], [0, start[1], start[3] - 0.5], [0, 0, 1]])
    found = Slam(flow).run(
        np.zeros((len(truth), *size, 3), np.uint8),
        intrinsics=k,
        depth_prior=lambda frame, rgb: flow.prior(frame, factor).float().numpy(),
        watch=watch,
        **slam_options(config),
    )
    keyframes: Keyframes = seen["keyframes"]
    back: BackEnd = seen["back_end"]
    assert back.graph is not None
    case.check("keyframes", found.keyframes)
    case.check("trace", seen["frame"])
    case.check("backend_edges", back.graph.pairs())
    case.check("world_from_cam", np.linalg.inv(found.cam_from_world.astype(np.float64)))
    case.check("intrinsics", keyframes.lens[None])
    case.check("keyframe_disps", keyframes.disps)
    case.check("keyframe_poses", keyframes.poses)
    counts, wanted = seen["map"].sum((1, 2)).numpy(), case.wanted("map_counts")
    case.check("map_counts", counts)
    if (np.abs(counts - wanted) > 0.02 * wanted).any():
        raise AssertionError(f"map_counts: {counts.tolist()}, expected {wanted.tolist()} within 2 %")


def slam_options(config: dict[str, Any]) -> dict[str, Any]:
    """Return the tracker's options of a configuration of the original."""
    own = {field for field in SlamOptions.__dataclass_fields__ if field in config}
    made = {name: tuple(value) if isinstance(value := config[name], list) else value for name in own}
    ba = config["ba"]
    kernel = ba["robust_kernel"] and RobustKernel(
        ba["robust_kernel"], ba["robust_kernel_threshold"], ba["gnc_mu_init"], ba["gnc_mu_step"], ba["gnc_mu_max"],
        ba["gnc_n_mu_steps"], ba["gnc_gn_iters_per_mu"],
    )  # fmt: skip
    return {
        **made,
        "dense_disp_alpha": ba["dense_disp_alpha"],
        "rule": "fused" if ba["fused"] else "generic",
        "robust": kernel or None,
        "prior_follows_focal": True,
        "stable_order": False,  # the reference was made on a processor with AVX-512, whose sort its traces show
    }


def preprocess(case: Case) -> None:
    found = []
    for row in case.wanted("sizes").tolist():
        fit = fit_of(row[0], row[1], enlarge=True)
        found.append([*fit.frame, *fit.resized, fit.top, fit.bottom, fit.left, fit.right, *fit.size])
    case.check("sizes", found)
    rgb, depth = tensor(case, "rgb").numpy(), tensor(case, "depth").numpy()
    area, rows, columns = (_stated(case, pattern) for pattern in (r"area (\d+) x (\d+) on", *_MASKED))
    fit = fit_of(*rgb.shape[:2], area[0] * area[1], enlarge=True)
    case.check("small_rgb", pixels_last(fit.picture(rgb)[None])[0])
    mask = np.ones(rgb.shape[:2], bool)
    mask[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1], mask[0, 0] = False, False
    valid, small = fit.valid(mask), fit.depth(depth)
    case.check("small_mask", valid)
    case.check("small_depth", small)
    camera = fit.intrinsics(np.array(case.spec["intrinsics_in"]))
    case.check("small_intrinsics", camera)
    case.check("small_intrinsics_back", fit.original_intrinsics(camera))
    case.check("mask_eighth_invalid", invalid_on_grid(valid)[None])
    case.check("prior_disp", disparity_on_grid(small))


_MASKED = r"rows (\d+)\.\.(\d+)", r"columns (\d+)\.\.(\d+)"


def _stated(case: Case, pattern: str) -> tuple[int, int]:
    """Two numbers in a side-car's notes."""
    found = re.search(pattern, case.spec["notes"])
    if found is None:
        raise Unusable(f"the notes of {case.name}.json do not match {pattern!r}")
    return int(found[1]), int(found[2])


def depth_align(case: Case) -> None:
    steady = SteadyAffine()
    for k in range(len(case.names(r"aligned_\d+"))):
        inverse, target, mask = (case.given(f"{part}_{k}") for part in ("inv", "target", "mask"))
        found = fit_inverse_depth(inverse, target, mask)
        case.check(f"scale_bias_{k}", [found.scale, found.bias])
        case.check(f"aligned_{k}", found.depth(inverse, 0.05))
        case.check(f"inv_video_{k}", steady.follow(found).inverse_depth(inverse))


def keys(path: Path) -> list[Comparison]:
    """Compare names and shapes of the network with those listed; read a checkpoint that is laid out as listed."""
    import tempfile

    stated = json.loads(path.read_text())
    with torch.device("meta"):
        network = SlamNetwork()
    found = {key: list(value.shape) for key, value in network.state_dict().items()}
    wrong = sum(found.get(key) != stated["model"].get(key) for key in found.keys() | stated["model"].keys())
    count = sum(value.numel() for value in network.parameters())
    made = module_of(path.parent, "fill").fill_state(stated["checkpoint"], "droid.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "droid.pth"
        torch.save({key: torch.from_numpy(value) for key, value in made.items()}, file)
        read = from_checkpoint(file).flow_model.network.state_dict()  # type: ignore[attr-defined]
    off = sum(not np.array_equal(read[key].numpy(), made[f"module.{key}"][: len(read[key])]) for key in stated["model"])
    return [
        Comparison("keys", wrong, 0, "keys and shapes that differ"),
        Comparison("parameters", abs(count - stated["parameters"]), 0, "parameters more or fewer"),
        Comparison("checkpoint", off, 0, "arrays that differ"),
    ]


def artefacts(path: Path) -> list[Comparison]:
    """Read the cameras of a clip that ViPE wrote, as `--cameras` does."""
    with np.load(path) as file:
        wanted = dict(file)
    name = next((path.parent / "pose").glob("*.npz")).stem
    found = camera_files.read(camera_files.find(str(path.parent), name) or "", name)
    assert found.number is not None and found.intrinsics is not None
    world_from_cam = np.linalg.inv(found.cam_from_world)
    values = found.intrinsics[:, [0, 1, 0, 1], [0, 1, 2, 2]]
    from_edge = values + (0, 0, 0.5, 0.5)
    height, width = wanted["rgb"].shape[1:3]
    return [
        Comparison("world_from_cam", float(np.abs(world_from_cam - wanted["world_from_cam"]).max()), 1e-6, "float32"),
        Comparison("inds", int((found.number != wanted["inds"]).sum()), 0, "numbers that differ"),
        Comparison("intrinsics", float(np.abs(from_edge - wanted["intrinsics"][:, :4]).max()), 0, "from the edge"),
        Comparison("size", int(found.size != (width, height)), 0, "sizes that differ"),
    ]


RUNNERS: dict[str, Callable[[Case], None]] = {
    "encoder": encoder,
    "correlation": correlation,
    "update": update,
    "geometry": geometry,
    "ba": bundle,
    "graph": graph,
    "slam": slam,
    "preprocess": preprocess,
    "depth_align": depth_align,
}
LISTS = {"keys_full.json": keys, "artefacts/expected.npz": artefacts}  # files that are no cases
