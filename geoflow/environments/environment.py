"""A stage's environment: read `runtime_envs/*.yaml`, and explain in a few lines why one could not be built."""

from __future__ import annotations

import re
import sys
from typing import Any

from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.values.yaml_text import read_yaml

_MAX_LINES, _MAX_WIDTH = 6, 240

# Messages of pip, Ray and the import system, and the package that each blames; the first match names the package at
# fault.
_CULPRITS = (
    re.compile(r"No matching distribution found for (?P<package>[^\s(;]+)"),
    re.compile(r"satisfies the requirement (?P<package>[^\s(;]+)"),
    re.compile(r"(?:Failed building wheel for|Failed to build) (?P<package>[\w.\-]+)"),
    re.compile(r"Cannot install (?P<package>[^\s,;]+)"),
    re.compile(r"^\s*(?P<package>[\w.\-]+) \S+ (?:has requirement|requires) ", re.MULTILINE),
    re.compile(r"No module named '(?P<package>\w+)"),
    re.compile(r"ImportError: (?P<package>[\w.\-]+) requires "),
)
# Lines that carry the reason; the tracebacks around them are the installer's own.
_TELLING = re.compile(
    r"\s*(?:ERROR:|error:|fatal |\w*Error: |WARNING: Retrying|.*\[Errno \d+\]|.* has requirement |.*timeout of \d+ sec)"
)
_NOISE = re.compile(r"Ignored the following|SubprocessCalledProcessError|See above for output|subprocess-exited")


def load_runtime_env(name: str) -> dict[str, Any]:
    """Return the Ray runtime environment of `runtime_envs/<name>.yaml`, or of a YAML file given by its path.

    Raises ConfigError if there is no such file, or it does not hold a mapping.
    """
    path = resources.find_yaml("runtime_envs", name)
    env = read_yaml(path)
    if not isinstance(env, dict) or not all(isinstance(key, str) for key in env):
        raise ConfigError(f"{path} should hold a mapping, one of Ray's runtime_env options per key, found {env!r:.80}")
    return env


def explain_failure(error: BaseException | str, name: str, *, python: str = "") -> str:
    """Explain why environment `name` cannot be used: the package at fault, the lines that matter, what to do next.

    `error` is Ray's RuntimeEnvSetupError (whose text holds two tracebacks and the last 50 lines of pip), an exception
    that a stage raised when it was loaded, or the text of either. `python` is the environment's, such as Python 3.11;
    by default this one.
    """
    text = _without_credentials(str(error))
    lines = _telling_lines(text)
    match = next((found for pattern in _CULPRITS if (found := pattern.search(text))), None)
    package = match["package"].rstrip(".,:'\"") if match else None
    head = f"environment {name!r} cannot be built"
    if package:
        head += f": {package} is at fault"
    return "\n".join([head, *(f"  | {line}" for line in lines), f"  {_advice(text, package, name, python)}"])


def _telling_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.match(line) and not _NOISE.search(line)]
    chosen = list(dict.fromkeys(telling or lines[-2:]))[-_MAX_LINES:]
    return [line if len(line) <= _MAX_WIDTH else f"{line[:_MAX_WIDTH]} …" for line in chosen]


def _advice(text: str, package: str | None, name: str, python: str) -> str:
    file = name if name.endswith((".yaml", ".yml")) else f"runtime_envs/{name}.yaml"
    python = python or f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if "[Errno 28]" in text or "No space left" in text:
        return "free disk space where Ray keeps its sessions (/tmp/ray by default), then run again"
    if "(from versions: none)" in text:
        return (
            f"check that this machine reaches the package index: `pip download --no-deps {package}`; "
            f"if it does, the index has no file of this package for {python} on this platform"
        )
    if "(from versions:" in text:
        return f"the index lacks the version that {file} asks for, or has none for {python}"
    if "timeout of" in text:
        return "it took longer than config.setup_timeout_seconds; raise it in the YAML, or fill pip's cache first"
    if "No module named" in text:
        return f"add the package to {file}"
    return f"see {file}, and runtime_env_setup-*.log among Ray's logs for all of pip's output"


def _without_credentials(text: str) -> str:
    """Remove user and password from index URLs: they must not reach a report."""
    return re.sub(r"(?<=://)[^/\s@]+@", "", text)
