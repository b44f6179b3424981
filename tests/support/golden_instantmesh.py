"""How golden data of InstantMesh and Zero123++ is run: sizes, seeds and options are those that each side-car states."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import Case, Comparison, Unusable, module_of
from scipy.spatial import cKDTree
from torch import nn

from geoflow.models.diffusion.clip import CLIPVision
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.diffusion.image_vae import ImageAutoencoder
from geoflow.models.instantmesh.cameras import FIELD_OF_VIEW, looking_at_origin, view_cameras
from geoflow.models.instantmesh.config import ReconstructorConfig
from geoflow.models.instantmesh.empty_field import force_surface
from geoflow.models.instantmesh.field import Field
from geoflow.models.instantmesh.flexicubes import extract as flexicubes_mesh
from geoflow.models.instantmesh.grid import Grid
from geoflow.models.instantmesh.mesh import Mesh, obj_text
from geoflow.models.instantmesh.network import MeshNetwork
from geoflow.models.instantmesh.reconstructor import Reconstructor
from geoflow.models.instantmesh.view_pictures import resize_views, split_views
from geoflow.models.zero123plus.config import CLIP_EXTRACTOR, ExtractorConfig, SchedulerConfig, TextConfig, UNetConfig
from geoflow.models.zero123plus.picture import extract, on_white, square_foreground
from geoflow.models.zero123plus.reference import Writing
from geoflow.models.zero123plus.scheduler import AncestralSchedule
from geoflow.models.zero123plus.text import CLIPText
from geoflow.models.zero123plus.unet import UNet
from geoflow.models.zero123plus.views import Extractors, Prompt, Views

_MADE = re.compile(r"fill_array\((.+?)\)(?: \* float32\(1 / (\d+)\))?")


def made(case: Case, text: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    """An input that a side-car states by its key, its shape and its range: `fill_array('a.b', (1, 2), -1, 1)`."""
    if text == "zeros":
        return np.zeros(shape, np.float32)
    stated = _MADE.fullmatch(text)
    if stated is None:
        raise Unusable(f"{case.name}.json states an input as {text!r}, which no runner knows")
    found: np.ndarray = module_of(case.folder, "fill").fill_array(*ast.literal_eval(f"({stated[1]})"))
    return found * np.float32(1 / int(stated[2])) if stated[2] else found


def thinned(text: str, value: Any) -> np.ndarray:
    """What is stored of a result: 'vertices 0, 5, 10, ..', 'rows and columns 0, 7, ..', 'first view'; '' for all."""
    value = np.asarray(value)
    if text == "first view":
        return value.reshape(-1, *value.shape[-2:])[:1]
    step = int(stated[1]) if (stated := re.search(r"0, (\d+),", text)) else 1
    if "column" in text:
        return value[..., ::step, ::step]
    return value[:, ::step]


# -- InstantMesh ---------------------------------------------------------------------------------------------------


def network_of(case: Case) -> MeshNetwork:
    """The network that a side-car describes, with its made-up weights."""
    part = case.spec["components"]["model"]
    with torch.device("meta"):
        network = MeshNetwork(ReconstructorConfig.of(part["config"], part["encoder_config"]))
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    make = module_of(case.folder, "instantmesh_weights").make_state
    state = make(shapes, part["weight_prefix"], part.get("weight_add"), part.get("weight_scale"))
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, assign=True)
    return network.eval()


def cameras(case: Case) -> None:
    for call in case.spec["calls"]:
        if "count" in call:
            azimuths = np.arange(call["count"]) * 360 / call["count"]
            case.check(call["name"], looking_at_origin(azimuths, call["elevation"], call["radius"]))
        else:
            found = view_cameras(call["radius"], call["fov"])
            case.check(call["name"], np.stack([found] * call["batch"]))


def preprocess(case: Case) -> None:
    for call in case.spec["calls"]:
        name = call["name"].removeprefix("foreground_")
        found = square_foreground(case.given(f"foreground_{name}_in_u8"), call["ratio"])
        case.check(f"foreground_{name}_u8", found)
        case.check(f"white_{name}_u8", on_white(found))
    stored = case.spec.get("options", {}).get("subsampled", {})
    for name, usual in (("vae", ExtractorConfig()), ("clip", CLIP_EXTRACTOR)):
        if case.has(f"extract_{name}"):
            given = case.spec.get(f"feature_extractor_{name}")
            config = ExtractorConfig.from_dict(given) if given else usual
            found = extract(on_white(case.given("extract_in_u8")), config)
            case.check(f"extract_{name}", thinned("columns " + stored.get(f"extract_{name}", ""), found))
    size = int(re.match(r"\d+", case.spec.get("options", {}).get("resize", "320"))[0])  # type: ignore[index]
    for name in case.names(r"resize_\w+"):
        views = torch.from_numpy(case.given(f"{name}_in_u8")).permute(2, 0, 1).float() / 255
        case.check(name, thinned("columns " + stored.get("resize_*", ""), resize_views(views[None], size)[0]))


def reconstruction(case: Case) -> None:
    network = network_of(case)
    for call in case.spec["calls"]:
        prefix, stored = f"{call['name']}_" if "name" in call else "", call.get("subsampled", {})

        def check(name: str, value: Any, prefix: str = prefix, stored: dict[str, str] = stored) -> None:
            if case.has(prefix + name):
                case.check(prefix + name, thinned(stored.get(name, ""), value) if name in stored else value)

        images = torch.from_numpy(made(case, call["images"]))
        poses = torch.from_numpy(_poses(case, call, prefix))
        seen = _watch(network)
        planes = torch.stack([network(*pair) for pair in zip(images, poses)])
        for name, parts in seen.items():
            if name.startswith("decoder_layer"):
                check(name, torch.cat(parts))
            else:
                check(name, torch.stack(parts) if name == "camera_embedding" else torch.cat(parts))
        check("planes", planes)
        if case.has(f"{prefix}sdf"):
            points = case.given(f"{prefix}points")
            _check_field(check, network, planes, points)


def _poses(case: Case, call: dict[str, Any], prefix: str) -> np.ndarray:
    """The call's cameras (B, V, 16); those of the six views if the case has none."""
    try:
        return case.given(f"{prefix}cameras")
    except Unusable:
        index = call.get("view_indices", list(range(call["views"])))
        return np.stack([view_cameras()[index]] * call["batch"])


