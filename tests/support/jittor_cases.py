"""The process that runs golden cases of GeometryCrafter in Jittor's environment, which has no torch and no pytest.

A line of JSON on stdin is a case; the comparisons are a line on stdout. Whatever is printed besides goes to stderr.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from crafter_cases import Passed, check_result, compare_keys, decoding_of, options_of
from golden import Case, Comparison, Unusable

from geoflow.errors import GeoFlowError
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.geometrycrafter.config import ModelConfig, PointMapVAEConfig, SchedulerConfig, UNetConfig
from geoflow.models.geometrycrafter.field_of_view import make_points
from geoflow.models.geometrycrafter.prior_statistics import statistics_of
from geoflow.models.geometrycrafter.scheduler import EulerSchedule
from geoflow.models.geometrycrafter_jittor import compiling


def networks() -> dict[str, tuple[Any, Any]]:
    """Each network's class and that of its sizes, by component."""
    from geoflow.models.geometrycrafter_jittor.autoencoders import ImageVAE, PointMapVAE
    from geoflow.models.geometrycrafter_jittor.image_tower import CLIPVision
    from geoflow.models.geometrycrafter_jittor.unet import UNet

    return {
        "unet": (UNet, UNetConfig),
        "point_map_vae": (PointMapVAE, PointMapVAEConfig),
        "vae": (ImageVAE, ImageVAEConfig),
        "image_encoder": (CLIPVision, CLIPVisionConfig),
    }


def make(case: Case, name: str) -> Any:
    """A network with the weights that a side-car describes."""
    from geoflow.models.geometrycrafter_jittor.networks import fill, shapes

    network_class, config_class = networks()[name]
    component = case.spec["components"][name]
    network = network_class(config_class.from_dict(component["config"]))
    prefix, gain = component["weight_prefix"], np.float32(component.get("weight_gain", 1.0))
    state = {}
    for key, shape in shapes(network).items():
        value = case.fill(prefix + key, shape)
        state[key] = value * gain if value.ndim >= 2 or key.endswith("bias") else value
    fill(network, state)
    return network


def run(network: Any, *arguments: Any) -> Any:
    from geoflow.models.geometrycrafter_jittor import networks

    return networks.run(network, *arguments)


def unet(case: Case) -> None:
    network = make(case, "unet")
    for call in case.spec["calls"]:
        inputs = (f"{call['name']}.{key}" for key in ("sample", "encoder_hidden_states", "added_time_ids"))
        sample, context, ids = (case.given(key) for key in inputs)
        case.check(f"{call['name']}.emb", run(network.embed, call["timestep"], ids))
        means = _watch_means(network)
        case.check(f"{call['name']}.out", run(network, sample, call["timestep"], context, ids))
        for block, mean in means.items():
            case.check(f"{call['name']}.mean.{block}", mean)


def _watch_means(network: Any) -> dict[str, Any]:
    """Fills with the mean over pixels of every block's output during the next call."""
    found: dict[str, Any] = {}
    blocks = {"conv_in": network.conv_in, "mid": network.mid_block}
    blocks |= {f"down{i}": block for i, block in enumerate(network.down_blocks)}
    blocks |= {f"up{i}": block for i, block in enumerate(network.up_blocks)}
    for name, block in blocks.items():

        def note(module: Any, args: Any, out: Any, name: str = name) -> None:
            maps = (out[0] if isinstance(out, tuple) else out).numpy()
            found[name] = maps.mean((2, 3), dtype=np.float64)

        block.register_forward_hook(note)
    return found


def point_map_vae(case: Case) -> None:
    vae = make(case, "point_map_vae")
    maps, mean = case.given("encode.x"), case.given("encode.latent_params")[:, :4]
    case.check("encode.h", run(vae.encoder, maps))
    case.check("encode.mode", run(vae.encode, maps, mean))
    for call in case.spec["calls"]:
        for key, value in zip(("imap", "dmap", "vmask"), run(vae.decode, case.given(call["z"]), call["num_frames"])):
            case.check(f"{call['name']}.{key}", value)


def clip(case: Case) -> None:
    from geoflow.models.geometrycrafter_jittor.resampling import normalise, resize_for_clip

    tower, stride = make(case, "image_encoder"), case.spec["stride"]
    for call in case.spec["calls"]:
        name = call["name"]
        video = case.given(f"{name}.video_u8").astype(np.float32) / np.float32(255)
        resized = resize_for_clip(video * 2 - 1)
        pixels, zero_to_one = normalise(resized), (resized + 1) / 2
        case.check(f"{name}.resized", zero_to_one[:, :, ::stride, ::stride])
        case.check(f"{name}.resized_mean", zero_to_one.mean((2, 3)))
        case.check(f"{name}.resized_min_max", [zero_to_one.min(), zero_to_one.max()])
        case.check(f"{name}.pixel_values", pixels[:, :, ::stride, ::stride])
        case.check(f"{name}.image_embeds", run(tower, pixels))


