"""Pipeline: a DAG of stages, read from YAML.

The stages are in order. An input comes from the nearest stage above that gives it. So `stitch` may take `camera.depth`
and give a `camera.depth` that all stages below it get.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geoflow import fields
from geoflow.backends import loading, provenance
from geoflow.backends.pins import pin
from geoflow.environments import interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.segments import OBJECT
from geoflow.stage import Stage, bound_by_run, made_by, span_problem
from geoflow.store.schema import not_held
from geoflow.values.field import BRANCHES
from geoflow.values.plain import plain, text
from geoflow.values.validation import Whole, first_fault, validated
from geoflow.values.yaml_text import read_yaml
from geoflow.video.options import read_options

if TYPE_CHECKING:
    from geoflow.backends.catalogue import ModelEntry

AUTO = "auto"
WRITER = "geoflow.stages.write"
SLOTS = ("decode", "prior", "geometry", "camera", "tracks", "hands", "objects", "places", "mesh", "stitch", "write")
_DEPTH = ("camera.depth", "geometry.points")  # by which tracks are lifted into the world
_NOT_SETTINGS = {"name", "description", "segment", "reading", "stages"}  # the names and parts of a pipeline


class StageSpec(BaseModel):
    """One stage of a pipeline file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    slot: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="the stage's role, and its name in --set")
    backend: str = Field(description="a module under actors/, or geoflow.stages.*")
    params: dict[str, Any] = Field(default_factory=dict, description="values for the backend's parameters")
    env: str | None = Field(None, description="a file of runtime_envs/; None: GeoFlow's own environment")
    optional: bool = Field(False, description="continue without it if it cannot run")
    actors: Whole | None = Field(None, ge=1, description="size of the pool; None: from the cluster's size and `weight`")
    num_cpus: float = Field(1.0, gt=0, description="CPU threads one actor may keep busy")
    num_gpus: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = Field(
        0.0, description="share of a GPU's compute that a running call takes; auto: the same as its share of the memory"
    )
    gpu_memory: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] | None = Field(
        None, description="share of a GPU's memory that it takes at its peak; None: as `num_gpus`; auto: measured"
    )
    weight: float = Field(0.0, ge=0, description="relative work per frame; spare CPUs go to the stages with the most")
    keep: bool | None = Field(None, description="save finished segments for resuming; None: if `weight` is above 0")

    @property
    def kept(self) -> bool:
        """Return whether to save this stage's finished segments for a resumed run, if not stated: if it has a
        `weight`."""
        return self.weight > 0 if self.keep is None else self.keep

    @property
    def is_own(self) -> bool:
        """Return whether its backend is part of the library, not a model."""
        return self.backend.startswith("geoflow.")

    def stage_class(self) -> type[Stage]:
        return loading.load(self.backend)

    def make_stage(self) -> Stage:
        stage_class = self.stage_class()
        return stage_class(loading.make_params(stage_class, self.params, slot=self.slot))

    def signature(self) -> dict[str, Any]:
        """Return everything that affects this stage's results; not how many actors compute them, or where.

        Raises ConfigError if there is no such environment.
        """
        from geoflow.backends.catalogue import load_models

        stage, model = self.make_stage(), load_models().get(self.backend)
        env, needs = load_runtime_env(self.env) if self.env else None, stage.weights()
        found = {
            "backend": self.backend,
            "version": type(stage).version,
            "params": _settings(stage),
            "env": env,
            "weights": _identity(self.backend, model, needs),
        }
        # Parameter values do not change when the content of a file that they name changes.
        behind = {
            "code": provenance.code_digest(type(stage)),
            "files": provenance.file_digests([found["params"], env]),
            "folders": provenance.folder_digests(sorted(own for own in needs.values() if own)),
            "interpreter": _packages_of(env),
        }
        return {**found, **{name: value for name, value in behind.items() if value}}


def _is_length(name: str, branch: str) -> bool:
    """Return whether a field holds lengths of a branch."""
    row = fields.field(name)
    return row.slot == branch and "scene" in row.unit


