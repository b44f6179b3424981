"""Pipeline: a DAG of stages, read from YAML.

The stages stand in order; an input binds to the nearest stage above that gives it, so `stitch` may take
`camera.depth` and give a `camera.depth` that everything below it sees.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoflow import backends, fields, provenance, resources
from geoflow.errors import ConfigError
from geoflow.stage import Stage, bound_by_run
from geoflow.weights import HubFiles

AUTO = "auto"
_NOT_SETTINGS = {"name", "description", "segment", "stages"}  # what a pipeline is called and made of


class StageSpec(BaseModel):
    """One stage of a pipeline file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slot: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="the stage's role, and its name in --set")
    backend: str = Field(description="a module under actors/, or geoflow.stages.*")
    params: dict[str, Any] = Field(default_factory=dict, description="values for the backend's parameters")
    env: str | None = Field(None, description="a file of runtime_envs/; None: GeoFlow's own environment")
    optional: bool = Field(False, description="go on without it when it cannot run")
    actors: int | None = Field(None, ge=1, description="size of the pool; None: from the cluster's size and `weight`")
    num_cpus: float = Field(1.0, gt=0, description="CPU threads one actor may keep busy")
    num_gpus: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = Field(
        0.0, description="share of a GPU's compute that a running call takes; auto: as its share of the memory"
    )
    gpu_memory: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] | None = Field(
        None, description="share of a GPU's memory that it takes at its peak; None: as `num_gpus`; auto: as measured"
    )
    weight: float = Field(0.0, ge=0, description="relative work per frame; spare CPUs go where it is largest")
    keep: bool | None = Field(None, description="save finished segments for resuming; None: if `weight` is above 0")

    @property
    def kept(self) -> bool:
        """Whether a resumed run should find this stage's finished segments: where they cost more than their space."""
        return self.weight > 0 if self.keep is None else self.keep

    @property
    def is_own(self) -> bool:
        """Whether its backend is a part of the library and no model."""
        return self.backend.startswith("geoflow.")

    def stage_class(self) -> type[Stage]:
        return backends.load(self.backend)

    def make_stage(self) -> Stage:
        stage_class = self.stage_class()
        return stage_class(backends.make_params(stage_class, self.params, slot=self.slot))

    def signature(self) -> dict[str, Any]:
        """All that shapes this stage's results; not how many actors compute them, or where.

        Raises ConfigError when there is no such environment.
        """
        from geoflow.engine.environments import load_runtime_env
        from geoflow.registry import load_models

        stage, model = self.make_stage(), load_models().get(self.backend)
        env, needs = load_runtime_env(self.env) if self.env else None, stage.weights()
        found = {
            "backend": self.backend,
            "version": type(stage).version,
            "params": _settings(stage),
            "env": env,
            "weights": _identity(model.weights, needs, model.revision) if model else None,
        }
        # Values stay what they are when the content behind them changes.
        behind = {
            "code": provenance.code_digest(type(stage)),
            "files": provenance.file_digests([found["params"], env]),
            "folders": provenance.folder_digests(sorted(own for own in needs.values() if own)),
        }
        return {**found, **{name: value for name, value in behind.items() if value}}


def _settings(stage: Stage) -> dict[str, Any]:
    """The parameters of a stage but those that the run fills in."""
    filled_in = bound_by_run(type(stage.params))
    return {name: value for name, value in dataclasses.asdict(stage.params).items() if name not in filled_in}


def _identity(weights: str | dict[str, HubFiles], needs: Mapping[str, str], revision: str) -> list[str]:
    """What tells the weights of a stage from others; a user's own are told by what their folders hold."""
    if isinstance(weights, str):
        return [weights, revision]
    return [f"{weights[name].repo}@{weights[name].revision}" for name, own in needs.items() if not own]


class SegmentSpec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(96, ge=2, description="frames in a segment, at most")
    overlap: int = Field(24, ge=0, description="frames that neighbours share")