def scheduler(case: Case) -> None:
    sample = case.given("sample")
    config = SchedulerConfig.from_dict(case.spec.get("components", {}).get("scheduler", {}).get("config", {}))
    for n in case.spec["steps"]:
        schedule = EulerSchedule.of(n, config)
        case.check(f"n{n}.sigmas", schedule.sigmas)
        case.check(f"n{n}.timesteps", [schedule.timestep(i) for i in range(n)])
        case.check(f"n{n}.init_noise_sigma", schedule.initial_sigma)
        x = sample * np.float32(schedule.initial_sigma)
        for i in range(n):
            v = np.tanh((1 + 0.1 * i) * schedule.scale_input(x, i))  # what stood for a network
            x = schedule.step(v, x, i)
            case.check(f"n{n}.step{i}", x)
        case.check(f"n{n}.final", x)


def priors(case: Case) -> None:
    from geoflow.models.geometrycrafter_jittor.array_priors import prior_maps, rays, survey_rows

    for call in case.spec["calls"]:
        name, chunk = call["name"], call["chunk_size"]
        points, mask = case.given(f"{name}.points").astype(np.float32), case.given(f"{name}.mask").astype(bool)
        starts = range(0, len(points), chunk)
        rows = [survey_rows(points[start : start + chunk], mask[start : start + chunk]) for start in starts]
        statistics = statistics_of(np.concatenate(rows), mask[0].size)
        maps = prior_maps(points, mask, statistics)
        case.check(f"{name}.norm_factor", statistics.scale)
        case.check(f"{name}.disparity_range", [statistics.low, statistics.high])
        case.check(f"{name}.disparity", maps.disparity[:, 0])
        case.check(f"{name}.valid_mask", maps.mask[:, 0])
        case.check(f"{name}.log_depth", maps.log_depth[:, 0])
        case.check(f"{name}.xy", rays(points / np.float32(statistics.scale), mask))
        case.check(f"{name}.intrinsic", maps.intrinsics)


def codec(case: Case) -> None:
    from geoflow.models.geometrycrafter_jittor.array_priors import PriorMaps
    from geoflow.models.geometrycrafter_jittor.networks import Networks
    from geoflow.models.geometrycrafter_jittor.sampling import encode_prior

    vae, point_maps = make(case, "vae"), make(case, "point_map_vae")
    disparity, mask, log_depth = (
        case.given(f"encode.{key}")[:, None] for key in ("disparity", "valid_mask", "log_depth")
    )
    case.check("encode.vae_mode", run(vae, np.repeat(disparity, 3, axis=1)))
    given = PriorMaps(disparity, mask, log_depth, case.given("encode.intrinsic"))
    parts = Networks(unet=None, point_map_vae=point_maps, vae=vae, image_encoder=None, config=ModelConfig())  # type: ignore[arg-type]
    case.check("encode.latents", encode_prior(parts, given))
    for call in case.spec["calls"]:
        _decode(case, point_maps, call)


def _decode(case: Case, vae: Any, call: dict[str, Any]) -> None:
    """One combination of options: latents to raw maps, points and mask."""
    from geoflow.models.geometrycrafter_jittor.decoded_maps import FocalSum, restore

    name, latents = call["name"], case.given("decode.latents")
    options, size = decoding_of(case, call)
    step = options.decode_chunk_size
    groups = [latents[start : start + step] for start in range(0, len(latents), step)]
    raw = [run(vae.decode, group, len(group)) for group in groups]
    for key, parts in zip(("imap", "dmap", "vmask"), zip(*raw)):
        case.check(f"{name}.{key}", np.concatenate(parts))
    focal, depth, diagonal, masks = FocalSum(), [], [], []
    for part in raw:
        maps = restore(part, size, options)
        focal.add(maps)
        depth.append(maps.depth)
        masks.append(maps.mask)
        diagonal.append(maps.frame_diagonal() if options.force_projection else maps.diagonal)
    points = make_points(np.concatenate(depth), focal.diagonal() if options.fixed_focal else np.concatenate(diagonal))
    case.check(f"{name}.point_map", points)
    case.check_log_depth(f"{name}.point_map", points)
    case.check_mask(f"{name}.valid_mask", np.concatenate(masks))