def _packages_of(env: dict[str, Any] | None) -> str | None:
    """Return a digest of the packages in an interpreter of the user's own, which its path or name does not tell."""
    foreign = interpreter.wanted(env) if env else None
    return None if foreign is None else interpreter.contents(foreign)


def _settings(stage: Stage) -> dict[str, Any]:
    """Return the parameters of a stage, except parameters that the run fills in."""
    filled_in = bound_by_run(type(stage.params))
    return {name: value for name, value in dataclasses.asdict(stage.params).items() if name not in filled_in}


def _has_environment(backend: Any) -> bool:
    """Return whether there is an environment that is named like a backend."""
    return isinstance(backend, str) and (resources.folder("runtime_envs") / f"{backend}.yaml").is_file()


def _identity(backend: str, model: ModelEntry | None, needs: Mapping[str, str]) -> list[str] | None:
    """Return what identifies the weights of a stage; a user's own weights are identified by their folders' content.

    `model` is the entry of models.yaml. Raises ConfigError if models.yaml lacks weights that the stage needs.
    """
    known = {} if model is None else model.sources
    found = [pin(backend, name, known) for name, own in needs.items() if not own]
    if model is None:
        return None
    if isinstance(model.weights, str):
        return [model.weights, model.revision]
    return [source.identity for source in found]


def _check_slot(spec: StageSpec, source: str) -> None:
    """Raise ConfigError if a slot's backend is for another slot, or if a slot that every store needs is optional."""
    own = spec.stage_class().slot
    if own not in ("", spec.slot) and (spec.slot in SLOTS or spec.backend == WRITER):
        raise ConfigError(f"{source}: slot {spec.slot} cannot have the backend {spec.backend}, which is for slot {own}")
    if spec.optional and spec.slot in ("decode", "stitch", "write"):
        raise ConfigError(f"{source}: {spec.slot} cannot be optional: without it there is no store")
    if spec.env:
        for problem in interpreter.problems(load_runtime_env(spec.env)):
            raise ConfigError(f"environment {spec.env}: {problem}")


def _check_reading(reading: dict[str, Any], source: str) -> None:
    try:
        read_options(reading)
    except ConfigError as error:
        raise ConfigError(f"{source}: reading: {error}") from None


class SegmentSpec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    size: Whole = Field(96, ge=2, description="frames in a segment, at most")
    overlap: Whole = Field(24, ge=0, description="frames that neighbours share")


