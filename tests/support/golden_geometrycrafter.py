"""How golden data of GeometryCrafter is run: networks and options are those that each side-car states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from crafter_cases import Passed, check_result, compare_keys, decoding_of, options_of
from crafter_networks import NETWORKS, make, make_networks
from golden import Case, Comparison

from geoflow.models.geometrycrafter import encoding
from geoflow.models.geometrycrafter.clip_frames import normalise, resize_for_clip
from geoflow.models.geometrycrafter.config import ModelConfig, SchedulerConfig
from geoflow.models.geometrycrafter.denoise import Regression
from geoflow.models.geometrycrafter.encoding import encode_prior
from geoflow.models.geometrycrafter.field_of_view import make_points
from geoflow.models.geometrycrafter.maps import FocalSum, restore
from geoflow.models.geometrycrafter.networks import Networks
from geoflow.models.geometrycrafter.pipeline import GeometryCrafter
from geoflow.models.geometrycrafter.priors import PriorMaps, PriorSurvey, prior_maps, rays
from geoflow.models.geometrycrafter.scheduler import EulerSchedule


def unet(case: Case) -> None:
    network = make("unet", case.spec["components"]["unet"], case.fill)
    for call in case.spec["calls"]:
        inputs = (f"{call['name']}.{key}" for key in ("sample", "encoder_hidden_states", "added_time_ids"))
        sample, context, ids = (torch.from_numpy(case.given(key)) for key in inputs)
        case.check(f"{call['name']}.emb", network.embed(call["timestep"], ids))
        means = _watch_means(network)
        case.check(f"{call['name']}.out", network(sample, call["timestep"], context, ids))
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
            found[name] = (out[0] if isinstance(out, tuple) else out).mean((2, 3))

        block.register_forward_hook(note)
    return found


def point_map_vae(case: Case) -> None:
    vae = make("point_map_vae", case.spec["components"]["point_map_vae"], case.fill)
    maps = torch.from_numpy(case.given("encode.x"))
    mean = torch.from_numpy(case.given("encode.latent_params"))[:, :4]
    case.check("encode.h", vae.encoder(maps))
    case.check("encode.mode", vae.encode(maps, mean))
    for call in case.spec["calls"]:
        found = vae.decode(torch.from_numpy(case.given(call["z"])), call["num_frames"])
        for key, value in zip(("imap", "dmap", "vmask"), found):
            case.check(f"{call['name']}.{key}", value)


def clip(case: Case) -> None:
    tower = make("image_encoder", case.spec["components"]["image_encoder"], case.fill)
    stride = case.spec["stride"]
    for call in case.spec["calls"]:
        name = call["name"]
        resized = resize_for_clip(torch.from_numpy(case.given(f"{name}.video_u8")).float() / 255 * 2 - 1)
        pixels, zero_to_one = normalise(resized), (resized + 1) / 2
        case.check(f"{name}.resized", zero_to_one[:, :, ::stride, ::stride])
        case.check(f"{name}.resized_mean", zero_to_one.mean((2, 3)))
        case.check(f"{name}.resized_min_max", [zero_to_one.min(), zero_to_one.max()])
        case.check(f"{name}.pixel_values", pixels[:, :, ::stride, ::stride])
        case.check(f"{name}.image_embeds", tower(pixels))


def scheduler(case: Case) -> None:
    sample = torch.from_numpy(case.given("sample"))
    config = SchedulerConfig.from_dict(case.spec.get("components", {}).get("scheduler", {}).get("config", {}))
    for n in case.spec["steps"]:
        schedule = EulerSchedule.of(n, config)
        case.check(f"n{n}.sigmas", schedule.sigmas)
        case.check(f"n{n}.timesteps", [schedule.timestep(i) for i in range(n)])
        case.check(f"n{n}.init_noise_sigma", schedule.initial_sigma)
        x = sample * schedule.initial_sigma
        for i in range(n):
            v = torch.tanh((1 + 0.1 * i) * schedule.scale_input(x, i))  # what stood for a network
            x = schedule.step(v, x, i)
            case.check(f"n{n}.step{i}", x)
        case.check(f"n{n}.final", x)


def priors(case: Case) -> None:
    for call in case.spec["calls"]:
        name, chunk = call["name"], call["chunk_size"]
        points = torch.from_numpy(case.given(f"{name}.points")).float()
        mask = torch.from_numpy(case.given(f"{name}.mask")).bool()
        survey = PriorSurvey()
        for start in range(0, len(points), chunk):
            survey.add(points[start : start + chunk], mask[start : start + chunk])
        statistics = survey.finish()
        maps = prior_maps(points, mask, statistics)
        case.check(f"{name}.norm_factor", statistics.scale)
        case.check(f"{name}.disparity_range", [statistics.low, statistics.high])
        case.check(f"{name}.disparity", maps.disparity[:, 0])
        case.check(f"{name}.valid_mask", maps.mask[:, 0])
        case.check(f"{name}.log_depth", maps.log_depth[:, 0])
        case.check(f"{name}.xy", rays(points / statistics.scale, mask))
        case.check(f"{name}.intrinsic", maps.intrinsics)


def codec(case: Case) -> None:
    vae, point_maps = (make(part, case.spec["components"][part], case.fill) for part in ("vae", "point_map_vae"))
    disparity, mask, log_depth = (
        torch.from_numpy(case.given(f"encode.{key}"))[:, None] for key in ("disparity", "valid_mask", "log_depth")
    )
    case.check("encode.vae_mode", vae(disparity.expand(-1, 3, -1, -1))[0])
    networks = Networks(None, point_maps, vae, None, ModelConfig())  # type: ignore[arg-type]
    given = PriorMaps(disparity, mask, log_depth, torch.from_numpy(case.given("encode.intrinsic")))
    case.check("encode.latents", encode_prior(networks, given))
    for call in case.spec["calls"]:
        _decode(case, point_maps, call)


def _decode(case: Case, vae: Any, call: dict[str, Any]) -> None:
    """One combination of options: latents to raw maps, points and mask."""
    name, latents = call["name"], torch.from_numpy(case.given("decode.latents"))
    options, size = decoding_of(case, call)
    raw = [vae.decode(part, len(part)) for part in latents.split(options.decode_chunk_size)]
    for key, parts in zip(("imap", "dmap", "vmask"), zip(*raw)):
        case.check(f"{name}.{key}", torch.cat(parts))
    focal, depth, diagonal, masks = FocalSum(), [], [], []
    for part in raw:
        maps = restore(part, size, options)
        focal.add(maps)
        depth.append(maps.depth)
        masks.append(maps.mask)
        diagonal.append(maps.frame_diagonal() if options.force_projection else maps.diagonal)
    points = make_points(
        torch.cat(depth).numpy(), focal.diagonal() if options.fixed_focal else torch.cat(diagonal).numpy()
    )
    case.check(f"{name}.point_map", points)
    case.check_log_depth(f"{name}.point_map", points)
    case.check_mask(f"{name}.valid_mask", torch.cat(masks))


def pipeline(case: Case, **changes: Any) -> None:
    """The whole of one variant, with all that the case knows of the way to the result."""
    options, more = options_of(case, **changes)
    crafter = GeometryCrafter(make_networks(case.spec["components"], case.fill), options, **more)
    noise = torch.from_numpy(case.given("noise"))[0] if options.model_type == "diff" else None
    frames = case.given("video_u8").transpose(0, 2, 3, 1)
    with pytest.MonkeyPatch.context() as patch:
        seen = _Seen(patch, crafter)
        found = crafter.reconstruct(frames, case.given("prior_points"), case.given("prior_mask").astype(bool), noise)
        points, mask = found.collect()
    seen.check(case)
    check_result(case, points, mask)


class _Seen(Passed):
    """Notes what passes between the parts of a pipeline."""

    def __init__(self, patch: pytest.MonkeyPatch, crafter: GeometryCrafter) -> None:
        super().__init__(crafter)
        crafter.networks.unet.register_forward_pre_hook(lambda unet, given: self.ids.append(given[3]))
        self._watch_encoding(patch)
        self._watch_sampling(patch)
        decode = crafter.decode

        def note_decoded(latents: Any, *more: Any) -> Any:
            self.decoded.append(latents)
            return decode(latents, *more)

        patch.setattr(crafter, "decode", note_decoded)

    def _watch_encoding(self, patch: pytest.MonkeyPatch) -> None:
        encode, prior, embed = encoding.FrameEncoder.encode, encoding.encode_prior, encoding.FrameEncoder.embed

        def note_known(self_: Any, start: int, stop: int) -> Any:
            known = encode(self_, start, stop)
            self.known.append(known)
            return known

        def note_prior(networks: Any, maps: Any) -> Any:
            self.resized.append(maps)
            return prior(networks, maps)

        def note_frames(self_: Any, frames: Any) -> Any:
            self.frames.append(frames)
            return embed(self_, frames)

        patch.setattr(encoding.FrameEncoder, "encode", note_known)
        patch.setattr(encoding.FrameEncoder, "embed", note_frames)
        patch.setattr(encoding, "encode_prior", note_prior)

    def _watch_sampling(self, patch: pytest.MonkeyPatch) -> None:
        window, step = Regression.window, EulerSchedule.step

        def note_window(self_: Any, *given: Any) -> Any:
            self.windows.append(window(self_, *given))
            return self.windows[-1]

        def note_step(self_: Any, v: Any, x: Any, i: int) -> Any:
            after = step(self_, v, x, i)
            self.steps.append((v, x.clone(), after))
            return after

        patch.setattr(Regression, "window", note_window)
        patch.setattr(EulerSchedule, "step", note_step)


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes of the networks with those that a file lists."""

    def shapes(component: str, config: dict[str, Any]) -> dict[str, torch.Size]:
        network_class, config_class = NETWORKS[component]
        with torch.device("meta"):
            network = network_class(config_class.from_dict(config))
        return {key: value.shape for key, value in network.state_dict().items()}

    return compare_keys(path, shapes)


RUNNERS: dict[str, Callable[[Case], None]] = {
    "unet": unet,
    "point_map_vae": point_map_vae,
    "clip": clip,
    "scheduler": scheduler,
    "priors": priors,
    "codec": codec,
    "determ": pipeline,
    "diff": pipeline,
}
LISTS = {"keys_full.json": keys}  # files that are no cases
