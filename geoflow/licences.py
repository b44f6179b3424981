"""`configs/models.yaml`: weights, revision, licence and memory of every model a backend uses."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoflow import resources
from geoflow.errors import ConfigError
from geoflow.pipeline import Pipeline


class ModelEntry(BaseModel):
    """One entry of models.yaml; its key is the backend's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: str = Field(description="SPDX identifier, or the licence's own name")
    commercial: bool = Field(description="the licence allows commercial use")
    weights: str = Field(description="where the weights come from")
    revision: str = Field(description="pinned revision or package version")
    memory: str = Field(description="what one actor needs")
    source: str = Field("", description="the method's home or paper")


def load_models() -> dict[str, ModelEntry]:
    """Every entry by backend. Raises ConfigError when the file is broken."""
    path = resources.folder("configs") / "models.yaml"
    return dict(_entries(path, path.read_text()))


@functools.cache  # asked for once per stage, and YAML is slow to read
def _entries(path: Path, text: str) -> dict[str, ModelEntry]:
    raw: dict[str, Any] = yaml.safe_load(text) or {}
    try:
        return {name: ModelEntry.model_validate(entry) for name, entry in raw.items()}
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def require_commercial(pipeline: Pipeline) -> None:
    """Raise ConfigError when a backend's licence forbids commercial use, or is not stated."""
    models = load_models()
    for spec in pipeline.stages:
        if spec.backend.startswith("geoflow."):
            continue
        entry = models.get(spec.backend)
        if entry is None:
            raise ConfigError(f"{spec.slot}: configs/models.yaml does not state the licence of {spec.backend}")
        if not entry.commercial:
            raise ConfigError(f"{spec.slot}: {spec.backend} is {entry.licence}, which forbids commercial use")