def _watch(network: MeshNetwork) -> dict[str, list[torch.Tensor]]:
    """Fills, for each object, with what the encoder and the decoder have on the way."""
    seen: dict[str, list[torch.Tensor]] = {}

    def note(module: nn.Module, name: str, of: Callable[[torch.Tensor], torch.Tensor] = lambda out: out) -> None:
        module.register_forward_hook(lambda _, given, out: seen.setdefault(name, []).append(of(out)))

    def mean(out: torch.Tensor) -> torch.Tensor:
        return out.mean(1)

    vit = network.encoder.model
    note(network.encoder.camera_embedder, "camera_embedding")
    note(vit.embeddings.patch_embeddings["projection"], "patch_embedding", lambda out: out.flatten(2).transpose(1, 2))
    note(vit.embeddings, "embeddings")
    for i, block in enumerate(vit.encoder.layer):
        note(block, f"encoder_layer{i}_mean", mean)
    note(network.encoder, "image_features")
    for i, block in enumerate(network.transformer.layers):
        note(block, f"decoder_layer{i}_mean", mean)
    return seen


def _check_field(
    check: Callable[[str, Any], None], network: MeshNetwork, planes: torch.Tensor, points: np.ndarray
) -> None:
    grid = Grid(network.config.grid_res, network.config.grid_scale)
    fields = [Field(network.heads, one) for one in planes]
    raw = torch.stack([field.deformation(grid.points()) for field in fields])
    check("sdf", torch.stack([field.distance(grid.points()) for field in fields]))
    check("deformation_raw", raw)
    check("deformation", grid.displacement(raw))
    check("weight", torch.stack([field.weights(grid, torch.arange(grid.num_cubes)) for field in fields]))
    places = torch.from_numpy(points)
    check("point_features", torch.stack([field.features(part) for field, part in zip(fields, places)]))
    check("texture", torch.stack([field.colour(part) for field, part in zip(fields, places)]))


def flexicubes(case: Case) -> None:
    grid = Grid(case.spec["grid_res"], case.spec["grid_scale"])
    case.check("grid_vertices", grid.points())
    case.check("grid_cubes", grid.corners(torch.arange(grid.num_cubes)))
    for call in case.spec["calls"]:
        name = call["name"]
        moved = torch.from_numpy(made(case, call["deformation"], (grid.num_points, 3)))
        weights = torch.from_numpy(made(case, call["weight"], (grid.num_cubes, 21)))
        distance = torch.from_numpy(case.given(f"{name}_sdf"))
        cubes = grid.crossed(distance)
        corners = (grid.points() + moved)[grid.corners(cubes)]
        check_mesh(case, name, *flexicubes_mesh(grid, distance, cubes, corners, weights[cubes]))


