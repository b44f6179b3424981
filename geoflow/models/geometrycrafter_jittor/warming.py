"""Compilation of the kernels that a window needs, before there is a window: once per machine and environment.

Jittor's kernels are made for operations, dtypes and numbers of axes, and serve most sizes. So the smallest networks of
the published layout, on made-up frames, need nearly all that the published ones need.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np

from geoflow.models.diffusion.config import CLIPVisionConfig, ImageVAEConfig
from geoflow.models.geometrycrafter.config import ModelConfig, PointMapVAEConfig, UNetConfig
from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter_jittor.autoencoders import ImageVAE, PointMapVAE
from geoflow.models.geometrycrafter_jittor.compiling import compiled_files
from geoflow.models.geometrycrafter_jittor.image_tower import CLIPVision
from geoflow.models.geometrycrafter_jittor.networks import Networks
from geoflow.models.geometrycrafter_jittor.pipeline import GeometryCrafter
from geoflow.models.geometrycrafter_jittor.unet import UNet

_SIDE = 128  # px; at the deepest level a latent has two rows and columns, as an axis of length 1 has other kernels
_FRAMES = 6
_WINDOW, _OVERLAP, _CHUNK = 4, 2, 2
_REPORTS_EVERY_S = 15.0


def compile_kernels(home: Path, model_type: str) -> int:
    """Run the smallest networks over two windows, and return how many kernels that compiled; report on stderr."""
    before, began = compiled_files(home, "*.so"), time.monotonic()
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(_REPORTS_EVERY_S):
            made, seconds = compiled_files(home, "*.so") - before, time.monotonic() - began
            print(f"Jittor compiles kernels: {made} so far, {seconds:.0f} s", file=sys.stderr, flush=True)

    reporting = threading.Thread(target=report, daemon=True)
    reporting.start()
    try:
        rows = np.linspace(1.0, 2.0, _SIDE, dtype=np.float32)[:, None]
        depth = np.broadcast_to(rows, (_FRAMES, _SIDE, _SIDE))
        across = np.linspace(-0.5, 0.5, _SIDE, dtype=np.float32)
        points = np.stack([across * depth, (rows - 1.5) * depth, depth], axis=-1)
        frames = np.broadcast_to((depth * 100).astype(np.uint8)[..., None], points.shape)
        options = Options(
            model_type="determ" if model_type == "determ" else "diff",
            height=_SIDE,
            width=_SIDE,
            window_size=_WINDOW,
            overlap=_OVERLAP,
            decode_chunk_size=_CHUNK,
            num_inference_steps=1,
        )
        GeometryCrafter(smallest(model_type), options).reconstruct(frames, points, np.ones(depth.shape, bool)).collect()
    finally:
        ended.set()
        reporting.join()
    made = compiled_files(home, "*.so") - before
    print(f"Jittor compiled {made} kernels, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return made


def smallest(model_type: str) -> Networks:
    """Return networks of the published layout with the smallest widths, and Jittor's initial weights."""
    config = ModelConfig(
        UNetConfig(
            in_channels=8 if model_type == "determ" else 12,
            block_out_channels=(32, 64, 64, 64),
            num_attention_heads=(2, 2, 2, 2),
            cross_attention_dim=32,
            addition_time_embed_dim=16,
            projection_class_embeddings_input_dim=48,
        ),
        PointMapVAEConfig(enc_block_out_channels=(32, 64, 64, 64), dec_block_out_channels=(64, 64, 128, 128)),
        ImageVAEConfig(block_out_channels=(32, 64, 64, 64)),
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=56,
            projection_dim=32,
        ),
    )
    return Networks(
        UNet(config.unet),
        PointMapVAE(config.point_map_vae),
        ImageVAE(config.vae),
        CLIPVision(config.image_encoder),
        config,
    )
