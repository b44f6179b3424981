"""`geoflow params`: what can be set in a pipeline, with value, default and meaning."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.pipeline import Pipeline, StageSpec
from geoflow.stage import bound_by_run

PIPELINE, SEGMENT = "pipeline", "segment"  # groups of settings that belong to no stage
EVERY_STAGE = "every stage"
_SETTABLE = ("actors", "num_cpus", "num_gpus", "gpu_memory", "weight", "keep", "optional", "env")


@dataclass(frozen=True)
class Setting:
    """One setting, as `--set` takes it. A setting of every stage is written with STAGE in place of a slot."""

    group: str  # a slot, or one of the groups above
    setting: str  # such as camera.chapter
    kind: str  # type and range, such as "int, at least 1"
    value: Any  # in this pipeline
    default: Any  # of the backend
    meaning: str


def settings_of_pipeline(pipeline: Pipeline) -> list[Setting]:
    """Return every setting of a pipeline: of itself, of its segments, of each stage; at last those of every stage."""
    rows = [*_of_model(pipeline, PIPELINE, ""), *_of_model(pipeline.segment, SEGMENT, "segment.")]
    rows = [row for row in rows if row.meaning and row.setting != "reading"]
    for spec in pipeline.stages:
        rows += _of_stage(spec)
    return [*rows, *_of_every_stage()]


def choose(names: Sequence[str], pipeline: str = "embedded") -> tuple[Pipeline, list[Setting], list[str]]:
    """Return a pipeline, the settings that `names` select, and notes about the choice.

    A name is a slot or group of `pipeline`, one setting such as camera.chapter, or else another pipeline, all of whose
    settings are then selected. Raises ConfigError for other names.
    """
    pipe = Pipeline.load(pipeline)
    rows, notes = settings_of_pipeline(pipe), []
    if len(names) == 1 and not _select(rows, names[0]) and _names_pipeline(names[0]):
        pipe = Pipeline.load(names[0])
        return pipe, settings_of_pipeline(pipe), []
    found: list[Setting] = []
    for name in names:
        if not (chosen := _select(rows, name)):
            groups = dict.fromkeys(row.group for row in rows if row.group != EVERY_STAGE)
            raise ConfigError(
                f"{name}: pipeline {pipe.name!r} has no such stage or parameter; it has: {', '.join(groups)}. "
                f"The pipelines are: {', '.join(pipeline_names())}"
            )
        if name != pipe.name and name in pipeline_names():
            notes.append(f"{name} is a pipeline, too: geoflow params --pipeline {name}")
        found += [row for row in chosen if row not in found]
    return pipe, found or rows, notes


def pipeline_names() -> list[str]:
    return sorted(path.stem for path in resources.folder("configs/pipelines").glob("*.yaml"))


def _names_pipeline(name: str) -> bool:
    return name in pipeline_names() or name.endswith((".yaml", ".yml")) or os.path.isfile(name)


def _select(rows: Sequence[Setting], name: str) -> list[Setting]:
    return [row for row in rows if name in (row.group, row.setting)]


def _of_model(holder: Any, group: str, prefix: str) -> Iterator[Setting]:
    hints = typing.get_type_hints(type(holder), include_extras=True)
    for name, row in type(holder).model_fields.items():
        if row.description:
            default = row.get_default(call_default_factory=True)
            yield Setting(
                group,
                prefix + name,
                kind_of(hints[name], row.metadata),
                getattr(holder, name),
                default,
                row.description,
            )


def _of_stage(spec: StageSpec) -> Iterator[Setting]:
    params, stage = spec.stage_class().Params, spec.make_stage()
    hints = typing.get_type_hints(params)
    filled_in = bound_by_run(params)
    for row in dataclasses.fields(params):
        if row.name not in filled_in:
            limits = row.metadata.get("limits", {})
            yield Setting(
                spec.slot,
                f"{spec.slot}.{row.name}",
                ", ".join([plain_type(hints[row.name]), *_range(limits)]),
                getattr(stage.params, row.name),
                row.default,
                row.metadata.get("help", ""),
            )


def _of_every_stage() -> Iterator[Setting]:
    hints = typing.get_type_hints(StageSpec, include_extras=True)
    for name in _SETTABLE:
        row = StageSpec.model_fields[name]
        kind = kind_of(hints[name], row.metadata)
        yield Setting(EVERY_STAGE, f"STAGE.{name}", kind, row.default, row.default, row.description or "")


def kind_of(hint: Any, limits: Sequence[Any]) -> str:
    """Return a type and its range in words, from a field of a pydantic model."""
    named = {name: getattr(row, name) for row in limits for name in ("ge", "le", "gt") if hasattr(row, name)}
    return ", ".join([plain_type(hint), *_range(named)])


def _range(limits: dict[str, Any]) -> list[str]:
    words = {"ge": "at least", "le": "at most", "gt": "above"}
    return [f"{words[name]} {value}" for name, value in limits.items()]


def plain_type(kind: Any) -> str:
    """Return a type's name as a user says it.

    >>> plain_type(int | None), plain_type(typing.Literal["v1", "v2"])
    ('int or none', 'v1 or v2')
    """
    if kind is type(None):
        return "none"
    if typing.get_origin(kind) is typing.Annotated:
        return plain_type(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(plain_type(part) for part in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, typing.get_args(kind)))
    return getattr(kind, "__name__", str(kind))


def written(value: Any) -> str:
    """Return a value as `--set` takes it.

    >>> written(True), written(None), written("")
    ('true', 'null', "''")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "''" if value == "" else str(value)


def render_parameters(pipeline: Pipeline, rows: Sequence[Setting], notes: Sequence[str]) -> Any:
    """Show settings in groups: name, value (with the backend's default where it differs), meaning."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    about = {spec.slot: spec.slot if spec.is_own else f"{spec.slot}: {spec.backend}" for spec in pipeline.stages}
    about[PIPELINE] = f"the pipeline {pipeline.name}"
    about[SEGMENT], about[EVERY_STAGE] = "its segments", "every stage; write its name in place of STAGE"
    parts: list[Any] = []
    for group in dict.fromkeys(row.group for row in rows):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold", min_width=8)
        table.add_column(overflow="fold")
        for row in (row for row in rows if row.group == group):
            other = "" if row.value == row.default else f" (default: {written(row.default)})"
            cells = (f"  {row.setting}", f"{written(row.value)}{other}", f"{row.meaning} [{row.kind}]")
            table.add_row(*(Text(cell) for cell in cells))
        parts += [Text(about[group], style="bold"), table, Text("")]
    example = next((row for row in rows if row.value is not None), rows[0])
    parts.append(Text(f"Change one with: geoflow run ... --set {example.setting}={written(example.value)}"))
    return Group(*parts, *(Text(note) for note in notes))
