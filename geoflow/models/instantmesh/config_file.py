"""Configuration files of InstantMesh's own program: which networks, and of what size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.errors import ConfigError
from geoflow.models.instantmesh.config import PUBLISHED, ReconstructorConfig
from geoflow.values.yaml_text import read_yaml

_NEEDED = ("transformer_layers", "triplane_dim", "grid_res")  # sizes that a file of the mesh model has


@dataclass(frozen=True)
class Files:
    """Networks to load; None for a file stands for the published one."""

    config: ReconstructorConfig
    model: Path | None = None  # checkpoint of the mesh's network
    unet: Path | None = None  # the UNet of the six views

    @property
    def name(self) -> str:
        """The published model of these sizes, "" if there is none."""
        return next((name for name, sizes in PUBLISHED.items() if sizes == self.config), "")


def read_config_file(path: Path) -> Files:
    """Return what a YAML file says: sizes in `model_config.params`, files in `infer_config`.

    The sizes of the image encoder are the published ones; `model_config.params.encoder_config` may state others.

    Files are looked up as they are written, then beside the YAML file. As in the original program, one that is not
    there stands for the published one. Raises ConfigError that names the YAML file if it cannot be used.
    """
    held = read_yaml(path)
    model, infer = (_mapping(held, name, path) for name in ("model_config", "infer_config"))
    sizes = _mapping(model, "params", path)
    if lacking := [name for name in _NEEDED if name not in sizes]:
        raise ConfigError(f"{path}: model_config.params lacks {', '.join(lacking)}; is it of another model?")
    try:
        config = ReconstructorConfig.of(sizes, sizes.get("encoder_config") or {})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    files = Files(config, _file(infer, "model_path", path), _file(infer, "unet_path", path))
    if files.model is None and not files.name:
        raise ConfigError(f"{path}: there is no file {infer.get('model_path')}, and no published model of these sizes")
    return files


def _mapping(held: Any, name: str, path: Path) -> Mapping[str, Any]:
    found = held.get(name) if isinstance(held, Mapping) else None
    if not isinstance(found, Mapping):
        raise ConfigError(f"{path} should hold model_config.params and infer_config, as InstantMesh's own files do")
    return found


def _file(infer: Mapping[str, Any], name: str, path: Path) -> Path | None:
    given = infer.get(name)
    if given is None:
        return None
    if not isinstance(given, str):
        raise ConfigError(f"{path}: infer_config.{name} should be a path, found {given!r:.80}")
    places = (Path(given).expanduser(), path.parent / given)
    return next((place for place in places if place.is_file()), None)
