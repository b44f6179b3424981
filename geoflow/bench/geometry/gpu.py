"""Full-size networks on a GPU: frames per second and peak memory of every stage of one window.

Everything here also runs on a CPU with small networks, so that a GPU measurement can be rehearsed without a GPU.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from geoflow.backends import loading
from geoflow.bench.geometry.made_up import middle_config, networks, video
from geoflow.bench.geometry.plain_pipeline import PlainCrafter
from geoflow.environments import bare_packages
from geoflow.environments.environment import load_runtime_env
from geoflow.models.diffusion.config import LATENT_STRIDE
from geoflow.models.geometrycrafter import GeometryCrafter, ModelConfig, Networks, Options
from geoflow.models.geometrycrafter.denoise import Conditioning
from geoflow.models.geometrycrafter.encoding import FrameEncoder, survey
from geoflow.models.geometrycrafter.source import Source
from geoflow.segments import Segment, VideoInfo

# Sizes of the network from which GeometryCrafter's authors take priors (Ruicheng/moge-vitl).
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
_SMALL_MOGE = {"encoder": "dinov2_vits14", "num_tokens_range": [20, 40], "intermediate_layers": 1, "num_res_blocks": 1}

Stage = Callable[[int], Any]  # takes the number of frames

_WARM_FRAMES = 8  # enough to load and choose kernels; the shapes of the window itself are still new


def measure_on_gpu(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row per stage of one window, each on made-up input; `all`, from frames to results, comes first.

    `job` has device, way (streaming, plain, prior or ladder), frames, options, and small (networks for a rehearsal on a
    CPU). The first row holds the device's name and the size of the weights.
    """
    torch.backends.cudnn.deterministic = True  # as in the backend
    device, options, count = torch.device(job["device"]), Options(**job["options"]), job["frames"]
    small = job.get("small", False)
    if job["way"] == "prior":
        model = made_up_moge(small).to(device).eval()
        modules: list[torch.nn.Module] = [model]
        stages = _prior(model, options)
    else:
        config = middle_config(options.model_type) if small else ModelConfig.published(options.model_type)
        nets = networks(config, job["device"])
        modules = list(nets.modules().values())
        stages = _WAYS[job["way"]](nets, options, device)
    weights = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
    yield {"device": device_name(device), "torch": torch.__version__, "weights_mb": weights / 1e6}
    with torch.inference_mode():
        for name, work in stages.items():
            work(min(_WARM_FRAMES, count))
            yield {"stage": name, **timed(work, count, device)}


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def made_up_moge(small: bool = False) -> Any:
    """Make MoGe v1 in its published size, with random weights. Installs the package if necessary."""
    try:
        from moge.model.v1 import MoGeModel
    except ImportError:
        archive = bare_packages.install(bare_packages.split(load_runtime_env("moge"))[1], "moge")
        bare_packages.make_importable(archive.read_bytes())
        from moge.model.v1 import MoGeModel

    return MoGeModel(**{**_MOGE, **(_SMALL_MOGE if small else {})})


def _prior(model: Any, options: Options) -> dict[str, Stage]:
    """Return the backend's own way of handling frames, with this model."""
    stage: Any = loading.load("moge")()
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
        FrameEncoder(nets, source, survey(source), options).encode(0, count)

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

    return {"all": everything, "encode": encode, "denoise": denoise, "decode": decode}


def _plain(nets: Networks, options: Options, device: torch.device) -> dict[str, Stage]:
    crafter = PlainCrafter(nets, options, str(device), torch.float16)

    def decode(count: int) -> None:
        for part in crafter.decode(_latents(options, device, count), (options.height, options.width)):
            part.cpu()

    def everything(count: int) -> None:
        for part in crafter.reconstruct(*video(count, options.height, options.width)):
            part.cpu()

    return {
        "all": everything,
        "encode": lambda count: crafter.encode(*video(count, options.height, options.width)),
        "denoise": lambda count: crafter.denoise(_known(nets, options, device, count)),
        "decode": decode,
    }


def _ladder(nets: Networks, options: Options, device: torch.device) -> dict[str, Stage]:
    """Return the whole pipeline at full settings and at every step of the memory ladder."""
    stages: dict[str, Stage] = {}
    changes: dict[str, Any] = {}
    for level, rung in enumerate(({}, *options.cheaper())):
        changes |= rung
        stages[f"level {level}"] = functools.partial(_at_level, nets, options.replace(**changes), device)
    return stages


def _at_level(nets: Networks, options: Options, device: torch.device, count: int) -> None:
    for _ in GeometryCrafter(nets, options, device).reconstruct(*video(count, options.height, options.width)):
        pass


_WAYS: dict[str, Callable[[Networks, Options, torch.device], dict[str, Stage]]] = {
    "streaming": _streaming,
    "plain": _plain,
    "ladder": _ladder,
}


def _latents(options: Options, device: torch.device, count: int) -> Tensor:
    return torch.randn(count, 4, options.height // LATENT_STRIDE, options.width // LATENT_STRIDE, device=device)


def _known(nets: Networks, options: Options, device: torch.device, count: int) -> Conditioning:
    embeddings = torch.randn(count, nets.config.image_encoder.projection_dim, device=device)
    return Conditioning(embeddings, _latents(options, device, count), _latents(options, device, count))


def timed(work: Stage, count: int, device: torch.device) -> dict[str, float | str]:
    """Return seconds, frames per second and, on a GPU, peak memory with the weights; or that it does not fit."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    try:
        work(count)
    except torch.cuda.OutOfMemoryError as error:
        return {"out_of_memory": str(error).splitlines()[0]}
    if on_gpu:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    found: dict[str, float | str] = {"seconds": seconds, "frames_per_s": count / seconds}
    if on_gpu:
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
        found["reserved_mb"] = torch.cuda.max_memory_reserved() / 1e6
    return found
