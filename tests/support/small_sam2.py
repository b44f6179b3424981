"""SAM 2.1 and GroundingDINO with the smallest networks there can be, and their files as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from geoflow.bench.sam2.made_up_sam2 import small_network
from geoflow.models.sam2 import Sam2
from geoflow.models.without_torchvision import without_torchvision

SIZE = 128  # the working size


def small_sam2(seed: int = 10, seen: float = 20.0, **options: Any) -> Sam2:
    return Sam2(small_network(seed, seen), **options)


def publish(folder: Path, seed: int = 10) -> Path:
    """Save a network in the layout of the hub; return the folder."""
    small_network(seed).save_pretrained(folder)
    return folder


_WORDS = {101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?", 0: "[PAD]", 100: "[UNK]", 103: "[MASK]"}  # as BERT's
_NAMES = ("red", "blue", "disc", "cup")


def publish_detector(folder: Path, seed: int = 0) -> Path:
    """Save a GroundingDINO with as few weights, and its words, in the layout of the hub; return the folder."""
    with without_torchvision():
        from transformers.models.grounding_dino.configuration_grounding_dino import GroundingDinoConfig
        from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoForObjectDetection
    swin = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4}
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    half = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in _LAYERS.items()}
    config = GroundingDinoConfig(
        backbone_config={"model_type": "swin", **swin, "out_indices": [2, 3, 4]},
        text_config={"model_type": "bert", "vocab_size": 1040, **small},
        d_model=32,
        num_queries=20,
        **half,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        GroundingDinoForObjectDetection(config).save_pretrained(folder)
    words = [_WORDS.get(k, f"[unused{k}]") for k in range(1030)] + list(_NAMES)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


_LAYERS = {"layers": 2, "ffn_dim": 32, "attention_heads": 2, "n_points": 2}
