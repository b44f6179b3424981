"""The configuration: the overrides, by name, that are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

KNOWN = (
    *("pipeline.output.path", "pipeline.output.save_viz", "pipeline.output.save_artifacts", "pipeline.init.instance"),
    *("pipeline.post.depth_align_model", "pipeline.slam.keyframe_depth", "pipeline.slam.optimize_intrinsics"),
)


@dataclass
class ViPEConfig:
    """`pipeline` holds what was set."""

    pipeline: dict[str, str] = field(default_factory=dict)


def parse_typed_config(config_name: str, hydra_args: Sequence[str] = ()) -> ViPEConfig:
    """Read overrides such as pipeline.slam.buffer=1024, behind the choice of a pipeline. Raises for unknown ones."""
    assert config_name == "default" and hydra_args[0] == "pipeline=default"
    pairs = dict(row.split("=", 1) for row in hydra_args[1:])
    if unknown := set(pairs) - set(KNOWN):
        raise ValueError(f"no such options: {unknown}")
    return ViPEConfig({name.removeprefix("pipeline."): value.strip("'") for name, value in pairs.items()})
