"""Facts about this machine that a run depends on. Nothing is started, fetched or written."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoflow.backends import hub, weights
from geoflow.cluster import machine
from geoflow.engine.gpu.nvml import GpuDevice, list_gpus
from geoflow.environments import bare_packages, checking, distribution, interpreter
from geoflow.environments.environment import load_runtime_env
from geoflow.errors import ConfigError
from geoflow.files.resources import cache_folder
from geoflow.pipeline import Pipeline, StageSpec

# Modules with compiled parts, which may be installed and still not load.
_MODULES = ("ray", "numpy", "h5py", "pyarrow", "av", "cv2", "scipy", "pycolmap")


@dataclass(frozen=True)
class Package:
    """A package that GeoFlow requires; `version` is None if it is missing."""

    name: str
    wanted: str  # versions, such as >=2.40
    version: str | None
    fits: bool


@dataclass(frozen=True)
class Folder:
    """A folder that is written to, and the bytes of its disk (or of the nearest folder above that exists)."""

    purpose: str
    path: str
    writable: bool
    total: int
    free: int
    needed: bool = True  # the run cannot work without it


@dataclass(frozen=True)
class StageNeeds:
    """What one stage of the pipeline needs from the machine, and what of this is missing."""

    slot: str
    backend: str
    optional: bool = False
    gpu: bool = False
    env: str | None = None
    env_problems: tuple[str, ...] = ()
    installs: bool = False  # its environment is made with pip
    interpreter: str = ""  # the Python that its environment states, if not Ray's
    lacks_interpreter: str = ""  # why this machine cannot have it
    missing: tuple[str, ...] = ()  # weights that must be fetched from the hub
    elsewhere: tuple[str, ...] = ()  # weights that must be fetched from servers that answer
    broken: tuple[str, ...] = ()  # weights with wrong content


@dataclass(frozen=True)
class Facts:
    """Everything that `checks` judges."""

    pipeline: str
    stages: tuple[StageNeeds, ...]
    system: str  # as sys.platform
    python: tuple[int, int, int]
    requires_python: str  # "" if GeoFlow is not installed as a package
    packages: tuple[Package, ...]
    import_errors: dict[str, str]
    has_pip: bool
    ffmpeg: str  # versions of its libraries inside PyAV
    decoders: frozenset[str]
    encoders: frozenset[str]
    cores: int
    memory: int  # bytes
    shm_free: int
    folders: tuple[Folder, ...]
    gpus: tuple[GpuDevice, ...]
    hub: str  # answers, silent or offline
    ray_address: str
    ray_refusal: str = ""  # why no run can join it


def gather(pipeline: Pipeline) -> Facts:
    """Collect the facts. This takes a few seconds: packages are imported, and the hub is asked."""
    requires_python, packages = _packages()
    import_errors = {name: error for name in _MODULES if (error := _import_error(name))}
    stages = tuple(_needs(spec, with_ray="ray" not in import_errors) for spec in pipeline.stages)
    ffmpeg, decoders, encoders = ("", frozenset(), frozenset()) if "av" in import_errors else _codecs()
    return Facts(
        pipeline=pipeline.name,
        stages=stages,
        system=sys.platform,
        python=sys.version_info[:3],
        requires_python=requires_python,
        packages=packages,
        import_errors=import_errors,
        has_pip=importlib.util.find_spec("pip") is not None,
        ffmpeg=ffmpeg,
        decoders=decoders,
        encoders=encoders,
        cores=machine.cores(),
        memory=machine.memory(),
        shm_free=shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0,
        folders=_folders(stages),
        gpus=tuple(list_gpus()),
        hub="offline" if hub.offline() else "answers" if hub.hub_answers() else "silent",
        ray_address=(address := os.environ.get("RAY_ADDRESS", "")),
        ray_refusal=_refusal(address) if address and "ray" not in import_errors else "",
    )


def _refusal(address: str) -> str:
    from geoflow.cluster import joining

    if address == "local":
        return ""
    try:
        joining.knock(address)
    except ConfigError as error:
        return str(error)
    return ""


def _packages() -> tuple[str, tuple[Package, ...]]:
    found = distribution.demands()
    if found is None:
        return "", ()
    rows = []
    for wanted in found.packages:
        try:
            version: str | None = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        fits = version is not None and wanted.specifier.contains(version, prereleases=True)
        rows.append(Package(wanted.name, str(wanted.specifier), version, fits))
    return found.python, tuple(rows)


def _import_error(name: str) -> str:
    try:
        importlib.import_module(name)
    except Exception as error:  # a missing library, a changed ABI: these may raise anything
        return f"{type(error).__name__}: {error}"
    return ""


def _codecs() -> tuple[str, frozenset[str], frozenset[str]]:
    import av

    def having(mode: Any) -> frozenset[str]:
        return frozenset(name for name in av.codecs_available if _is_codec(name, mode))

    versions = ", ".join(f"{name} {version[0]}" for name, version in sorted(av.library_versions.items()))
    return versions, having("r"), having("w")


def _is_codec(name: str, mode: Any) -> bool:
    import av

    try:
        av.Codec(name, mode)
    except ValueError:  # PyAV's UnknownCodecError is one
        return False
    return True


def _folders(stages: tuple[StageNeeds, ...]) -> tuple[Folder, ...]:
    fetches = any(stage.missing and not stage.optional for stage in stages)
    ray_home = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray"
    return (
        look_at("the current folder", Path.cwd(), needed=False),
        look_at("Ray's sessions", ray_home),
        look_at("GeoFlow's cache", cache_folder(), needed=False),
        look_at("the hub's cache", hub.hub_cache(), needed=fetches),
    )


def look_at(purpose: str, path: Path, *, needed: bool = True) -> Folder:
    """Return the facts of a folder as it is, or as it could be made."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    usage = shutil.disk_usage(there)
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Folder(purpose, str(path), writable, usage.total, usage.free, needed)


def _needs(spec: StageSpec, *, with_ray: bool) -> StageNeeds:
    """Return what a stage needs. `with_ray`: Ray can check the environment."""
    wanted = spec.make_stage().weights()
    missing = weights.must_fetch(spec.backend, wanted)
    from_hub = [source for source in missing if isinstance(source, hub.HubFiles)]
    answered = weights.within_reach(source for source in missing if source not in from_hub)
    env_problems = tuple(checking.problems(spec.env)) if spec.env and with_ray else ()
    env = load_runtime_env(spec.env) if spec.env and not env_problems else {}
    foreign = interpreter.wanted(env)
    return StageNeeds(
        slot=spec.slot,
        backend=spec.backend,
        optional=spec.optional,
        gpu=bool(spec.num_gpus),
        env=spec.env,
        env_problems=env_problems,
        installs="pip" in env or bare_packages.KEY in env,
        interpreter="" if foreign is None else str(foreign),
        lacks_interpreter="" if foreign is None else interpreter.lack(foreign, spec.env or ""),
        missing=tuple(f"{source} lacks {', '.join(source.missing)}" for source in from_hub),
        elsewhere=tuple(source.lack for source in missing if source not in from_hub and answered(source)),
        broken=tuple(
            weights.problems(spec.backend, wanted, excuse=lambda source: source in from_hub or answered(source))
        ),
    )
