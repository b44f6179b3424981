"""Backends by name: the module's path is the registry.

`embedded.colmap` is `actors/embedded/colmap.py`; names that begin with `geoflow.` are modules of the library.
Each such module defines exactly one Stage. `package.module:Class` names a Stage that lives anywhere else.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
import re
import typing
from types import ModuleType
from typing import Any, TypeVar

from geoflow.errors import ConfigError, GeoFlowError
from geoflow.stage import Stage
from geoflow.values.plain import plain

Kind = TypeVar("Kind")

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def load(backend: str) -> type[Stage]:
    """Return the Stage class of a backend. Raises ConfigError if there is none, or more than one."""
    module, class_name = module_of(backend)
    found = [stage for stage in defined_in(module, Stage) if class_name in ("", stage.__name__)]
    if len(found) != 1:
        raise ConfigError(f"{backend!r} should name exactly one Stage, found {len(found)} in {module.__name__}")
    if not dataclasses.is_dataclass(found[0].Params):
        raise ConfigError(f"{backend!r}: its Params should be a dataclass: put @dataclass(frozen=True) before it")
    return found[0]


def name_of(stage: type[Stage]) -> str:
    """Return the name of a Stage class in pipelines; `load` returns the class for the name."""
    module = stage.__module__
    if module.startswith("actors."):
        return module.removeprefix("actors.")
    return module if module.startswith("geoflow.") else f"{module}:{stage.__name__}"


def defined_in(module: ModuleType, base: type[Kind]) -> list[type[Kind]]:
    """Return the subclasses of `base` that a module defines itself."""
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return [value for value in classes if issubclass(value, base) and value.__module__ == module.__name__]


def module_of(backend: str) -> tuple[ModuleType, str]:
    """Return the imported module of a backend, and the class that its name gives after a colon; "" without a colon.

    Raises ConfigError if there is no such module, or it cannot be imported.
    """
    name, elsewhere, class_name = backend.partition(":")
    if not elsewhere and not name.startswith("geoflow."):
        name = f"actors.{name}"
    if not _MODULE.fullmatch(name):
        raise ConfigError(
            f"backend {backend!r} should be a module below actors/, or package.module:Class; there are: "
            f"{', '.join(names())}"
        )
    try:
        return importlib.import_module(name), class_name
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise ConfigError(
                f"backend {backend!r} needs {error.name!r} at import time; import it inside setup() instead"
            ) from error
        if elsewhere:
            raise ConfigError(
                f"backend {backend!r}: Python finds no module {name!r}; install it, put its folder on $PYTHONPATH, or "
                "run in the folder that holds it"
            ) from None
        raise ConfigError(f"unknown backend {backend!r}; there are: {', '.join(names())}") from None
    except Exception as error:  # a module may raise anything when it is imported
        raise ConfigError(f"backend {backend!r} cannot be imported: {type(error).__name__}: {error}") from error


def names() -> list[str]:
    """Return every backend: the modules below `actors` and the library's own stages."""
    below_actors = pkgutil.walk_packages(importlib.import_module("actors").__path__, "actors.")
    own = pkgutil.iter_modules(importlib.import_module("geoflow.stages").__path__, "geoflow.stages.")
    return sorted(
        [m.name.removeprefix("actors.") for m in below_actors if not m.ispkg] + [m.name for m in own if not m.ispkg]
    )


def make_params(stage: type[Stage], values: dict[str, Any], *, slot: str) -> Any:
    """Validate and convert parameter values into the stage's Params.

    Raises ConfigError that names the slot, the parameter, what was expected and what was found.
    """
    from pydantic import ValidationError

    from geoflow.values.validation import first_fault, validated

    declared = dataclasses.fields(stage.Params)
    try:
        valid = validated(_params_model(stage.Params), plain(values, slot))
    except ValidationError as error:
        name, problem, found = first_fault(error)
        if error.errors()[0]["type"] == "extra_forbidden":
            known = ", ".join(row.name for row in declared if not row.metadata.get("bound_by_run")) or "none"
            raise ConfigError(f"{slot}.{name}: no such parameter; {slot} has: {known}") from None
        raise ConfigError(f"{slot}.{name}: {problem}, found {found!r}") from None
    try:
        return stage.Params(**{row.name: getattr(valid, row.name) for row in declared})
    except (GeoFlowError, ValueError) as error:  # from a backend's own check of its parameters
        raise ConfigError(f"{slot}: {error}") from error


@functools.cache  # building a model takes milliseconds, and stages are made again for every fingerprint and graph
def _params_model(params: type) -> Any:
    """Return a pydantic model with the fields of a Params dataclass, and no other fields."""
    from pydantic import ConfigDict, Field, create_model

    from geoflow.values.validation import lenient

    hints = typing.get_type_hints(params)
    fields = {
        row.name: (lenient(hints[row.name]), Field(row.default, **row.metadata.get("limits", {})))
        for row in dataclasses.fields(params)
    }
    return create_model(
        params.__qualname__,
        __config__=ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False),
        **fields,  # type: ignore[call-overload]
    )