def empty_repair(case: Case) -> None:
    grid = Grid(case.spec["grid_res"], case.spec["grid_scale"])
    numbers = torch.arange(grid.num_points)
    flat = force_surface(grid, torch.ones(1, grid.num_points))[0]
    case.check("center_indices", numbers[flat == 0])  # 1 - min and -1 - max of what is 1 everywhere
    case.check("boundary_indices", numbers[flat == -2])
    for call in case.spec["calls"]:
        name = call["name"]
        raw = torch.from_numpy(made(case, call["deformation_raw"]))
        weights = torch.from_numpy(made(case, call["weight"]))
        distance = force_surface(grid, torch.from_numpy(case.given(f"{name}_raw_sdf"))[..., 0])
        case.check(f"{name}_sdf", distance[..., None])
        case.check(f"{name}_deformation", grid.displacement(raw))
        for k, one in enumerate(distance):
            cubes = grid.crossed(one)
            corners = grid.moved(numbers, raw[k])[grid.corners(cubes)]
            check_mesh(case, f"{name}_{{}}_{k}", *flexicubes_mesh(grid, one, cubes, corners, weights[k][cubes]))


def extract_mesh(case: Case) -> None:
    options, network = case.spec["options"], network_of(case)
    index = options.get("view_indices", list(range(6)))
    views = split_views(case.given("grid_u8"), options.get("resize", 320))[index]
    poses = view_cameras(options["radius"], options.get("fov", FIELD_OF_VIEW))[index]
    case.check("resized_sub", thinned(options.get("subsampled", {}).get("resized_sub", ""), views[None]))
    reconstructor = Reconstructor(network)
    case.check("planes", network(views, torch.from_numpy(poses))[None])
    field = reconstructor.field(views, poses)
    grid, points = reconstructor.grid, reconstructor.grid.points()
    case.check("sdf", field.distances(grid)[None, :, None])
    case.check("deformation", grid.displacement(field.deformation(points))[None])
    mesh = reconstructor.mesh(views, poses, force=True)
    check_mesh(case, "", mesh.vertices, mesh.faces)
    to = _nearest(mesh.vertices, case.wanted("vertices"))
    case.check("colors_u8", _in_order(mesh.colours, to))
    case.check("colors_float", _in_order(field.colour(torch.from_numpy(mesh.vertices)).numpy(), to))
    exported = mesh.mirrored()
    check_mesh(case, "export", exported.vertices, exported.faces)
    written = _read_obj(obj_text(exported.referenced()))
    check_mesh(case, "obj", written.vertices, written.faces)
    case.check("obj_colors", _in_order(written.colours / 255, _nearest(written.vertices, case.wanted("obj_vertices"))))
    turned = mesh.vertices * np.float32([-1, 1, -1])
    case.check("glb_vertices", _in_order(turned, _nearest(turned, case.wanted("glb_vertices"))))


def check_mesh(case: Case, name: str, vertices: Any, faces: Any) -> None:
    """Compare a mesh in any order of vertices and faces; `name` says where its parts' names go in."""
    form = name if "{}" in name else f"{name}_{{}}" if name else "{}"
    if not case.has(form.format("vertices")):
        return
    wanted = (case.wanted(form.format(part)) for part in ("vertices", "faces"))
    found = module_of(case.folder, "mesh_match").compare(np.asarray(vertices), np.asarray(faces), *wanted)
    allowed = float(case.spec["outputs"][form.format("vertices")]["atol"])
    case.note(form.format("vertices"), found["vertex_error"], allowed, "of matched vertices")
    wrong = found["faces_missing"] + found["faces_extra"]
    case.note(form.format("faces"), wrong, 0, "faces missing or more")


