"""Full-size networks on a GPU: frames per second and peak memory of every stage of one window."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from geoflow import backends
from geoflow.bench.geometry.made_up import networks, video
from geoflow.bench.geometry.plain import PlainCrafter
from geoflow.engine import bare_packages
from geoflow.engine.environments import load_runtime_env
from geoflow.models.geometrycrafter import GeometryCrafter, ModelConfig, Networks, Options
from geoflow.models.geometrycrafter.config import LATENT_STRIDE
from geoflow.models.geometrycrafter.denoise import Conditioning
from geoflow.models.geometrycrafter.encoding import Encoder, survey
from geoflow.models.geometrycrafter.source import Source
from geoflow.segments import Segment, VideoInfo

# Sizes of the network that GeometryCrafter's authors take priors from (Ruicheng/moge-vitl).
_MOGE = {
    "encoder": "dinov2_vitl14",
    "remap_output": "exp",
    "intermediate_layers": 4,
    "dim_upsample": [256, 128, 64],
    "dim_times_res_block_hidden": 2,
    "num_res_blocks": 2,
    "num_tokens_range": [1200, 2500],
    "last_conv_channels": 32,
    "last_conv_size": 1,
}

Stage = Callable[[int], Any]  # takes the number of frames

_WARM_FRAMES = 8  # enough that kernels are loaded and chosen; shapes of the window itself are still new


def measure_on_gpu(job: dict[str, Any]) -> dict[str, Any]:
    """Stages of one window, each on made-up input: encode, denoise, decode; then all, from frames to results."""
    device, options, count = torch.device(job["device"]), Options(**job["options"]), job["frames"]
    if job["way"] == "prior":
        model = published_moge().to(device).eval()
        modules: list[torch.nn.Module] = [model]
        stages = _prior(model, options)
    else:
        nets = networks(ModelConfig.published(options.model_type), job["device"])
        modules = list(nets.modules().values())
        stages = (_streaming if job["way"] == "streaming" else _plain)(nets, options, device)
    weights = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
    with torch.inference_mode():
        for work in stages.values():
            work(min(_WARM_FRAMES, count))
        measured = {name: _timed(work, count) for name, work in stages.items()}
    return {"device": torch.cuda.get_device_name(device), "weights_mb": weights / 1e6, "stages": measured}


def published_moge() -> Any:
    """MoGe v1 in its published size, with whatever weights torch starts from. Installs the package if need be."""
    archive = bare_packages.install(bare_packages.split(load_runtime_env("moge"))[1], "moge")
    bare_packages.make_importable(archive.read_bytes())
    from moge.model.v1 import MoGeModel

    return MoGeModel(**_MOGE)


def _prior(model: Any, options: Options) -> dict[str, Stage]:
    """The backend's own way with frames, around this model."""
    stage: Any = backends.load("moge")()
    stage.use(model, str(model.device))

    def prior(count: int) -> None:
        frames, _, _ = video(count, options.height, options.width)
        info = VideoInfo("made-up", "", "", count, 30.0, *frames.shape[1:3], *frames.shape[1:3])
        stage.process(Segment(info, 0, 0, count), {"frames.rgb": frames[:count]})

    return {"prior": prior}


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
