"""`configs/models.yaml`: weights, revision, licence and memory of every model a backend uses."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoflow.backends import loading, weights
from geoflow.backends.weights import HubFiles
from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.values.validation import first_fault, validated

if TYPE_CHECKING:
    from geoflow.pipeline import Pipeline, StageSpec


class ModelEntry(BaseModel):
    """One entry of models.yaml; its key is the backend's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: str = Field(description="SPDX identifier, or the licence's own name")
    commercial: bool = Field(description="the licence allows commercial use")
    weights: str | dict[str, HubFiles] = Field(
        description="files of the hub by the name the backend has for them, or where else they come from"
    )
    revision: str = Field("", description="package version, where that pins the weights")
    memory: str = Field(description="what one actor needs")
    source: str = Field("", description="the method's home or paper")


def load_models() -> dict[str, ModelEntry]:
    """Every entry by backend. Raises ConfigError when the file is broken."""
    path = resources.folder("configs") / "models.yaml"
    return dict(_parsed(path.read_bytes(), path))


@functools.lru_cache(maxsize=1)
def _parsed(text: bytes, path: Path) -> dict[str, ModelEntry]:
    found = {}
    for backend, entry in weights.parse(text).items():
        try:
            found[backend] = validated(ModelEntry, entry)
        except ValidationError as error:
            name, problem, value = first_fault(error)
            raise ConfigError(f"{path}: {backend}: {name}: {problem}, found {value!r:.80}") from None
    return found


def require_commercial(pipeline: Pipeline) -> None:
    """Raise ConfigError when a backend's licence forbids commercial use, or is not stated."""
    models = load_models()
    for spec in pipeline.stages:
        if spec.is_own:
            continue
        entry = models.get(spec.backend)
        if entry is None:
            raise ConfigError(f"{spec.slot}: configs/models.yaml does not state the licence of {spec.backend}")
        if not entry.commercial:
            raise ConfigError(f"{spec.slot}: {spec.backend} is {entry.licence}, which forbids commercial use")


def weights_of(wanted: Sequence[str]) -> list[tuple[str, HubFiles]]:
    """Files of the hub by `backend` (all it may need) or `backend:name`, each with such a label; [] means everything.

    Raises ConfigError when the registry knows no such weights.
    """
    known = {name: entry.weights for name, entry in load_models().items() if isinstance(entry.weights, dict)}
    found = []
    for label in wanted or list(known):
        backend, _, name = label.partition(":")
        files = known.get(backend, {})
        if not files or (name and name not in files):
            there = ", ".join([f"{backend}:{key}" for key in files] or known)
            raise ConfigError(f"{label}: no such weights of the hub; there are: {there}")
        found += [(f"{backend}:{key}", row) for key, row in files.items() if name in ("", key)]
    return found


def check_models(wanted: Sequence[str], *, deep: bool) -> dict[str, list[str]]:
    """What is wrong with weights, by label; of those that are named all must be here, without any those that are."""
    return {
        label: weights.problems(label.split(":")[0], {label.split(":")[1]: ""}, deep=deep)
        for label, files in weights_of(wanted)
        if wanted or len(files.missing) < len(files.files)
    }


def stage_weights(spec: StageSpec) -> list[dict[str, str]]:
    """What a stage with its parameters needs: name, place and state, which is here, missing, own, told or unknown."""
    entry = load_models().get(spec.backend)
    if entry is None or not isinstance(entry.weights, dict):
        told = str(entry.weights) if entry is not None else "none" if spec.is_own else "unknown"
        return [] if told == "none" else [{"name": "", "place": told, "state": "unknown" if entry is None else "told"}]
    rows = []
    for name, own in spec.make_stage().weights().items():
        if own:
            rows.append({"name": name, "place": own, "state": "own"})
            continue
        files = weights.pin(spec.backend, name, entry.weights)
        rows.append({"name": name, "place": str(files), "state": "missing" if files.missing else "here"})
    return rows


def describe_models() -> list[dict[str, Any]]:
    """A row per backend, and per piece of its weights whether this machine has it."""
    rows = []
    for name, entry in load_models().items():
        row = entry.model_dump()
        if isinstance(entry.weights, dict):
            here = {key: "missing" if files.missing else "here" for key, files in entry.weights.items()}
            row["weights"] = {key: {**row["weights"][key], "state": here[key]} for key in here}
        rows.append({"backend": name, "slot": loading.load(name).slot, **row})
    return rows


def render_models(rows: list[dict[str, Any]]) -> Any:
    """`describe_models` as a table for the console."""
    from rich.table import Table

    table = Table(
        "backend", "slot", "licence", "commercial", "weights", "needs", title=f"weights in {weights.hub_cache()}"
    )
    for row in rows:
        held = row["weights"]
        if isinstance(held, dict):
            held = "\n".join(f"{key}: {w['repo']}@{w['revision'][:8]} ({w['state']})" for key, w in held.items())
        commercial = "yes" if row["commercial"] else "[red]no"
        table.add_row(row["backend"], row["slot"], row["licence"], commercial, held, row["memory"])
    return table