def _nearest(vertices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The vertex (V) that is nearest to each wanted one; only used where meshes match."""
    found: np.ndarray = cKDTree(vertices).query(wanted)[1]
    return found


def _in_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return values[order]


def _read_obj(text: str) -> Mesh:
    rows = [line.split() for line in text.splitlines()]
    points = np.array([row[1:] for row in rows if row[0] == "v"], np.float64)
    faces = np.array([row[1:] for row in rows if row[0] == "f"], np.int32) - 1
    return Mesh(points[:, :3].astype(np.float32), faces, (points[:, 3:] * 255).round().astype(np.uint8))


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes of full-size networks with a list of the original's."""
    rows = []
    for name, wanted in json.loads(path.read_text()).items():
        if not isinstance(wanted, dict) or "parameters" not in wanted:
            continue
        with torch.device("meta"):
            network = MeshNetwork(ReconstructorConfig.of(wanted["config"], wanted["encoder_config"]))
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        listed = wanted["parameters"]
        wrong = sum(found.get(key) != listed.get(key) for key in found.keys() | listed.keys())
        count = sum(value.numel() for value in network.parameters())
        rows.append(Comparison(name, wrong, 0, "keys and shapes that differ"))
        rows.append(Comparison(name, abs(count - wanted["parameter_count"]), 0, "parameters more or fewer"))
    return rows


# -- Zero123++ -----------------------------------------------------------------------------------------------------


def scheduler(case: Case) -> None:
    config = SchedulerConfig.from_dict(case.spec["config"])
    for n in case.spec["steps"]:
        _check_schedule(case, AncestralSchedule.of(n, config), f"_{n}")
    schedule = AncestralSchedule.of(case.spec["stepped"], config)
    x, condition = (torch.from_numpy(case.given(name)) for name in ("x", "cond"))
    noise = torch.from_numpy(case.given("cond_noise"))
    for i in range(schedule.steps):
        v, z = (torch.from_numpy(case.given(f"{name}{i}")) for name in "vz")
        case.check(f"scaled{i}", schedule.scale_input(x, i))
        case.check(f"noisy_cond{i}", schedule.scale_input(schedule.add_noise(condition, noise, i), i))
        x = schedule.step(v, x, z, i)
        case.check(f"x{i + 1}", x)


def _check_schedule(case: Case, schedule: AncestralSchedule, suffix: str = "") -> None:
    case.check(f"timesteps{suffix}", schedule.timesteps)
    case.check(f"sigmas{suffix}", schedule.sigmas)
    case.check(f"init_noise_sigma{suffix}", schedule.initial_sigma)


def zero123plus(case: Case) -> None:
    parts = {name: make_part(case, name) for name in _PARTS}
    text = parts["text_encoder"](torch.from_numpy(case.given("text_input_ids")).long())
    case.check("text_embeds", text)
    ramp = torch.from_numpy(made(case, case.spec["ramping_coefficients"]))
    config = SchedulerConfig.from_dict(case.spec["scheduler"])
    views = Views(
        parts["unet"],
        parts["vae"],
        parts["vision_encoder"],
        Prompt(text[0], ramp),
        config,
        Extractors(*(ExtractorConfig.from_dict(case.spec[f"feature_extractor_{name}"]) for name in ("vae", "clip"))),
    )
    options = case.spec["options"]
    steps = options["num_inference_steps"]
    _watch_attention(case, parts["unet"])
    found = views.generate(
        case.given("image_rgba_u8"),
        steps,
        options["guidance_scale"],
        noises=_draws(case),
        size=(options["height"], options["width"]),
        watch=lambda name, value: case.check(_RENAMED.get(name, name), value),
    )
    case.check("image_u8", found)
    _check_schedule(case, AncestralSchedule.of(steps, config))


_PARTS: dict[str, tuple[Any, Any]] = {
    "unet": (UNet, UNetConfig),
    "vae": (ImageAutoencoder, ImageVAEConfig),
    "vision_encoder": (CLIPVision, CLIPVisionConfig),
    "text_encoder": (CLIPText, TextConfig),
}
_RENAMED = {"picture": "image_rgb_u8"}


def make_part(case: Case, name: str) -> Any:
    """A network that a side-car describes, with its made-up weights; its keys are those that are listed."""
    network_class, config_class = _PARTS[name]
    part = case.spec["components"][name]
    with torch.device("meta"):
        network = network_class(config_class.from_dict(part["config"]))
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    listed = case.spec["state_shapes"][name]
    wrong = sum(shapes.get(key) != listed.get(key) for key in shapes.keys() | listed.keys())
    case.note(f"state_shapes.{name}", wrong, 0, "keys and shapes that differ")
    prefix = part["weight_prefix"]
    state = {key: torch.from_numpy(case.fill(prefix + key, tuple(shape))) for key, shape in shapes.items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def _draws(case: Case) -> list[np.ndarray]:
    """All draws in their order: the views' own comes after those of the posteriors."""
    order = list(case.spec["noise_order"])
    first = next(k for k, name in enumerate(order) if not name.endswith("_posterior"))
    return [case.given(name) for name in (*order[:first], "noise_initial", *order[first:])]


def _watch_attention(case: Case, unet: UNet) -> None:
    """Compare what every self attention writes in the first pass, and what it puts out in the second."""
    steps: dict[str, int] = {}
    for path, module in unet.named_modules():
        place = re.fullmatch(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.attentions\.(\d+)\..*\.attn1", path)
        if place is None:
            continue
        name = f"{place[1]}.{place[2]}.{place[3]}" if place[1] else f"mid_block.{place[3]}"

        def note(module: nn.Module, given: Any, out: torch.Tensor, name: str = name) -> None:
            if isinstance(given[1], Writing):
                steps[name] = steps.get(name, -1) + 1
                case.check(f"step{steps[name]}_ref.{name}.in_mean", given[0].mean(1))
            else:
                case.check(f"step{steps[name]}_read.{name}.out_mean", out.mean(1))

        module.register_forward_hook(note)


RUNNERS: dict[str, Callable[[Case], None]] = {
    "cameras": cameras,
    "preprocess": preprocess,
    "reconstruction": reconstruction,
    "flexicubes": flexicubes,
    "empty_repair": empty_repair,
    "extract_mesh": extract_mesh,
    "scheduler": scheduler,
    "zero123plus": zero123plus,
}
LISTS = {"keys_full.json": keys}  # files that are no cases
