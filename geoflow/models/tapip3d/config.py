"""Sizes of a TAPIP3D network, read from the configuration that its checkpoint holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from geoflow.errors import ConfigError

# What the published networks have in common. A checkpoint that says otherwise is of another network.
_FIXED = {
    "name": "point_tracker_3d",
    "norm_mode": "isotropic",
    "use_local_pos_input": False,
    "find_knn_in_normalized_space": False,
    "use_uv_input": True,
    "center_rgb": True,
}
_FIXED_PARTS = {
    "encoder": {"name": "cotracker_cnn", "stride": 4},
    "corr_feature": {"name": "knn_corr_4d", "better_depth_downsample": True, "share_weights_across_levels": False},
    "point_updater": {"name": "efficient_updateformer", "add_space_attn": True, "linear_layer_for_vis_conf": True},
}


@dataclass(frozen=True)
class CorrelationConfig:
    """Sizes of the feature that compares a point with its neighbours."""

    k_neighbors: int = 32
    posenc_mlp_layers: int = 3
    posenc_mlp_dim: int = 128
    transformer_dim: int = 128
    transformer_num_heads: int = 1
    transformer_head_dim: int = 128
    transformer_mlp_ratio: float = 1.0


@dataclass(frozen=True)
class UpdaterConfig:
    """Sizes of the transformer that moves the points. Its heads are 48 wide."""

    space_depth: int = 3
    time_depth: int = 3
    hidden_size: int = 384
    num_heads: int = 8
    mlp_ratio: float = 4.0
    num_virtual_tracks: int = 64


@dataclass(frozen=True)
class TrackerConfig:
    """Sizes of the whole network; the defaults are those of the published one."""

    seq_len: int = 16
    corr_levels: int = 4
    feature_dim: int = 128
    corr_feature: CorrelationConfig = field(default_factory=CorrelationConfig)
    point_updater: UpdaterConfig = field(default_factory=UpdaterConfig)

    @property
    def input_dim(self) -> int:
        """Width of the updater's input: a logit, the correlation, encodings of two motions and of a pixel."""
        return 1 + self.corr_levels * self.corr_feature.transformer_dim + 6 * 33 + 2 * 33

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> TrackerConfig:
        """Return the sizes in a checkpoint's `cfg.model`.

        Raises ConfigError that names the entry if it describes another kind of network, or a size is missing.
        """
        _expect(given, _FIXED, "")
        for part, fixed in _FIXED_PARTS.items():
            _expect(given.get(part) or {}, fixed, f"{part}.")
        try:
            config = cls(
                seq_len=int(given["seq_len"]),
                corr_levels=int(given["corr_levels"]),
                feature_dim=int(given["encoder"]["output_dim"]),
                corr_feature=_sizes(CorrelationConfig, given["corr_feature"]),
                point_updater=_sizes(UpdaterConfig, given["point_updater"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"the configuration of a TAPIP3D network lacks or misstates {error}") from error
        wanted = given["point_updater"].get("input_dim", config.input_dim)
        if wanted != config.input_dim:
            raise ConfigError(f"point_updater.input_dim is {wanted}, but its parts have a width of {config.input_dim}")
        if config.seq_len < 2 or config.seq_len % 2:
            raise ConfigError(f"seq_len is {config.seq_len}; windows overlap by half, so it has to be even")
        return config


def _expect(given: Mapping[str, Any], fixed: Mapping[str, Any], prefix: str) -> None:
    for name, value in fixed.items():
        found = given.get(name, value)
        if found != value:
            raise ConfigError(f"{prefix}{name} is {found!r}; only networks with {value!r} are known")


def _sizes(kind: Any, given: Mapping[str, Any]) -> Any:
    kinds: dict[str, Any] = {item.name: type(item.default) for item in dataclasses.fields(kind)}
    return kind(**{name: of(given[name]) for name, of in kinds.items() if name in given})
