"""Checks of a file of `runtime_envs/`: Ray accepts it, its packages can be read, and it holds no secrets.

What Ray checks itself is left to Ray. But Ray takes unknown keys for options of plug-ins, and does not read the list of
packages for pip.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from typing import Any

from geoflow.environments import bare_packages, interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import ConfigError
from geoflow.files import resources

_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]*@")
_SECRET = re.compile(r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|KEY|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_INSTALLERS = ("pip", "uv")


def problems(name: str) -> list[str]:
    """Return what is wrong with an environment's file, one line each; [] if nothing is.

    Raises ConfigError if there is no such file.
    """
    resources.find_yaml("runtime_envs", name)
    try:
        env = load_runtime_env(name)
    except ConfigError as error:
        return [_in_a_line(error)]
    found = [*interpreter.problems(env), *_bare_problems(env.get(bare_packages.KEY)), *_secrets(env)]
    for_ray, _ = bare_packages.split(env)
    if refused := _ray_says(for_ray):
        return [*found, refused]
    found += _unknown_keys(for_ray)
    return found + [wrong for package in packages(env) if (wrong := _unreadable(package))]


def faults(name: str) -> list[str]:
    """Return those problems that make it impossible to build the environment.

    An unknown key may belong to a plug-in that only the cluster has. So it counts only if it looks like a misspelt key.
    """
    env = load_runtime_env(name)
    if stated := list(interpreter.problems(env)):
        return stated
    for_ray, _ = bare_packages.split(env)
    if refused := _ray_says(for_ray):
        return [refused]
    unreadable = [wrong for package in packages(env) if (wrong := _unreadable(package))]
    return [*(line for line in _unknown_keys(for_ray) if line.endswith("meant?")), *unreadable]


def packages(env: dict[str, Any]) -> list[str]:
    """Return the packages for pip, uv or an interpreter as written in the file: a list, a mapping or a requirements
    file."""
    rows: list[str] = []
    for installer in _INSTALLERS:
        wanted = env.get(installer) or []
        if isinstance(wanted, dict):
            wanted = wanted.get("packages") or []
        if isinstance(wanted, str):
            with open(wanted, encoding="utf-8") as file:
                wanted = file.read().splitlines()
        rows += [line.strip() for line in wanted]
    own = env.get(interpreter.KEY)
    if isinstance(own, dict) and isinstance(own.get("packages"), list):
        rows += [str(line).strip() for line in own["packages"]]
    return [row for row in rows if row and not row.startswith("#")]


def _in_a_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _ray_says(env: dict[str, Any]) -> str:
    """Return Ray's objection, "" if there is none."""
    from ray.runtime_env import RuntimeEnv

    try:
        RuntimeEnv(**env)
    except Exception as error:  # TypeError, ValueError and others
        return f"Ray refuses it: {_in_a_line(error)}"
    return ""


def _unknown_keys(env: dict[str, Any]) -> Iterator[str]:
    from ray.runtime_env import RuntimeEnv, RuntimeEnvConfig

    config = env.get("config")
    rows = [("config.", config, RuntimeEnvConfig.known_fields)] if isinstance(config, dict) else []
    if not os.environ.get("RAY_RUNTIME_ENV_PLUGINS"):  # plug-ins have keys of their own
        rows.append(("", env, {key for key in RuntimeEnv.known_fields if not key.startswith("_")}))
    for where, mapping, known in rows:
        for key in sorted(set(mapping) - set(known)):
            near = difflib.get_close_matches(key, [*known, bare_packages.KEY, interpreter.KEY], 1)
            yield f"{where}{key} is not an option of Ray" + (f"; is {where}{near[0]} meant?" if near else "")


def _bare_problems(wanted: Any) -> Iterator[str]:
    """Yield the problems of bare packages.

    They are installed once and kept by name, so the name must give one version.
    """
    from packaging.requirements import Requirement

    if wanted is not None and not (isinstance(wanted, list) and all(isinstance(row, str) for row in wanted)):
        yield f"{bare_packages.KEY} should be a list of packages, found {wanted!r:.80}"
        return
    for package in wanted or []:
        if wrong := _unreadable(package):
            yield wrong
        elif not _is_place(package) and not (parsed := Requirement(package)).url and not _is_pinned(parsed):
            yield (
                f"{package}: a package installed {bare_packages.KEY} is kept for later runs; "
                f"pin it, such as {parsed.name}==1.0"
            )


def _is_pinned(requirement: Any) -> bool:
    return any(pin.operator in ("==", "===") and "*" not in pin.version for pin in requirement.specifier)


def _is_place(package: str) -> bool:
    """Return whether a package is a path or an address, which pip takes as it is."""
    return "/" in package and " @ " not in package


def _unreadable(package: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    if package.startswith("-") or _is_place(package):
        return ""
    try:
        Requirement(package)
    except InvalidRequirement as error:
        return f"{package} is not a requirement that pip can read: {str(error).splitlines()[0]}"
    return ""


def _secrets(env: dict[str, Any]) -> Iterator[str]:
    """Yield the secrets in an environment: Ray shows environments on its dashboard and in its logs."""
    if _PASSWORD.search(str(env)):
        yield "an address holds a password, which Ray would show; put it into pip's own configuration instead"
    variables = env.get("env_vars")
    for name in variables if isinstance(variables, dict) else ():
        if _SECRET.search(str(name)):
            yield f"env_vars.{name} looks like a secret, which Ray would show; set it on the machines instead"
