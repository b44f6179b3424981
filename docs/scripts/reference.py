"""The generated parts of the pages, a function each, which returns Markdown."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from markdown_table import code, properties, table

from geoflow.backends import loading
from geoflow.backends.catalogue import load_models
from geoflow.backends.torch_stage import TorchStage
from geoflow.cli.command import argument_name
from geoflow.export.dataset.registry import DATASETS
from geoflow.export.formats import FORMATS
from geoflow.fields import FIELDS
from geoflow.files import resources
from geoflow.observe import metric_names
from geoflow.pipeline import Pipeline, SegmentSpec, StageSpec
from geoflow.planning import environment_listing
from geoflow.planning.parameters import settings_of_pipeline
from geoflow.scanning import ScanParams, fitness
from geoflow.store import schema
from geoflow.store.meshes import ROWS as MESH_ROWS
from geoflow.store.object_poses import POSE_ROWS
from geoflow.store.reference import field_table
from geoflow.values.field import EXTRA

ROOT = Path(__file__).parents[2]
_SHORT = {"float16": "f16", "float32": "f32", "float64": "f64", "uint8": "u8", "int64": "i64", "int32": "i32"}


def fields() -> str:
    """A table per slot of the field table."""
    slots = dict.fromkeys(row.slot for row in FIELDS.values())
    return "\n".join(f"### {slot}\n\n{field_table(slot)}" for slot in slots)


def store() -> str:
    """A table per group of the store's datasets."""
    parts = []
    for group, rows in itertools.groupby(schema.datasets().values(), lambda row: row.group):
        parts.append(f"#### {group}\n")
        cells = [(code(row.name), f"{row.dtype} {_shape(row.shape)}", row.unit, _asked(row)) for row in rows]
        parts.append(table(("dataset", "type", "unit", "meaning"), cells) + "\n")
    parts.append(
        "#### objects/NUMBER\n\nOne group per object that has a mesh or poses. The attributes `without` and "
        "`without_pose` say why one has none.\n"
    )
    own = {**MESH_ROWS, **{f"pose/{name}": row for name, row in POSE_ROWS.items()}}
    cells = [
        (code(f"objects/NUMBER/{name}"), f"{row.dtype} {_shape(row.shape)}", row.unit, row.meaning)
        for name, row in own.items()
    ]
    parts.append(table(("dataset", "type", "unit", "meaning"), cells) + "\n")
    return "\n".join(parts)


def _asked(row: schema.Dataset) -> str:
    """A dataset's meaning, and when it is there."""
    if switch := row.stored.switch:
        on = ", the default" if switch.default else ""
        return f"{row.meaning} (`--set write.{switch.name}=true`{on})"
    return row.meaning + (" (optional)" if row.stored.presence == EXTRA else "")


def store_summary() -> str:
    """A row per group of the store, for the README; both hands in one, and of all hands only what these lack."""
    groups: dict[str, list[str]] = {}
    of_a_hand = {row.name.rpartition("/")[2] for row in schema.datasets().values() if row.group == "hands/left"}
    for row in schema.datasets().values():
        group = row.group.replace("hands/left", "hands/left, hands/right")
        if row.group == "hands/right":
            continue
        if row.group == "hands/all" and row.name.rpartition("/")[2] in of_a_hand:
            groups.setdefault(group, ["the same for R hands of a frame, (T,R,…)"])
            continue
        what = f"`{row.name.rpartition('/')[2]}` {_shape(row.shape)} {_SHORT.get(row.dtype, row.dtype)}"
        groups.setdefault(group, []).append(what + (f" {row.unit}" if row.unit not in ("", "code") else ""))
    cells = [(", ".join(map(code, group.split(", "))), " · ".join(rows)) for group, rows in groups.items()]
    mesh = " · ".join(
        f"`{name}` {_shape(row.shape)} {_SHORT.get(row.dtype, row.dtype)}" for name, row in MESH_ROWS.items()
    )
    cells.append(("`objects/NUMBER`", mesh))
    cells.append(("`segments`", "a row per segment: range, status, scale, seam residual, seconds per stage"))
    return table(("group", "datasets: shape, type, unit"), cells)


def attributes() -> str:
    known = {**schema.ATTRIBUTES, **schema.EXTRA_ATTRIBUTES}
    return table(
        ("attribute", "type", "meaning"), [(code(name), kind.__name__, text) for name, (kind, text) in known.items()]
    )


def segment_columns() -> str:
    rows = [(code(name), kind, text) for name, (kind, text) in schema.segment_columns().items()]
    seconds = (f"`{schema.SECONDS_PREFIX}<slot>`", "float32", "seconds of work of each stage")
    return table(("column", "type", "meaning"), [*rows, seconds])


def index_columns() -> str:
    rows = [(code(name), kind, text) for name, (kind, text) in schema.INDEX_COLUMNS.items()]
    return table(("column", "type", "meaning"), rows)