class Pipeline(BaseModel):
    """A validated pipeline. Make one with `Pipeline.load`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = ""
    segment: SegmentSpec = Field(default_factory=lambda: SegmentSpec.model_validate({}))
    max_gpus: int | None = Field(None, ge=1, description="of the cluster's; None: as many as there is work for")
    gpu_worth: float = Field(300.0, gt=0, description="seconds of work for which a GPU that may join is asked for")
    hung_after: float = Field(300.0, gt=0, description="seconds before which no call is ended as hung")
    keep_fields: bool = Field(False, description="keep what stages saved when a video is complete, for other settings")
    stages: tuple[StageSpec, ...]

    @classmethod
    def load(cls, name_or_file: str | Path, overrides: dict[str, Any] | None = None) -> Pipeline:
        """Read `configs/pipelines/<name>.yaml` or a file and apply overrides such as `{"camera.window": 10}`.

        Raises ConfigError that names the file and the key.
        """
        path = resources.find_yaml("configs/pipelines", str(name_or_file))
        try:
            raw = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {error}") from None
        if not isinstance(raw, dict):
            raise ConfigError(f"{path} should hold a mapping with `stages`, found {type(raw).__name__}")
        return cls.from_dict(raw, overrides, source=str(path))

    @classmethod
    def from_dict(
        cls, raw: dict[str, Any], overrides: dict[str, Any] | None = None, *, source: str = "pipeline"
    ) -> Pipeline:
        """Validate a mapping of the same form as the file."""
        try:
            pipeline = cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{source}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return pipeline.with_settings(overrides or {}, source=source)

    def with_settings(self, settings: Mapping[str, Any], *, source: str = "pipeline") -> Pipeline:
        """A copy with all of them changed, which can run. Raises ConfigError that names what cannot be."""
        pipeline = self
        for key, value in settings.items():
            pipeline = pipeline.with_setting(key, value)
            slot, _, name = key.partition(".")
            if any(spec.slot == slot and name in bound_by_run(spec.stage_class().Params) for spec in pipeline.stages):
                raise ConfigError(f"{key} is filled in by the run; where to write is said by `-o`")
        pipeline._check(source)
        return pipeline

    def bound(self, values: Mapping[str, Any]) -> Pipeline:
        """A copy in which every parameter that a stage declares as `bound_by_run` has its value, as far as there is
        one: `out`, `remote`, `share`, `owner`, `pipeline`."""
        pipeline = self
        for spec in self.stages:
            for name in sorted(bound_by_run(spec.stage_class().Params) & values.keys()):
                pipeline = pipeline.with_setting(f"{spec.slot}.{name}", values[name])
        return pipeline

    def with_setting(self, key: str, value: Any) -> Pipeline:
        """A copy with one setting changed: `slot.parameter`, `slot.actors`, `segment.size` or `hung_after`, say.

        Raises ConfigError that names the setting, and what was found or what there is.
        """
        slot, _, name = key.partition(".")
        own = [field for field in type(self).model_fields if field not in _NOT_SETTINGS]
        if key in own:
            return self._validated({**self.model_dump(), key: value}, key)
        if not name:
            raise ConfigError(
                f"{key}: no such parameter; pipeline {self.name!r} has: {', '.join(own)}; "
                "one of a stage is written stage.param=value"
            )
        if slot == "segment":
            return self._validated({**self.model_dump(), "segment": {**self.segment.model_dump(), name: value}}, key)
        if slot not in {spec.slot for spec in self.stages}:
            known = ", ".join(spec.slot for spec in self.stages)
            raise ConfigError(f"{key}: pipeline {self.name!r} has no stage {slot!r}; it has: {known}, segment")
        specs = [self._changed(spec, name, value) if spec.slot == slot else spec.model_dump() for spec in self.stages]
        return self._validated({**self.model_dump(), "stages": specs}, key)

    def without(self, slots: Iterable[str]) -> Pipeline:
        """A copy that lacks some stages."""
        drop = set(slots)
        return self.model_copy(update={"stages": tuple(spec for spec in self.stages if spec.slot not in drop)})

    def spec(self, slot: str) -> StageSpec:
        return next(spec for spec in self.stages if spec.slot == slot)

    def fingerprint(self) -> str:
        """Hash of everything that shapes the results: segments, backends, their versions, parameters and weights."""
        rows = [(spec.slot, spec.signature()) for spec in self.stages]
        text = json.dumps([self.segment.model_dump(), rows], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Every setting in force, defaults included, as plain values; what a store's `pipeline` attribute holds.

        Of a stage that is a model also its licence and weights (repository@revision), as models.yaml states them.
        """
        from geoflow.registry import load_models

        models, stages = load_models(), []
        for spec in self.stages:
            stage = spec.make_stage()
            row = {**spec.model_dump(), "params": _settings(stage), "version": stage.version}
            if (model := models.get(spec.backend)) is not None:
                row |= {"licence": model.licence, "weights": _identity(model.weights, stage.weights(), model.revision)}
            stages.append(row)
        return {"name": self.name, "segment": self.segment.model_dump(), "stages": stages}

    @staticmethod
    def _changed(spec: StageSpec, name: str, value: Any) -> dict[str, Any]:
        dump = spec.model_dump()
        own = {row.name for row in dataclasses.fields(spec.stage_class().Params)}
        if name in own or name not in dump:
            return {**dump, "params": {**dump["params"], name: value}}
        return {**dump, name: value}

    @classmethod
    def _validated(cls, raw: dict[str, Any], key: str) -> Pipeline:
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{key}: {first['msg']}, found {first['input']!r}") from None

    def _check(self, source: str) -> None:
        if self.segment.overlap * 2 > self.segment.size:
            raise ConfigError(
                f"{source}: segment.overlap {self.segment.overlap} should be at most half of size {self.segment.size}"
            )
        slots = [spec.slot for spec in self.stages]
        if repeated := {slot for slot in slots if slots.count(slot) > 1}:
            raise ConfigError(f"{source}: slots stand more than once: {', '.join(sorted(repeated))}")
        given = {name for name in fields.FIELDS if name.startswith("video.")}
        for spec in self.stages:
            stage = spec.make_stage()
            for name in (*stage.inputs, *stage.optional, *stage.outputs, *stage.optional_outputs):
                fields.field(name)
            if lacking := [name for name in stage.inputs if name not in given]:
                raise ConfigError(f"{source}: {spec.slot} needs {', '.join(lacking)}, which no stage above it gives")
            given.update(stage.outputs, stage.optional_outputs)
