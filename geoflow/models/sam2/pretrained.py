"""The published weights, from a folder of this machine: nothing is fetched, and no code of the hub is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from geoflow.errors import ConfigError
from geoflow.models.sam2.video_pass import MOST_PROMPTS, Sam2
from geoflow.models.without_torchvision import unlike_published, without_torchvision

_TYPE = "sam2_video"
_STRIDES = (4, 8, 16)  # of the feature maps
_REMEDY = "give a folder laid out as facebook/sam2.1-hiera-large, with config.json and model.safetensors"


def from_pretrained(
    folder: Path | str,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    most_size: int | None = None,
    most_prompts: int = MOST_PROMPTS,
) -> Sam2:
    """Return SAM 2.1 with the weights of a folder, config.json and model.safetensors.

    `dtype` is that of matrix products and convolutions (torch.bfloat16 in the published program); None: float32.
    `most_size` bounds the side to which frames are resized, which is 1024 for the published weights: no weight changes
    its shape, and all maps are smaller. `most_prompts` bounds the frames with prompts that an object remembers.

    Raises ConfigError that names the folder if it does not hold exactly the weights of such a network.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise ConfigError(f"{folder} holds no {name}; {_REMEDY}")
    network = _read_network(folder, most_size).to(device).eval().requires_grad_(False)
    return Sam2(network, dtype, most_prompts)


def _read_network(folder: Path, most_size: int | None) -> Any:
    with without_torchvision():
        from transformers.models.sam2_video import modeling_sam2_video
        from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
    published: Any = modeling_sam2_video.Sam2VideoModel  # whose types leave out what `output_loading_info` adds
    try:
        config: Any = Sam2VideoConfig.from_pretrained(folder, local_files_only=True)
        if most_size is not None and most_size < config.image_size:
            resize(config, most_size)
        network, found = published.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except ImportError:
        raise
    except Exception as error:  # of transformers, safetensors or the hub's validation, by the file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{folder} cannot be read as SAM 2.1 ({reason}); {_REMEDY}") from error
    if config.model_type != _TYPE:
        raise ConfigError(f"{folder} holds a {config.model_type}, expected {_TYPE}; {_REMEDY}")
    if wrong := unlike_published(found):
        raise ConfigError(f"{folder} holds other weights than SAM 2.1 has ({wrong}); {_REMEDY}")
    return network


def resize(config: Any, size: int) -> None:
    """Make a configuration work on frames of `size` x `size` pixels. Raises ConfigError if its maps would not fit."""
    if size < 4 * _STRIDES[-1] or size % (2 * _STRIDES[-1]):
        raise ConfigError(f"the working size should be a multiple of {2 * _STRIDES[-1]} and at least 64, found {size}")
    config.image_size = config.prompt_encoder_config.image_size = size
    config.vision_config.backbone_config.image_size = [size, size]
    config.vision_config.backbone_feature_sizes = [[size // stride] * 2 for stride in _STRIDES]
    config.memory_attention_rope_feat_sizes = [size // _STRIDES[-1]] * 2