def pipeline_keys() -> str:
    """The keys of a pipeline file: its own, of `segment`, and of a stage."""
    own = {name: row for name, row in Pipeline.model_fields.items() if row.description}
    parts = [
        ("Of the pipeline", own),
        ("Of `segment`", SegmentSpec.model_fields),
        ("Of each of `stages`", StageSpec.model_fields),
    ]
    return "\n".join(f"{title}:\n\n{_keys(rows)}\n" for title, rows in parts)


def _keys(rows: Mapping[str, Any]) -> str:
    cells = []
    for name, row in rows.items():
        default = "" if row.is_required() else row.get_default(call_default_factory=True)
        shown = "required" if row.is_required() else "none" if default is None else _value(default)
        cells.append((code(name), shown, row.description))
    return table(("key", "default", "meaning"), cells)


def pipelines() -> str:
    """Every pipeline of configs/pipelines: its stages, and the parameters of each backend, once for the same values."""
    parts: list[str] = []
    shown: dict[str, str] = {}  # a stage with its parameters -> the heading under which they stand
    for path in sorted(resources.folder("configs/pipelines").glob("*.yaml")):
        pipe = Pipeline.load(path)
        parts.append(f"## The pipeline `{path.stem}`\n\n{pipe.description}. Segments of {pipe.segment.size} frames, ")
        parts[-1] += f"of which neighbours share {pipe.segment.overlap}.\n"
        cells = [
            (code(spec.slot), code(spec.backend), code(spec.env or ""), _gpus(spec), "yes" if spec.optional else "")
            for spec in pipe.stages
        ]
        parts.append(table(("slot", "backend", "environment", "GPU", "optional"), cells) + "\n")
        for spec in pipe.stages:
            heading, body = f"`{spec.slot}` in `{path.stem}`: `{spec.backend}`", _stage(spec, pipe)
            if body not in shown:
                shown[body] = heading
                parts.append(f"### {heading}\n\n{body}")
            else:
                parts.append(f"- `{spec.slot}` as in {_link(shown[body])}.\n")
    return "\n".join(parts).replace(").\n\n- ", ").\n- ")  # what follows each other is one list


def _link(heading: str) -> str:
    """A link to a heading of the same page."""
    pipeline = heading.partition(":")[0].partition(" in ")[2]
    anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    return f"[{pipeline}](#{anchor})"


def _gpus(spec: StageSpec) -> str:
    return "" if spec.num_gpus == 0 else str(spec.num_gpus)


def _stage(spec: StageSpec, pipe: Pipeline) -> str:
    """One stage of a pipeline: what it is, and its parameters with the values they have there."""
    rows = [row for row in settings_of_pipeline(pipe) if row.group == spec.slot]
    cells = [(code(row.setting.partition(".")[2]), row.kind, _value(row.value), row.meaning) for row in rows]
    about = (spec.stage_class().__doc__ or "").split("\n\n")[0].replace("\n", " ")
    text = f"{' '.join(about.split())}\n"
    return text + ("\n" + table(("parameter", "type", "value", "meaning"), cells) + "\n" if cells else "")


def _value(value: Any) -> str:
    """A default as one would write it in YAML."""
    if value is None or value == "":
        return ""
    return code(str(value).lower() if isinstance(value, bool) else str(value))


def models() -> str:
    """What `models.yaml` says of every backend."""
    cells = [
        (code(name), row.licence, "yes" if row.commercial else "no", _weights_word(row), row.memory, row.source)
        for name, row in load_models().items()
    ]
    return table(("backend", "licence", "commercial use", "weights", "memory", "source"), cells)


def models_summary() -> str:
    """The same in short, for the README."""
    on_gpus = {spec.backend for pipe in _all_pipelines() for spec in pipe.stages if spec.num_gpus}
    slots: dict[str, tuple[list[str], list[str]]] = {}
    for name, row in load_models().items():
        stage = loading.load(name)
        on_gpu = name in on_gpus or issubclass(stage, TorchStage)
        slots.setdefault(stage.slot, ([], []))[on_gpu].append(code(name) + ("" if row.commercial else " (nc)"))
    cells = [(slot, ", ".join(on_cpu), ", ".join(on_gpu)) for slot, (on_cpu, on_gpu) in slots.items()]
    return table(("slot", "on a CPU", "on a GPU; nc: not for commercial use"), cells)


def _all_pipelines() -> list[Pipeline]:
    return [Pipeline.load(path) for path in sorted(resources.folder("configs/pipelines").glob("*.yaml"))]


def _weights_word(row: Any) -> str:
    return row.weights if isinstance(row.weights, str) else ", ".join(map(code, row.weights))


def weights() -> str:
    """Every weight that is pinned: where it comes from, at which revision."""
    cells = [
        (code(f"{backend}:{name}"), properties(pinned, ()))
        for backend, row in load_models().items()
        if isinstance(row.weights, dict)
        for name, pinned in row.weights.items()
    ]
    return table(("weights", "where they come from"), cells)


