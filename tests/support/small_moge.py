"""`python small_moge.py FILE VERSION`: the smallest MoGe there can be, with weights from a seed, as a checkpoint.

In a process of its own, which has the package: `make` starts one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def make(path: Path, version: str = "v1") -> None:
    """Save a checkpoint, by the very packages that the environment of the backend has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"PYTHONPATH": str(package())}
    subprocess.run([sys.executable, __file__, str(path), version], env=env, check=True, capture_output=True)


def package() -> Path:
    """What to have on the path for `import moge`."""
    from geoflow.environments import bare_packages
    from geoflow.environments.environment import load_runtime_env

    _, packages = bare_packages.split(load_runtime_env("moge"))
    return bare_packages.unpack(bare_packages.install(packages, "moge").read_bytes())


def _main(path: Path, version: str) -> None:
    import torch
    from moge.model import import_model_class_by_version

    torch.manual_seed(3)
    config = _CONFIGS[version]
    model = import_model_class_by_version(version)(**config)
    with torch.no_grad():  # so that it takes most pixels for valid
        last = model.head.output_block[1][-1] if version == "v1" else model.mask_head.output_blocks[-1]
        last.bias.fill_(3.0)
    torch.save({"model_config": config, "model": model.state_dict()}, path)


_NECK = {"dim_res_blocks": [32] * 5, "resamplers": ["nearest"] * 4, "num_res_blocks": 0}
_CONFIGS = {
    "v1": {
        "encoder": "dinov2_vits14",
        "intermediate_layers": 1,
        "dim_proj": 32,
        "dim_upsample": [32, 32, 32],
        "num_tokens_range": [20, 40],
        "remap_output": "exp",
    },
    "v2": {
        "encoder": {"backbone": "dinov2_vits14", "intermediate_layers": 1, "dim_out": 32},
        "neck": {"dim_in": [34, 2, 2, 2, 2], "dim_out": [None] * 5, **_NECK},
        "points_head": {"dim_in": [None] * 5, "dim_out": [None] * 4 + [3], **_NECK},
        "mask_head": {"dim_in": [None] * 5, "dim_out": [None] * 4 + [1], **_NECK},
        "scale_head": {"dims": [384, 8, 1]},
        "num_tokens_range": [20, 40],
        "remap_output": "exp",
    },
}

if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
