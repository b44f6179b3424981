"""The catalogue `configs/models.yaml`: weights, revision, licence and memory of every model that a backend uses."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoflow.backends import loading, pins, weights
from geoflow.backends.hub import hub_cache
from geoflow.backends.sources import Source, weights_cache
from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.values.listing import render_entries
from geoflow.values.validation import first_fault, validated

if TYPE_CHECKING:
    from geoflow.pipeline import Pipeline, StageSpec


class ModelEntry(BaseModel):
    """One entry of models.yaml; its key there is the backend's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: str = Field(description="SPDX identifier, or the licence's own name")
    commercial: bool = Field(description="the licence allows commercial use")
    weights: str | dict[str, dict[str, Any]] = Field(
        description="files by the backend's name for them (geoflow/backends/pins.py), or a text on their origin"
    )
    revision: str = Field("", description="package version, if it pins the weights")
    memory: str = Field(description="what one actor needs")
    source: str = Field("", description="the method's web page or paper")

    @property
    def sources(self) -> dict[str, Source]:
        """Return the pinned sources of the weights, by name; {} for an entry that only describes their origin in
        words."""
        return pins.sources(self.weights, "configs/models.yaml")


def load_models() -> dict[str, ModelEntry]:
    """Return every entry by backend. Raises ConfigError if the file is broken."""
    path = resources.folder("configs") / "models.yaml"
    return dict(_parsed(path.read_bytes(), path))


@functools.lru_cache(maxsize=1)
def _parsed(text: bytes, path: Path) -> dict[str, ModelEntry]:
    found = {}
    for backend, entry in pins.parse(text).items():
        rows = entry.get("weights") if isinstance(entry, dict) else None
        pins.sources(rows, f"{path}: {backend}")  # its error message for a wrong row is clearer
        try:
            found[backend] = validated(ModelEntry, entry)
        except ValidationError as error:
            name, problem, value = first_fault(error)
            raise ConfigError(f"{path}: {backend}: {name}: {problem}, found {value!r:.80}") from None
    return found


def licence_of(spec: StageSpec) -> tuple[str | None, bool | None]:
    """Return a stage's licence and whether it allows commercial use; each is None if not stated.

    The entry in models.yaml states them, or the class itself if there is no entry. Inherited statements do not count: a
    class may have other weights than its parent.
    """
    entry = load_models().get(spec.backend)
    if entry is not None:
        return entry.licence, entry.commercial
    if spec.is_own:
        return "Apache-2.0", True
    stated = vars(spec.stage_class())
    return stated.get("licence") or None, stated.get("commercial")


def require_commercial(pipeline: Pipeline) -> None:
    """Raise ConfigError if a backend's licence forbids commercial use, or is not stated."""
    for spec in pipeline.stages:
        licence, commercial = licence_of(spec)
        if commercial is True and licence:
            continue
        if commercial is False:
            raise ConfigError(
                f"{spec.slot}: {spec.backend} is under {licence or 'a licence'}, which forbids commercial use"
            )
        what = "whether its licence allows commercial use" if licence else "its licence"
        raise ConfigError(
            f'{spec.slot}: {spec.backend} does not state {what}; write `licence = "SPDX name"` and `commercial = True` '
            f"(code and weights allow it) into its class, or an entry {spec.backend!r} into configs/models.yaml"
        )


def weights_of(wanted: Sequence[str]) -> list[tuple[str, str, Source]]:
    """Return weights for labels `backend` (all that it may need) or `backend:name`; [] means all weights.

    Each comes with its backend and its name. Raises ConfigError for weights that are not in the catalogue.
    """
    known = {backend: sources for backend, entry in load_models().items() if (sources := entry.sources)}
    found = []
    for label in wanted or list(known):
        backend = next((b for b in known if label == b or label.startswith(f"{b}:")), "")
        name = label[len(backend) + 1 :]
        rows = known.get(backend, {})
        if not rows or (name and name not in rows):
            there = ", ".join([f"{backend}:{key}" for key in rows] or known)
            raise ConfigError(f"{label}: no such weights; there are: {there}")
        found += [(backend, key, source) for key, source in rows.items() if name in ("", key)]
    return found


def fetch_models(wanted: Sequence[str]) -> Iterator[tuple[str, Source]]:
    """Download weights; yield the label and source of each when its files are here.

    Files that only the user can get come last: for them, it raises ConfigError that says how to get them.
    """
    rows = sorted(weights_of(wanted), key=lambda row: not row[2].fetchable)
    for backend, name, source in rows:
        if source.missing:
            print(f"{backend}:{name}: fetching {source}", file=sys.stderr)
            source.fetch()
        yield f"{backend}:{name}", source


def check_models(wanted: Sequence[str], *, deep: bool) -> dict[str, list[str]]:
    """Return what is wrong with weights, by label.

    All named weights must be here. Without names, weights are checked if at least one of their files is here.
    """
    return {
        f"{backend}:{name}": weights.problems(backend, {name: ""}, deep=deep)
        for backend, name, source in weights_of(wanted)
        if wanted or len(source.missing) < len(source.files)
    }


def stage_weights(spec: StageSpec) -> list[dict[str, str]]:
    """Return the weights that a stage with its parameters needs: name, place and state. The state is here, missing, own
    (the user's folder), told (only described in words) or unknown."""
    entry = load_models().get(spec.backend)
    if entry is None or isinstance(entry.weights, str):
        told = str(entry.weights) if entry is not None else "none" if spec.is_own else "unknown"
        return [] if told == "none" else [{"name": "", "place": told, "state": "unknown" if entry is None else "told"}]
    rows, known = [], entry.sources
    for name, own in spec.make_stage().weights().items():
        if own:
            rows.append({"name": name, "place": own, "state": "own"})
            continue
        source = pins.pin(spec.backend, name, known)
        rows.append({"name": name, "place": str(source), "state": _state(source)})
    return rows


def describe_models() -> list[dict[str, Any]]:
    """Return a row per backend, with, for each piece of its weights, whether it is here, and how to get it if not."""
    rows = []
    for backend, entry in load_models().items():
        row = entry.model_dump()
        for name, source in entry.sources.items():
            row["weights"][name] |= {"what": str(source), "folder": str(source.folder), "state": _state(source)}
            if source.missing:
                row["weights"][name]["remedy"] = source.remedy(f"{backend}:{name}")
        rows.append({"backend": backend, "slot": loading.load(backend).slot, **row})
    return rows


def _state(source: Source) -> str:
    return "missing" if source.missing else "here"


def render_models(rows: list[dict[str, Any]]) -> Any:
    """Return the rows of `describe_models` for the console."""
    from rich.console import Group

    entries = []
    for row in rows:
        held = row["weights"]
        if isinstance(held, dict):
            held = "\n".join(f"{name}: {_described(piece)}" for name, piece in held.items())
        licence = row["licence"] + ("" if row["commercial"] else " (no commercial use)")
        facts = {"licence": licence, "weights": held, "needs": row["memory"]}
        entries.append((f"{row['backend']}, for the slot {row['slot']}", facts))
    return Group(render_entries(entries), f"weights are in {hub_cache()} and {weights_cache()}")


def _described(piece: dict[str, Any]) -> str:
    """Describe one piece of weights, with how to get it if only the user can."""
    told = f"; {piece['remedy']} ({piece['folder']})" if "manual" in piece and "remedy" in piece else ""
    return f"{piece['what']} ({piece['state']}){told}"
