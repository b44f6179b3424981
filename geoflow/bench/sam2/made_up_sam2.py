"""SAM 2.1 with made-up weights: in the published sizes, and as small as it can be; and clips with bodies that move."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from geoflow.models.without_torchvision import without_torchvision

# Blocks, channels and heads of the four stages of Hiera, windows, and the blocks that see the whole frame.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim_per_stage": [96, 192, 384, 768],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 2, 7, 2],
        "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [5, 7, 9],
    },
    "large": {
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "blocks_per_stage": [2, 6, 36, 4],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    },
}
_SMALL = {
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "blocks_per_stage": [1, 1, 2, 1],
    "window_size_per_stage": [8, 4, 4, 2],
    "global_attention_blocks": [3],  # a stage must not begin with one
}
_WIDTH = 128  # channels of the small network's maps, which must be more than the 64 of its memory
_STRIDES = (4, 8, 16)


def published_network(model: str = "large", size: int = 1024) -> Any:
    """Return a network of a published size (tiny or large) that works on frames of `size` x `size` pixels."""
    return _made({"vision_config": _vision(_PUBLISHED[model], size, 256), **_of_size(size, 256)})


def small_network(seed: int = 10, seen: float = 20.0, size: int = 128) -> Any:
    """Return a network of a million weights.

    Weights from a seed say that no object is ever there, and then all masks are equal: `seen` is the bias of the
    object's score. Of the seeds, 10 gives masks that are neither empty nor full, and differ in each frame.
    """
    width = _WIDTH
    decoder = {"hidden_size": width, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": width}
    memory = {
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 64,
        "memory_encoder_hidden_size": width,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_num_layers": 1,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": 64,
    }
    config = {"vision_config": _vision(_SMALL, size, width), "mask_decoder_config": decoder, **memory}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _made({**config, **_of_size(size, width)})
        for name, weight in network.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                torch.nn.init.normal_(weight, std=1.5 / weight[0].numel() ** 0.5)
            elif "embed" in name or "memory" in name or "pointer" in name:
                torch.nn.init.normal_(weight, std=0.5)
        network.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(seen)
    return network


def moving_discs(frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Two discs that cross a textured ground, (T, H, W, 3) uint8; the first begins around (14, 16), the second around
    (46, 34) in a frame of 48x64 pixels."""
    scale = height / 48
    ground = np.random.default_rng(0).integers(40, 120, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width] / scale
    clip = np.repeat(ground[None], frames, 0)
    for t in range(frames):
        for colour, cx, cy in (
            ((220, 40, 40), 14 + 30 * np.sin(t / 9) ** 2, 16),
            ((40, 60, 230), 46 - 25 * np.sin(t / 7) ** 2, 34),
        ):
            clip[t][np.hypot(x - cx, y - cy) < 8] = colour
    return clip


def _made(config: dict[str, Any]) -> Any:
    with without_torchvision():
        from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel
    return Sam2VideoModel(Sam2VideoConfig(**config)).eval().requires_grad_(False)


def _vision(stages: dict[str, Any], size: int, width: int) -> dict[str, Any]:
    channels = stages["embed_dim_per_stage"]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": channels[0],
        "num_attention_heads": stages["num_attention_heads_per_stage"][0],
        "image_size": [size, size],
        **stages,
    }
    return {
        "backbone_config": backbone,
        "backbone_channel_list": channels[::-1],
        "backbone_feature_sizes": [[size // stride] * 2 for stride in _STRIDES],
        "fpn_hidden_size": width,
    }


def _of_size(size: int, width: int) -> dict[str, Any]:
    return {
        "prompt_encoder_config": {"hidden_size": width, "image_size": size},
        "image_size": size,
        "memory_attention_rope_feat_sizes": [size // _STRIDES[-1]] * 2,
    }
