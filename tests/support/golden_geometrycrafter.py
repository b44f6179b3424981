"""How golden data of GeometryCrafter is run: networks and options are those that each side-car states."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crafter_networks import NETWORKS, make, make_networks
from golden import Case, Comparison, Unusable

from geoflow.models.geometrycrafter import encoding
from geoflow.models.geometrycrafter.clip_frames import normalise, resize_for_clip
from geoflow.models.geometrycrafter.config import ModelConfig, SchedulerConfig
from geoflow.models.geometrycrafter.denoise import Regression
from geoflow.models.geometrycrafter.encoding import encode_prior
from geoflow.models.geometrycrafter.field_of_view import make_points
from geoflow.models.geometrycrafter.maps import FocalSum, restore
from geoflow.models.geometrycrafter.networks import Networks
from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.pipeline import GeometryCrafter
from geoflow.models.geometrycrafter.priors import PriorMaps, PriorSurvey, prior_maps, rays
from geoflow.models.geometrycrafter.scheduler import EulerSchedule

_FLIPS = 3  # pixels of a mask: logits of the tiny pipelines come as near to zero as reruns of the original move them


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
    given, name = dict(call["options"]), call["name"]
    latents = torch.from_numpy(case.given("decode.latents"))
    size = (given.pop("height", 8 * latents.shape[2]), given.pop("width", 8 * latents.shape[3]))
    given.pop("need_resize", None)
    options = Options(decode_chunk_size=given.pop("chunk_size", None) or len(latents), **given)
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
    case.check("depth", points[..., 2])
    case.check_log_depth("depth", points[..., 2])
    for name in filter(re.compile(r"point_map(_sub\d+)?").fullmatch, case.spec["outputs"]):
        stride = int(name.rpartition("_sub")[2]) if "_sub" in name else 1
        case.check(name, points[:, ::stride, ::stride])
        case.check_log_depth(name, points[:, ::stride, ::stride])
    case.check_mask("valid_mask", mask, flips=_FLIPS)


def options_of(case: Case, **changes: Any) -> tuple[Options, dict[str, Any]]:
    """Return the options of a pipeline's side-car, and what the pipeline takes besides.

    The original takes more than users are offered: `noise_aug_strength`, and no `decode_chunk_size` for a whole window.
    """
    given = {**case.spec["options"], **changes}
    more = {"noise_strength": given.pop("noise_aug_strength")} if "noise_aug_strength" in given else {}
    if unknown := sorted(given.keys() - {row.name for row in dataclasses.fields(Options)}):
        raise Unusable(f"{case.name}.json has options that no runner knows: {', '.join(unknown)}")
    whole_window = "decode_chunk_size" in given and given["decode_chunk_size"] is None
    if whole_window:
        del given["decode_chunk_size"]
    options = Options(**{"model_type": case.spec["kind"], **given})
    return (options.replace(decode_chunk_size=options.window_size) if whole_window else options), more


class _Seen:
    """Notes what passes between the parts of a pipeline."""

    def __init__(self, patch: pytest.MonkeyPatch, crafter: GeometryCrafter) -> None:
        self.known: list[tuple[int, Any]] = []
        self.decoded: list[Any] = []
        self.windows: list[Any] = []
        self.steps: list[tuple[Any, Any, Any]] = []  # v, latents before, latents after
        self.resized: list[Any] = []
        self.frames: Any = None
        self.ids: list[Any] = []
        crafter.networks.unet.register_forward_pre_hook(lambda unet, given: self.ids.append(given[3]))
        self._schedule = EulerSchedule.of(crafter.options.num_inference_steps, crafter.networks.config.scheduler)
        self._count = crafter.options.num_inference_steps
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
            self.known.append((start, known))
            return known

        def note_prior(networks: Any, maps: Any) -> Any:
            self.resized.append((maps, self.frames))
            return prior(networks, maps)

        def note_frames(self_: Any, frames: Any) -> Any:
            self.frames = frames
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

    def check(self, case: Case) -> None:
        """Compare with all that the case knows of the way to the result."""
        case.check("video_embeddings", torch.cat([known.embeddings for _, known in self.known]))
        case.check("video_latents", torch.cat([known.video for _, known in self.known]))
        case.check("prior_latents", torch.cat([known.prior for _, known in self.known]))
        case.check("decode_latents", torch.cat(self.decoded))
        case.check("added_time_ids", self.ids[0][:1])
        case.check("sigmas", self._schedule.sigmas)
        case.check("timesteps", [self._schedule.timestep(i) for i in range(self._schedule.steps)])
        case.check("init_noise_sigma", self._schedule.initial_sigma)
        for k, latents in enumerate(self.windows):
            case.check(f"window{k}.latents", latents[None])
        for n, (v, before, after) in enumerate(self.steps):
            k, i = divmod(n, self._count)
            if i == 0:
                case.check(f"window{k}.init", before[None])
            case.check(f"window{k}.v{i}", v[None])
            case.check(f"window{k}.step{i}", after[None])
        if case.has("resized.disparity"):
            self._check_resized(case)

    def _check_resized(self, case: Case) -> None:
        maps, frames = zip(*self.resized)
        for name, key in (("disparity", "disparity"), ("valid_mask", "mask"), ("log_depth", "log_depth")):
            case.check(f"resized.{name}", torch.cat([getattr(part, key)[:, 0] for part in maps]))
        case.check("resized.intrinsic", torch.cat([part.intrinsics for part in maps]))
        video = (torch.cat(frames) + 1) / 2
        case.check("resized.video_frame0", video[:1])
        case.check("resized.video_mean", video.mean((2, 3)))


def keys(path: Path) -> list[Comparison]:
    """Compare parameter names and shapes of the networks, in the sizes that a file states, with those it lists."""
    rows = []
    for component, wanted in json.loads(path.read_text()).items():
        network_class, config_class = NETWORKS["unet" if component.startswith("unet") else component]
        with torch.device("meta"):
            network = network_class(config_class.from_dict(wanted["config"]))
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        listed = wanted["parameters"]
        if component == "vae":  # its decoder is never used
            listed = {key: shape for key, shape in listed.items() if not key.startswith("decoder.")}
        wrong = sum(found.get(key) != listed.get(key) for key in found.keys() | listed.keys())
        count, expected = (sum(int(np.prod(shape)) for shape in rows_.values()) for rows_ in (found, listed))
        rows.append(Comparison(component, wrong, 0, "keys and shapes that differ"))
        rows.append(Comparison(component, abs(count - expected), 0, "parameters more or fewer"))
    return rows


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
