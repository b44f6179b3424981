"""Published weights from a local folder in the hub's layout; nothing is downloaded here, and no code of it is run.

The folder is sudo-ai/zero123plus-v1.2. InstantMesh's UNet, which makes white backgrounds, is one file beside it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from geoflow.errors import ConfigError
from geoflow.models.diffusion.clip import CLIPVision
from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.diffusion.image_vae import ImageAutoencoder
from geoflow.models.diffusion.published import load_weights, read_config
from geoflow.models.zero123plus.config import ExtractorConfig, SchedulerConfig, TextConfig, UNetConfig
from geoflow.models.zero123plus.text import CLIPText, empty_text
from geoflow.models.zero123plus.unet import UNet
from geoflow.models.zero123plus.views import Extractors, Prompt, Views

_PREPROCESSOR = "preprocessor_config.json"
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # in old autoencoders


def from_pretrained(
    folder: Path | str,
    unet: Path | str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> Views:
    """Return Zero123++ from its folder; `unet` is a file of weights, or a folder, in place of the UNet's own.

    The text tower is read for the embedding of the empty text, and then let go. Raises ConfigError that names the file
    if one is missing, cannot be read, or does not fit.
    """
    folder = Path(folder)
    prompt = Prompt(_empty_prompt(folder), _ramp(folder / "model_index.json"))
    sizes = read_config(folder / "unet", UNetConfig)
    vae, vision = read_config(folder / "vae", ImageVAEConfig), read_config(folder / "vision_encoder", CLIPVisionConfig)
    _check_widths(folder, prompt, sizes, vision)
    with torch.device("meta"):
        networks = UNet(sizes), ImageAutoencoder(vae), CLIPVision(vision)
    return Views(
        load_weights(networks[0], Path(unet or folder / "unet"), sizes=str(folder / "unet/config.json")),
        load_weights(networks[1], folder / "vae", renamed=_attention_name),
        load_weights(networks[2], folder / "vision_encoder", unused=("vision_model.embeddings.position_ids",)),
        prompt,
        read_config(folder / "scheduler", SchedulerConfig, "scheduler_config.json"),
        Extractors(
            read_config(folder / "feature_extractor_vae", ExtractorConfig, _PREPROCESSOR),
            read_config(folder / "feature_extractor_clip", ExtractorConfig, _PREPROCESSOR),
        ),
        device,
        dtype,
    )


def _empty_prompt(folder: Path) -> Tensor:
    """The embedding (M, D) float32 of the empty text."""
    config = read_config(folder / "text_encoder", TextConfig)
    with torch.device("meta"):
        tower = CLIPText(config)
    load_weights(tower, folder / "text_encoder", unused=("text_model.embeddings.position_ids",), renamed=_text_name)
    with torch.inference_mode():
        return tower.float().eval()(empty_text(folder / "tokenizer", config.max_position_embeddings))[0]


def _ramp(path: Path) -> Tensor:
    try:
        ramp = torch.tensor(json.loads(path.read_text())["ramping_coefficients"], dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} should state ramping_coefficients ({error}); fetch it again") from error
    if ramp.dim() != 1:
        raise ConfigError(f"{path}: ramping_coefficients should be a list of numbers")
    return ramp


def _check_widths(folder: Path, prompt: Prompt, unet: UNetConfig, vision: CLIPVisionConfig) -> None:
    tokens, width = prompt.text.shape
    if len(prompt.ramp) != tokens:
        raise ConfigError(f"{folder}: {len(prompt.ramp)} ramping_coefficients for a text of {tokens} tokens")
    if not width == unet.cross_attention_dim == vision.projection_dim:
        raise ConfigError(
            f"{folder}: text ({width}), picture ({vision.projection_dim}) and cross attention "
            f"({unet.cross_attention_dim}) should have one width; its parts are of different models"
        )


def _attention_name(key: str) -> str:
    """Return a key of an autoencoder by the name that it has in newer files."""
    stem, dot, kind = key.rpartition(".")
    path, _, last = stem.rpartition(".")
    return f"{path}.{_OLD_ATTENTION[last]}{dot}{kind}" if "attentions" in path and last in _OLD_ATTENTION else key


def _text_name(key: str) -> str:
    """Return a key of a text tower by its published name, which files of newer programs shorten."""
    return key if key.startswith("text_model.") else f"text_model.{key}"
