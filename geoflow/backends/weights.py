"""Weights of the models on this machine: found, fetched if need be, and checked before work starts.

`configs/models.yaml` pins them (`geoflow.backends.pins`). Every function here runs in any model's environment: only
downloading from the hub needs more than the standard library and yaml, namely huggingface_hub, which the environments
of such models have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from geoflow.backends import weight_files
from geoflow.backends.pins import pin, pinned
from geoflow.backends.sources import ManualFiles, Source, answers
from geoflow.errors import ConfigError

Excuse = Callable[[Source], bool]


def locate(backend: str, name: str, own: str = "") -> Path:
    """Return the folder with the files a backend calls `name`: the user's `own`, else where models.yaml has them.

    What can be fetched is fetched. Raises ConfigError that names what is missing and how to get it.
    """
    if own:
        return _own_folder(own)
    wanted = pin(backend, name)
    if wanted.missing:
        wanted.fetch()
    return wanted.folder


def problems(
    backend: str, needs: Mapping[str, str], *, deep: bool = False, excuse: Excuse = lambda source: False
) -> list[str]:
    """Return what is wrong with the weights that a backend needs, a line for each file; nothing is fetched.

    `needs` is that of `Stage.weights`. A file must be whole; with `deep` its content must have the SHA-256 that
    models.yaml states, or that the hub's cache has it under. A file of the user's must always have it. `excuse` says of
    which sources files may be missing, and is asked about those that can be fetched only.
    """
    found = []
    for name, own in needs.items():
        if own:
            found += _own_problems(own, pinned(backend).get(name))
            continue
        wanted = pin(backend, name)
        if wanted.missing and not (wanted.fetchable and excuse(wanted)):
            found.append(f"{wanted.lack}; {wanted.remedy(backend)}")
        again = "fetch it again" if wanted.fetchable else wanted.remedy(backend)
        for file, digest in wanted.files.items():
            path = wanted.folder / file
            check = deep or not wanted.fetchable
            if path.is_file() and (wrong := weight_files.fault(path, digest, deep=check)):
                found.append(f"{path}: {wrong}; remove it and {again}")
    return found


def must_fetch(backend: str, needs: Mapping[str, str]) -> list[Source]:
    """Return what of these can be fetched and is not on this machine yet."""
    wanted = [pin(backend, name) for name, own in needs.items() if not own]
    return [source for source in wanted if source.fetchable and source.missing]


def within_reach(wanted: Iterable[Source]) -> Excuse:
    """Ask the servers of these sources, each once; return what says whether a source's server has answered."""
    there = {server for server in {source.server for source in wanted} if server and answers(server)}
    return lambda source: source.server in there


def _own_folder(own: str) -> Path:
    folder = Path(own).expanduser()
    if folder.is_file():
        raise ConfigError(f"{folder} should be a folder of weights, found a file; give the folder that holds it")
    if not folder.is_dir():
        raise ConfigError(f"{folder} should be a folder of weights, laid out as models.yaml has them; there is none")
    return folder


def _own_problems(own: str, known: Source | None) -> list[str]:
    """Of a folder of the user's; it may hold other weights than those of models.yaml, but not a lack of any."""
    try:
        folder = _own_folder(own)
    except ConfigError as error:
        return [str(error)]
    if isinstance(known, ManualFiles):  # these files and no others
        lacking = [f"{folder} lacks {name}: {known.manual}" for name in known.files if not (folder / name).is_file()]
        held = [(folder / name, digest) for name, digest in known.files.items() if (folder / name).is_file()]
        faults = [(path, weight_files.fault(path, digest, deep=True)) for path, digest in held]
        return lacking + [f"{path}: {line}" for path, line in faults if line]
    files = sorted(weight_files.weights_in(folder))
    if not files:
        return [f"{own} holds no weights ({', '.join(weight_files.SUFFIXES)})"]
    return [f"{path}: {wrong}" for path in files if (wrong := weight_files.fault(path, None, deep=False))]