class Pipeline(BaseModel):
    """A validated pipeline. Make one with `Pipeline.load`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    description: str = ""
    segment: SegmentSpec = Field(default_factory=lambda: SegmentSpec.model_validate({}))
    max_gpus: Whole | None = Field(None, ge=1, description="GPUs to use at most; None: as many as there is work for")
    gpu_worth: float = Field(300.0, gt=0, description="seconds of work for which one more GPU is requested")
    hung_after: float = Field(300.0, gt=0, description="seconds before which no call is stopped as hung")
    keep_fields: bool = Field(False, description="keep saved results of complete videos, for other settings")
    reading: dict[str, Any] = Field(
        default_factory=dict, description="options of `run` that say how inputs are read; the command line comes first"
    )
    stages: tuple[StageSpec, ...]

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}: {', '.join(f'{spec.slot} {spec.backend}' for spec in self.stages)})"

    @classmethod
    def load(cls, name_or_file: str | Path, overrides: dict[str, Any] | None = None) -> Pipeline:
        """Read `configs/pipelines/<name>.yaml` or a file and apply overrides such as `{"camera.window": 10}`.

        Raises ConfigError that names the file and the key.
        """
        path = resources.find_yaml("configs/pipelines", text(name_or_file, "pipeline"))
        raw = read_yaml(path)
        if not isinstance(raw, dict):
            raise ConfigError(f"{path} should hold a mapping with `stages`, found {type(raw).__name__}")
        return cls.from_dict(raw, overrides, source=str(path))

    @classmethod
    def from_dict(
        cls, raw: dict[str, Any], overrides: dict[str, Any] | None = None, *, source: str = "pipeline"
    ) -> Pipeline:
        """Validate a mapping of the same form as the file."""
        try:
            pipeline = validated(cls, plain(raw, source))
        except ValidationError as error:
            name, problem, found = first_fault(error)
            raise ConfigError(f"{source}: {name}: {problem}, found {found!r:.80}") from None
        return pipeline.with_settings(overrides or {}, source=source)

    def with_settings(self, settings: Mapping[str, Any], *, source: str = "pipeline") -> Pipeline:
        """Return a copy with these settings, checked. Raises ConfigError that names the wrong setting."""
        pipeline = self
        changes = plain(settings, "settings")
        if not isinstance(changes, dict):
            raise ConfigError(f"settings should be a mapping such as {{'camera.chapter': 96}}, found {settings!r:.80}")
        for key, value in changes.items():
            pipeline = pipeline.with_setting(key, value)
            slot, _, name = key.partition(".")
            if any(spec.slot == slot and name in bound_by_run(spec.stage_class().Params) for spec in pipeline.stages):
                raise ConfigError(f"{key} is filled in by the run; name the output folder with `-o`")
        pipeline._check(source)
        return pipeline

    def bound(self, values: Mapping[str, Any]) -> Pipeline:
        """Return a copy with values for the parameters that stages declare as `bound_by_run`, as far as `values` has
        them: `out`, `remote`, `share`, `owner`, `pipeline`; and `metric`, `camera_unit` and `tracks_need_rest`, which
        follow from the stages."""
        own = {
            "metric": self.metric_branches(),
            "camera_unit": self.camera_unit_branches(),
            "tracks_need_rest": self.tracks_need_rest(),
        }
        pipeline, values = self, {**values, **own}
        for spec in self.stages:
            for name in sorted(bound_by_run(spec.stage_class().Params) & values.keys()):
                pipeline = pipeline.with_setting(f"{spec.slot}.{name}", values[name])
        return pipeline

    def metric_branches(self) -> tuple[str, ...]:
        """Return the branches (`geometry`, `camera`) in which every stage that gives lengths states metres."""
        stated: dict[str, bool] = {}  # field -> as stated by the last stage that makes it
        for stage in (spec.make_stage() for spec in self.stages):
            metric = stage.metric or stated.get(stage.metric_by, False)
            stated |= dict.fromkeys(made_by(stage), metric)
        lengths = {branch: [name for name in stated if _is_length(name, branch)] for branch in BRANCHES}
        return tuple(branch for branch, names in lengths.items() if names and all(stated[name] for name in names))

    def camera_unit_branches(self) -> tuple[str, ...]:
        """Return the branches whose lengths are all made by the stage that gives `camera.unit`."""
        maker = {name: spec.slot for spec in self.stages for name in made_by(spec.make_stage())}
        unit = maker.get("camera.unit")
        lengths = {branch: [n for n in maker if _is_length(n, branch)] for branch in BRANCHES}
        return tuple(b for b, names in lengths.items() if names and all(maker[name] == unit for name in names))

    def tracks_need_rest(self) -> bool:
        """Return whether the depth by which points are lifted into the world holds only where nothing moves."""
        at_rest: dict[str, bool] = {}  # field -> as declared by the last stage that makes it
        lifted_by: set[str] = set()
        for stage in (spec.make_stage() for spec in self.stages):
            if stage.slot == "tracks":
                lifted_by = {name for name in _DEPTH if name in {*stage.inputs, *stage.optional} & at_rest.keys()}
            borrowed = bool(stage.depth_by) and at_rest.get(stage.depth_by, True)
            at_rest |= dict.fromkeys(made_by(stage), stage.depth_at_rest or borrowed)
        return bool(lifted_by) and all(at_rest[name] for name in lifted_by)

    def with_setting(self, key: str, value: Any) -> Pipeline:
        """Return a copy with one setting changed, such as `slot.parameter`, `slot.actors`, `segment.size`,
        `hung_after`.

        Raises ConfigError that names the setting, and the wrong value or the settings that exist.
        """
        slot, _, name = key.partition(".")
        own = [field for field in type(self).model_fields if field not in _NOT_SETTINGS]
        if key in own:
            return self._validated({**self.model_dump(), key: value}, key)
        if not name:
            raise ConfigError(
                f"{key}: no such parameter; pipeline {self.name!r} has: {', '.join(own)}; "
                "write a parameter of a stage as stage.param=value"
            )
        if slot == "segment":
            return self._validated({**self.model_dump(), "segment": {**self.segment.model_dump(), name: value}}, key)
        if slot not in {spec.slot for spec in self.stages}:
            known = ", ".join(spec.slot for spec in self.stages)
            raise ConfigError(f"{key}: pipeline {self.name!r} has no stage {slot!r}; it has: {known}, segment")
        specs = [self._changed(spec, name, value) if spec.slot == slot else spec.model_dump() for spec in self.stages]
        return self._validated({**self.model_dump(), "stages": specs}, key)

    def without(self, slots: Iterable[str]) -> Pipeline:
        """Return a copy without some stages.

        Raises ConfigError for a stage that the pipeline lacks, and for one that another stage cannot do without.
        """
        drop, known = list(dict.fromkeys(slots)), [spec.slot for spec in self.stages]
        if unknown := [slot for slot in drop if slot not in known]:
            raise ConfigError(
                f"--without {','.join(unknown)}: pipeline {self.name!r} has no such stage; it has: {', '.join(known)}"
            )
        kept = self.model_copy(update={"stages": tuple(spec for spec in self.stages if spec.slot not in drop)})
        if drop:
            asked = f"--without {','.join(drop)}"
            if deprived := kept._lacking_inputs():
                raise ConfigError(
                    f"{asked}: {', '.join(deprived)} cannot work without what is left out; "
                    f"add {'it' if len(deprived) == 1 else 'them'}: --without {','.join([*drop, *deprived])}"
                )
            kept._check(asked)
        return kept

    def _lacking_inputs(self) -> list[str]:
        """Return the stages that lack an input which no stage above them gives, or only a stage that lacks one."""
        given, lacking = {name for name, row in fields.FIELDS.items() if row.probed}, []
        for spec in self.stages:
            stage = spec.make_stage()
            if set(stage.inputs) <= given:
                given.update(stage.outputs, stage.optional_outputs)
            else:
                lacking.append(spec.slot)
        return lacking

    def spec(self, slot: str) -> StageSpec:
        return next(spec for spec in self.stages if spec.slot == slot)

    def fingerprint(self) -> str:
        """Return a hash of everything that affects the results: segments, backends, versions, parameters, weights."""
        rows = [(spec.slot, spec.signature()) for spec in self.stages]
        text = json.dumps([self.segment.model_dump(), rows], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return every setting, including defaults, as plain values: the content of a store's `pipeline` attribute.

        For a stage with a model, this includes licence and weights (repository@revision), as models.yaml states them.
        """
        from geoflow.backends.catalogue import licence_of, load_models

        models, stages = load_models(), []
        for spec in self.stages:
            stage = spec.make_stage()
            row = {**spec.model_dump(), "params": _settings(stage), "version": stage.version}
            if (model := models.get(spec.backend)) is not None:
                row |= {"licence": model.licence, "weights": _identity(spec.backend, model, stage.weights())}
            elif not spec.is_own and (licence := licence_of(spec)[0]):
                row["licence"] = licence
            if stage.metric:
                row["metric"] = True
            stages.append(row)
        return {"name": self.name, "segment": self.segment.model_dump(), "stages": stages}

    @staticmethod
    def _changed(spec: StageSpec, name: str, value: Any) -> dict[str, Any]:
        dump = spec.model_dump()
        own = {row.name for row in dataclasses.fields(spec.stage_class().Params)}
        if name in own or name not in dump:
            return {**dump, "params": {**dump["params"], name: value}}
        follows = name == "backend" and spec.env == spec.backend and _has_environment(value)
        return {**dump, name: value, **({"env": value} if follows else {})}

    @classmethod
    def _validated(cls, raw: dict[str, Any], key: str) -> Pipeline:
        try:
            return validated(cls, plain(raw, key))
        except ValidationError as error:
            _, problem, found = first_fault(error)
            raise ConfigError(f"{key}: {problem}, found {found!r:.80}") from None

    def _check(self, source: str) -> None:
        size, overlap = self.segment.size, self.segment.overlap
        if overlap * 2 > size:
            raise ConfigError(
                f"{source}: segment.overlap should be at most half of segment.size, found {overlap} and {size}; "
                f"set segment.overlap={size // 2}, too, or segment.size={overlap * 2} or more"
            )
        _check_reading(self.reading, source)
        slots = [spec.slot for spec in self.stages]
        if not slots:
            raise ConfigError(f"{source}: stages is empty; list them, as configs/pipelines/embedded.yaml does")
        if repeated := {slot for slot in slots if slots.count(slot) > 1}:
            raise ConfigError(f"{source}: slots occur more than once: {', '.join(sorted(repeated))}")
        given = {name for name, row in fields.FIELDS.items() if row.probed}
        thin: dict[str, str] = {}  # field that only some frames get -> the setting by which all do
        for spec in self.stages:
            _check_slot(spec, source)
            stage = spec.make_stage()
            if problem := span_problem(stage):
                raise ConfigError(f"{source}: {spec.slot} cannot have the backend {spec.backend}: {problem}")
            for name in (*stage.inputs, *stage.optional, *stage.outputs, *stage.optional_outputs):
                fields.field(name)
            if lacking := [name for name in stage.inputs if name not in given]:
                raise ConfigError(f"{source}: {spec.slot} needs {', '.join(lacking)}, which no stage above it gives")
            if (few := [name for name in stage.inputs if name in thin]) and not stage.takes_sparse:
                raise ConfigError(
                    f"{source}: {spec.slot} needs {few[0]} in every frame, but by its settings {few[0].split('.')[0]} "
                    f"computes only some of them below a camera stage: set {thin[few[0]]}"
                )
            if stage.span == OBJECT:
                self._check_objects(spec, stage, given, source)
            remedy = stage.sparse(given)
            thin = {name: how for name, how in thin.items() if name not in stage.outputs}
            thin |= {name: f"{spec.slot}.{remedy}" for name in stage.outputs if remedy}
            given.update(stage.outputs, stage.optional_outputs)
        self._check_takers(source)

    def _check_objects(self, spec: StageSpec, stage: Stage, given: set[str], source: str) -> None:
        """Raise ConfigError where a stage of span "object" could not be given what it takes."""
        slots = [other.slot for other in self.stages]
        writers = [other for other in self.stages if other.backend == WRITER]
        place = slots.index(spec.slot)
        if writers and not ("stitch" in slots[:place] and self.stages.index(writers[0]) > place):
            raise ConfigError(
                f"{source}: {spec.slot} works on objects of whole videos: put it between stitch and write"
            )
        others = [s.slot for s in self.stages if s is not spec and s.stage_class().span == OBJECT]
        if others:
            raise ConfigError(f"{source}: {spec.slot} and {others[0]} both make meshes of objects; leave one out")
        if not writers:
            return
        switches = dataclasses.asdict(writers[0].make_stage().params)
        taken = [name for name in (*stage.inputs, *stage.optional) if name in given]
        for name, remedy in not_held(taken, switches).items():
            raise ConfigError(
                f"{source}: {spec.slot} takes {name} from what write has stored, which lacks it: {remedy}"
            )

    def _check_takers(self, source: str) -> None:
        """Raise ConfigError for a stage whose results no other stage takes."""
        if WRITER not in {spec.backend for spec in self.stages}:
            return  # only a part of a pipeline, which cannot run by itself
        wanted: set[str] = set()
        for spec in reversed(self.stages):
            stage = spec.make_stage()
            outputs = {*stage.outputs, *stage.optional_outputs}
            if outputs and not outputs & wanted and stage.span != OBJECT:  # its meshes go to `finish` of write
                raise ConfigError(
                    f"{source}: {spec.slot} has no use: no stage below takes any of {', '.join(stage.outputs)}; "
                    "leave it out, or put it above the stages that take them"
                )
            wanted = (wanted - outputs) | {*stage.inputs, *stage.optional}