def environments() -> str:
    """The files of runtime_envs: what they install, and who runs in them."""
    cells = []
    for row in environment_listing.list_environments():
        users = ", ".join(sorted({f"{user['pipeline']}.{user['slot']}" for user in row["used_by"]}))
        bare = ", ".join(map(code, row["without_dependencies"]))
        cells.append((code(row["environment"]), ", ".join(map(code, row["installs"])), bare, users))
    return table(("environment", "installs", "without dependencies", "used by"), cells)


def exports() -> str:
    cells = [
        (code(name), ", ".join(code(f"{option}={default}") for option, default in form.options.items()))
        for name, form in FORMATS.items()
    ]
    return table(("format", "options"), cells)


def datasets() -> str:
    cells = [
        (code(name), ", ".join(code(f"{option}={default}") for option, default in kind.defaults().items()))
        for name, kind in DATASETS.items()
    ]
    return table(("format", "options"), cells)


def metrics() -> str:
    rows = metric_names.all_metrics()
    cells = [(code(row.series[0].removesuffix("_bucket")), row.kind, ", ".join(row.tags), row.text) for row in rows]
    return table(("metric", "kind", "labels", "meaning"), cells)


def commands() -> str:
    """Every command with its arguments, options and examples."""
    import typer

    from geoflow.cli import app

    return "\n".join(_command(typer.main.get_command(app), "geoflow"))


def _command(command: Any, name: str) -> Iterable[str]:
    if hasattr(command, "commands"):
        for part, below in command.commands.items():
            yield from _command(below, f"{name} {part}")
        return
    usage = " ".join([name, *command.collect_usage_pieces(None)])
    yield f"## {name}\n\n`{usage}`\n\n{' '.join((command.help or '').split())}\n"
    cells = [(code(argument_name(row)), "", row.help or "") for row in command.arguments()]
    cells += [
        (f"{', '.join(map(code, (*row.opts, *row.secondary_opts)))} {code(row.metavar or '')}", _default(row), row.help)
        for row in command.params
        if row.param_type_name == "option" and row.name != "help"
    ]
    if cells:
        yield table(("argument or option", "default", "meaning"), cells) + "\n"
    shown = [line.strip() for line in (command.epilog or "").partition("Examples:\n")[2].splitlines()]
    yield "\n".join(["```", *shown, "```", ""])


def _default(row: Any) -> str:
    if row.required:
        return "required"
    return "" if row.default in (None, False) or callable(row.default) else _value(row.default)


def _shape(symbols: str) -> str:
    return f"({','.join(symbols.split())})"


def install_sizes() -> str:
    """What an install weighs, as `docs/scripts/install_sizes.py` measured it."""
    found = json.loads((ROOT / "benchmarks" / "install_sizes.json").read_text())
    rows = []
    for name, command in (("core", "pip install ."), ("reader", "pip install ./packaging/reader")):
        weighed = found[name]
        heavy = ", ".join(f"{package} {_megabytes(size)}" for package, size in weighed["heavy"].items())
        rows.append((code(command), _megabytes(weighed["bytes"]), f"{weighed['packages']} packages: {heavy}"))
        for extra, size in weighed["extras"].items():
            rows.append((f"`[{extra}]` on top", _megabytes(size), ""))
    said = f"Measured with Python {found['python']} ({found['machine']}) by `python docs/scripts/install_sizes.py`."
    return table(("install", "MB", "of which, in MB"), rows) + f"\n\n{said}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}" if size < 10e6 else f"{size / 1e6:,.0f}"


def scan_findings() -> str:
    """What a scan can find, what that means, and whether it makes a video unfit by default."""
    refused = ScanParams().refuse
    rows = [(code(kind), said, "yes" if kind in refused else "no") for kind, said in fitness.MEANING.items()]
    return table(("finding", "what it means for the pipeline", "unfit by default"), rows)


def scan_parameters() -> str:
    """What `--fit` can set."""
    rows = []
    for row in dataclasses.fields(ScanParams):
        default = ", ".join(row.default) if isinstance(row.default, tuple) else str(row.default)
        rows.append((code(row.name), code(default), row.metadata["help"]))
    return table(("parameter", "default", "meaning"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "attributes": attributes,
    "commands": commands,
    "datasets": datasets,
    "environments": environments,
    "exports": exports,
    "fields": fields,
    "index-columns": index_columns,
    "install-sizes": install_sizes,
    "metrics": metrics,
    "models": models,
    "models-summary": models_summary,
    "pipeline-keys": pipeline_keys,
    "pipelines": pipelines,
    "scan-findings": scan_findings,
    "scan-parameters": scan_parameters,
    "segment-columns": segment_columns,
    "store": store,
    "store-summary": store_summary,
    "weights": weights,
}
