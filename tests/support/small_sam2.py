"""SAM 2.1 with the smallest network there can be, weights from a seed, and a clip with bodies that move."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoflow.models.sam2 import Sam2
from geoflow.models.without_torchvision import without_torchvision

SIZE, WIDTH = 128, 128  # the working size; channels of the maps, which must be more than the 64 of the memory


def small_network(seed: int = 10, seen: float = 20.0) -> Any:
    """A network of half a million weights.

    Weights from a seed say that no object is ever there, and then all masks are equal: the bias of the object's score
    is set, so that it is seen. Nothing has trained the decoder to find an edge either: its last layers get larger.
    """
    with without_torchvision():
        from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Sam2VideoModel(Sam2VideoConfig(**_config()))
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if weight.ndim > 1 and "norm" not in name:
                    torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
                elif "embed" in name or "memory" in name or "pointer" in name:
                    torch.nn.init.normal_(weight, std=0.5)
            network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(seen)
    return network.eval().requires_grad_(False)


def _config() -> dict[str, Any]:
    maps = [[SIZE // stride] * 2 for stride in (4, 8, 16)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [SIZE, SIZE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3],  # a stage must not begin with one
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": maps,
        "fpn_hidden_size": WIDTH,
    }
    decoder = {"hidden_size": WIDTH, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": WIDTH}
    memory = {
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_attention_rope_feat_sizes": maps[-1],
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 64,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_intermediate_dim": 64,
    }
    prompts = {"hidden_size": WIDTH, "image_size": SIZE}
    return {
        "vision_config": vision,
        "prompt_encoder_config": prompts,
        "mask_decoder_config": decoder,
        "image_size": SIZE,
        **memory,
    }


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


def moving_discs(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Two discs that cross a textured ground, (T, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    ground = rng.integers(40, 120, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    clip = np.repeat(ground[None], frames, 0)
    for t in range(frames):
        for colour, cx, cy in (
            ((220, 40, 40), 14 + 30 * np.sin(t / 9) ** 2, 16),
            ((40, 60, 230), 46 - 25 * np.sin(t / 7) ** 2, 34),
        ):
            clip[t][np.hypot(x - cx, y - cy) < 8] = colour
    return clip
