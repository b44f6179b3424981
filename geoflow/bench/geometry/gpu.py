"""Full-size networks on a GPU: frames per second and peak memory of every stage of one window."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geoflow.bench.geometry.made_up import networks, video
from geoflow.bench.geometry.plain import PlainCrafter
from geoflow.models.geometrycrafter import GeometryCrafter, ModelConfig, Networks, Options
from geoflow.models.geometrycrafter.config import LATENT_STRIDE
from geoflow.models.geometrycrafter.denoise import Conditioning
from geoflow.models.geometrycrafter.encoding import Encoder, survey
from geoflow.models.geometrycrafter.source import Source

Stage = Callable[[int], Any]  # takes the number of frames

_WARM_FRAMES = 8  # enough that kernels are loaded and chosen; shapes of the window itself are still new


def measure_on_gpu(job: dict[str, Any]) -> dict[str, Any]:
    """Stages of one window, each on made-up input: encode, denoise, decode; then all, from frames to results."""
    device, options, count = torch.device(job["device"]), Options(**job["options"]), job["frames"]
    nets = networks(ModelConfig.published(options.model_type), job["device"])
    stages = (_streaming if job["way"] == "streaming" else _plain)(nets, options, device)
    weights = sum(p.numel() * p.element_size() for network in nets.modules().values() for p in network.parameters())
    with torch.inference_mode():
        for work in stages.values():
            work(min(_WARM_FRAMES, count))
        measured = {name: _timed(work, count) for name, work in stages.items()}
    return {"device": torch.cuda.get_device_name(device), "weights_mb": weights / 1e6, "stages": measured}


def _streaming(nets: Networks, options: Options, device: torch.device) -> dict[str, Stage]:
    crafter = GeometryCrafter(nets, options, device)

    def encode(count: int) -> None:
        source = Source(*video(count, options.height, options.width), device)
        Encoder(nets, source, survey(source), options).encode(0, count)

    def denoise(count: int) -> None:
        crafter.sampler(count).window(0, _known(nets, options, device, count), None)

    def decode(count: int) -> None:
        source = Source(*video(count, options.height, options.width), device)
        for group in _latents(options, device, count).split(options.decode_chunk_size):
            maps = crafter.decode(group, source)
            for part in (maps.depth, maps.mask):
                part.cpu()

    def everything(count: int) -> None:
        for _ in crafter.reconstruct(*video(count, options.height, options.width)):
            pass

    return {"encode": encode, "denoise": denoise, "decode": decode, "all": everything}


def _plain(nets: Networks, options: Options, device: torch.device) -> dict[str, Stage]:
    crafter = PlainCrafter(nets, options, str(device), torch.float16)

    def decode(count: int) -> None:
        for part in crafter.decode(_latents(options, device, count), (options.height, options.width)):
            part.cpu()

    def everything(count: int) -> None:
        for part in crafter.reconstruct(*video(count, options.height, options.width)):
            part.cpu()

    return {
        "encode": lambda count: crafter.encode(*video(count, options.height, options.width)),
        "denoise": lambda count: crafter.denoise(_known(nets, options, device, count)),
        "decode": decode,
        "all": everything,
    }


def _latents(options: Options, device: torch.device, count: int) -> Tensor:
    return torch.randn(count, 4, options.height // LATENT_STRIDE, options.width // LATENT_STRIDE, device=device)


def _known(nets: Networks, options: Options, device: torch.device, count: int) -> Conditioning:
    embeddings = torch.randn(count, nets.config.image_encoder.projection_dim, device=device)
    return Conditioning(embeddings, _latents(options, device, count), _latents(options, device, count))


def _timed(work: Stage, count: int) -> dict[str, float | str]:
    """Seconds, frames per second and peak memory, weights included; or that it does not fit."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    try:
        work(count)
    except torch.cuda.OutOfMemoryError as error:
        return {"out_of_memory": str(error).splitlines()[0]}
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated() / 1e6
    return {"seconds": seconds, "frames_per_s": count / seconds, "peak_mb": peak}
