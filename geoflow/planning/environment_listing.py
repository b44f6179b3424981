"""`geoflow envs`: the environments, the stages that use them, and what they install."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoflow.environments import bare_packages, checking, interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.files import resources
from geoflow.pipeline import Pipeline
from geoflow.planning.environment_building import Built
from geoflow.values.listing import render_entries


def names() -> list[str]:
    """Return the names of all files of runtime_envs/, without suffix."""
    return sorted(path.stem for path in resources.folder("runtime_envs").glob("*.yaml"))


def users() -> dict[str, list[dict[str, Any]]]:
    """Return the stages of all pipelines in configs/pipelines/ by the environment that they use."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(resources.folder("configs/pipelines").glob("*.yaml")):
        for spec in Pipeline.load(path).stages:
            if spec.env:
                row = {"pipeline": path.stem, "slot": spec.slot, "backend": spec.backend, "optional": spec.optional}
                found.setdefault(spec.env, []).append(row)
    return found


def list_environments() -> list[dict[str, Any]]:
    """Return a row per environment. Raises ConfigError if the file of an environment or a pipeline cannot be read."""
    wanted = users()
    return [_row(name, wanted.get(name, [])) for name in names()]


def _row(name: str, used_by: list[dict[str, Any]]) -> dict[str, Any]:
    env = load_runtime_env(name)
    for_ray, bare = bare_packages.split(env)
    foreign = interpreter.wanted(env)
    return {
        "environment": name,
        "interpreter": "" if foreign is None else str(foreign),
        "file": str(resources.find_yaml("runtime_envs", name)),
        "used_by": used_by,
        "installs": checking.packages(env),
        "without_dependencies": bare,
        "other": sorted(set(for_ray) - {"pip", "uv"}),
    }


def check_environments(wanted: Sequence[str]) -> dict[str, list[str]]:
    """Return the problems of each of these environments by name; [] checks all.

    Raises ConfigError if one has no file.
    """
    return {name: checking.problems(name) for name in wanted or names()}


def backends_of(name: str) -> list[str]:
    """Return the backends that pipelines run in this environment."""
    return list(dict.fromkeys(row["backend"] for row in users().get(name, [])))


def render_environments(rows: list[dict[str, Any]]) -> Any:
    """Show `list_environments` on the console."""
    return render_entries(
        (
            row["environment"],
            {
                "used by": ", ".join(
                    f"{user['backend']} ({user['pipeline']}.{user['slot']})" for user in row["used_by"]
                ),
                "runs in": row["interpreter"],
                "installs": ", ".join(row["installs"]),
                "without dependencies": ", ".join(row["without_dependencies"]),
                "sets": ", ".join(row["other"]),
            },
        )
        for row in rows
    )


def render_built(built: Built) -> str:
    """Describe in a sentence what was built."""
    done = "loaded" if built.loaded else "imported"
    stages = f"{', '.join(built.backends)} {done}" if built.backends else "nothing to import: no pipeline uses it"
    return (
        f"{built.environment}: built in {built.seconds:.1f} s, {built.own_bytes / 1e6:.0f} MB of its own "
        f"({built.bytes / 1e6:.0f} MB on disk), Python {built.python}; {stages}"
    )