def pipeline(case: Case, **changes: Any) -> None:
    """The whole of one variant, with all that the case knows of the way to the result."""
    from geoflow.models.geometrycrafter_jittor.networks import Networks
    from geoflow.models.geometrycrafter_jittor.pipeline import GeometryCrafter

    options, more = options_of(case, **changes)
    components = case.spec["components"]
    configs = {name: row[1].from_dict(components[name]["config"]) for name, row in networks().items()}
    config = ModelConfig(**configs, scheduler=SchedulerConfig.from_dict(components["scheduler"]["config"]))
    crafter = GeometryCrafter(
        Networks(**{name: make(case, name) for name in networks()}, config=config), options, **more
    )
    noise = case.given("noise")[0] if options.model_type == "diff" else None
    frames = case.given("video_u8").transpose(0, 2, 3, 1)
    with contextlib.ExitStack() as patches:
        seen = _Seen(patches, crafter)
        found = crafter.reconstruct(frames, case.given("prior_points"), case.given("prior_mask").astype(bool), noise)
        points, mask = found.collect()
    seen.check(case)
    check_result(case, points, mask)


class _Seen(Passed):
    """Notes what passes between the parts of a pipeline."""

    def __init__(self, patches: contextlib.ExitStack, crafter: Any) -> None:
        from geoflow.models.geometrycrafter_jittor import sampling

        super().__init__(crafter)

        def watch(owner: Any, name: str, note: Any) -> None:
            original = getattr(owner, name)

            def noting(*given: Any) -> Any:
                before = [row.copy() if isinstance(row, np.ndarray) else row for row in given]
                found = original(*given)
                note(before, found)
                return found

            patches.enter_context(mock.patch.object(owner, name, noting))

        watch(sampling.FrameEncoder, "encode", lambda given, found: self.known.append(found))
        watch(sampling.FrameEncoder, "embed", lambda given, found: self.frames.append(given[1]))
        watch(sampling, "encode_prior", lambda given, found: self.resized.append(given[1]))
        watch(sampling.Regression, "window", lambda given, found: self.windows.append(found))
        watch(EulerSchedule, "step", lambda given, found: self.steps.append((given[1], given[2], found)))
        watch(crafter, "decode", lambda given, found: self.decoded.append(given[0]))
        watch(
            sampling,
            "run",
            lambda given, found: self.ids.append(given[4]) if given[0] is crafter.networks.unet else None,
        )


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes of the networks with those that a file lists."""
    from geoflow.models.geometrycrafter_jittor.networks import shapes

    def of(component: str, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
        network_class, config_class = networks()[component]
        return shapes(network_class(config_class.from_dict(config)))

    return compare_keys(path, of)


RUNNERS = {
    "unet": unet,
    "point_map_vae": point_map_vae,
    "clip": clip,
    "scheduler": scheduler,
    "priors": priors,
    "codec": codec,
    "determ": pipeline,
    "diff": pipeline,
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the comparisons of one case, or why there are none."""
    if request.get("in_parts"):
        from geoflow.models.geometrycrafter_jittor import layers

        with mock.patch.multiple(layers, _VALUES_AT_ONCE=1 << 11, _SCORES_AT_ONCE=1 << 7):
            return answer({**request, "in_parts": False})
    compared: list[Comparison] = []
    try:
        if "keys" in request:
            compared = keys(Path(request["keys"]))
        else:
            case = Case(Path(request["folder"]), request["name"])
            compared = case.compared
            kind = max((kind for kind in RUNNERS if case.kind == kind or case.kind.startswith(f"{kind}_")), key=len)
            RUNNERS[kind](case, **request["changes"])
    except Unusable as error:
        return {"unusable": str(error)}
    except AssertionError as error:
        return {"compared": [dataclasses.astuple(row) for row in compared], "fault": str(error)}
    except Exception as error:  # of a network whose shapes do not fit, of a side-car that lacks a key
        traceback.print_exc()
        fault = f"{type(error).__name__}: {error}"
        return {"compared": [dataclasses.astuple(row) for row in compared], "fault": fault}
    return {"compared": [dataclasses.astuple(row) for row in compared]}


@contextlib.contextmanager
def _kernels_counted(what: str) -> Iterator[None]:
    """Say on stderr how many kernels were compiled meanwhile."""
    home = compiling.cache_home()
    before = compiling.compiled_files(home, "*.so")
    yield
    if made := compiling.compiled_files(home, "*.so") - before:
        print(f"{what}: {made} kernels compiled", file=sys.stderr, flush=True)


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=out, flush=True)

    try:
        compiling.import_jittor("cpu", threads=1)
    except (GeoFlowError, ImportError) as error:
        reply({"unusable": str(error)})
        return
    print(compiling.describe(), file=sys.stderr, flush=True)
    assert "torch" not in sys.modules
    reply({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        with _kernels_counted(request.get("name", "keys")):
            reply(answer(request))


if __name__ == "__main__":
    main()
