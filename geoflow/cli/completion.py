"""What a shell may complete: values of options and arguments. Whatever goes wrong here completes to nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec

import typer

from geoflow.errors import GeoFlowError

if TYPE_CHECKING:
    from geoflow.pipeline import Pipeline

Choices = list[tuple[str, str]]  # what may be typed, and what it means
_Given = ParamSpec("_Given")


def _quiet(choices: Callable[_Given, Iterable[tuple[str, str]]]) -> Callable[_Given, Choices]:
    """Let a completion give nothing where a pipeline named so far cannot be read: a shell would show the error."""

    @functools.wraps(choices)
    def complete(*args: _Given.args, **kwargs: _Given.kwargs) -> Choices:
        try:
            return list(choices(*args, **kwargs))
        except GeoFlowError:
            return []

    return complete


@_quiet
def pipelines(incomplete: str) -> Iterable[tuple[str, str]]:
    from geoflow.files import resources

    found = sorted(path.stem for path in resources.folder("configs/pipelines").glob("*.yaml"))
    return [(name, "") for name in found if name.startswith(incomplete)]


@_quiet
def settings(ctx: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete STAGE.PARAM= of the pipeline that the command line names."""
    from geoflow.planning.parameters import settings_of_pipeline

    rows = settings_of_pipeline(_pipeline(ctx))
    return [(f"{row.setting}=", row.meaning) for row in rows if row.setting.startswith(incomplete)]


@_quiet
def stages(ctx: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete the last of several stages, separated by commas."""
    before, comma, last = incomplete.rpartition(",")
    slots = [spec.slot for spec in _pipeline(ctx).stages]
    return [(f"{before}{comma}{slot}", "") for slot in slots if slot.startswith(last) and slot not in before.split(",")]


@_quiet
def parameters(ctx: typer.Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Complete a pipeline's name, or the name of a stage."""
    slots = [(spec.slot, spec.backend) for spec in _pipeline(ctx).stages]
    known = dict([*pipelines(""), *slots])
    return [(name, about) for name, about in known.items() if name.startswith(incomplete)]


@_quiet
def formats(incomplete: str) -> Iterable[tuple[str, str]]:
    from geoflow.export.dataset.registry import DATASETS
    from geoflow.export.formats import FORMATS

    return [(name, "") for name in dict.fromkeys([*FORMATS, *DATASETS]) if name.startswith(incomplete)]


@_quiet
def backends(incomplete: str) -> Iterable[tuple[str, str]]:
    from geoflow.backends.catalogue import load_models

    return [(name, row.licence) for name, row in load_models().items() if name.startswith(incomplete)]


@_quiet
def environments(incomplete: str) -> Iterable[tuple[str, str]]:
    from geoflow.files import resources

    found = sorted(path.stem for path in resources.folder("runtime_envs").glob("*.yaml"))
    return [(name, "") for name in found if name.startswith(incomplete)]


def _pipeline(ctx: typer.Context) -> Pipeline:
    from geoflow.pipeline import Pipeline

    return Pipeline.load(ctx.params.get("pipeline") or "embedded")
