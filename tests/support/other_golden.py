"""A folder of golden data of GeometryCrafter that is not the tests' own: other sizes, options and weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crafter_networks import make_networks
from small_crafter import make_video, small_config

from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.pipeline import GeometryCrafter

# Other weights than those of the tests' reference data, which nobody has to have.
FILL = """
import hashlib
import numpy as np

def fill(name, shape):
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)
"""
OPTIONS = {"height": 64, "width": 128, "num_inference_steps": 2, "guidance_scale": 1.5, "window_size": 4, "overlap": 1}


def make(home: Path, atol: float = 1e-5) -> Path:
    """One pipeline at a size, with options and weights of its own; the results are this implementation's in PyTorch.

    `atol` is how far any result may be off.
    """
    (home / "fill.py").write_text(FILL)
    made = home / "geometrycrafter"
    made.mkdir()
    config = small_config("diff")
    parts = ("unet", "point_map_vae", "vae", "image_encoder", "scheduler")
    components = {
        part: {"config": dataclasses.asdict(getattr(config, part)), "weight_prefix": f"mine.{part}."} for part in parts
    }
    scope: dict[str, Any] = {}
    exec(FILL, scope)
    frames, points, mask = make_video(6, 60, 90, seed=11)
    video = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
    frames = video.transpose(0, 2, 3, 1)  # in the order in memory that they have out of a file: sums hang on it
    noise = np.random.default_rng(5).standard_normal((1, 4, 4, 8, 16)).astype(np.float32)
    torch.set_num_threads(1)  # as the runner has it: then sums are made in the same order
    with torch.inference_mode():
        crafter = GeometryCrafter(
            make_networks(components, scope["fill"]),
            Options("diff", decode_chunk_size=4, **OPTIONS),
            noise_strength=0.3,
        )
        found, valid = crafter.reconstruct(frames, points, mask, torch.from_numpy(noise)[0]).collect()
    arrays = {
        "in.video_u8": video,
        "in.prior_points": points,
        "in.prior_mask": mask.astype(np.uint8),
        "in.noise": noise,
        "out.depth": found[..., 2],
        "out.point_map_sub3": found[:, ::3, ::3],
        "out.valid_mask": valid.astype(np.uint8),
    }
    np.savez(made / "other.npz", **arrays)
    side = {
        "kind": "diff",
        "options": {**OPTIONS, "decode_chunk_size": None, "noise_aug_strength": 0.3},
        "components": components,
        "outputs": {
            "depth": {"fair_atol": atol, "fair_atol_log_z": atol},
            "point_map_sub3": {"fair_atol": atol},
            "valid_mask": {},
        },
    }
    (made / "other.json").write_text(json.dumps(side))
    return made
