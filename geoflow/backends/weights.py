"""Weights of models on this machine: found, fetched if needed, and checked before work starts.

`configs/models.yaml` pins them (`geoflow.backends.pins`). Every function here runs in any model's environment and
needs only the standard library and yaml. Downloading from the hub also needs huggingface_hub, which the environments
of models from the hub have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from geoflow.backends import weight_files
from geoflow.backends.pins import pin, pinned
from geoflow.backends.sources import ManualFiles, Source, answers
from geoflow.errors import ConfigError

Excuse = Callable[[Source], bool]

_known: dict[tuple[str, str, str], Path] = {}  # what another process has located


def locate(backend: str, name: str, own: str = "") -> Path:
    """Return the folder with the files that a backend calls `name`: the user's `own` folder, or the pinned files'
    folder.

    Missing files are fetched if possible. Raises ConfigError that names missing files and how to get them.
    """
    if (known := _known.get((backend, name, own))) is not None:
        return known
    if own:
        return _own_folder(own)
    wanted = pin(backend, name)
    if wanted.missing:
        wanted.fetch()
    return wanted.folder


def know(located: Mapping[tuple[str, str, str], Path]) -> None:
    """Let `locate` return these folders, by its arguments. Another process found them, whose Python has yaml."""
    _known.update(located)


def problems(
    backend: str, needs: Mapping[str, str], *, deep: bool = False, excuse: Excuse = lambda source: False
) -> list[str]:
    """Return what is wrong with the weights that a backend needs, one line per file; nothing is fetched.

    `needs` is the result of `Stage.weights`. A file must be complete. With `deep`, its SHA-256 must be the one in
    models.yaml, or the file's name in the hub's cache. Files that only the user can get are always checked for it.
    `excuse` says for which sources files may be missing; it is called only for sources that can be fetched.
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
    """Return the sources that can be fetched and are not on this machine yet."""
    wanted = [pin(backend, name) for name, own in needs.items() if not own]
    return [source for source in wanted if source.fetchable and source.missing]


def within_reach(wanted: Iterable[Source]) -> Excuse:
    """Contact the servers of these sources, each once. Return a function: whether a source's server has answered."""
    there = {server for server in {source.server for source in wanted} if server and answers(server)}
    return lambda source: source.server in there


def _own_folder(own: str) -> Path:
    folder = Path(own).expanduser()
    if folder.is_file():
        raise ConfigError(f"{folder} should be a folder of weights, found a file; give the folder that holds it")
    if not folder.is_dir():
        raise ConfigError(f"{folder} should be a folder of weights as in models.yaml; there is no such folder")
    return folder


def _own_problems(own: str, known: Source | None) -> list[str]:
    """Return problems of a user's own folder. It may hold other weights than models.yaml pins, but must not be
    empty."""
    try:
        folder = _own_folder(own)
    except ConfigError as error:
        return [str(error)]
    if isinstance(known, ManualFiles):  # exactly these files
        lacking = [f"{folder} lacks {name}: {known.manual}" for name in known.files if not (folder / name).is_file()]
        held = [(folder / name, digest) for name, digest in known.files.items() if (folder / name).is_file()]
        faults = [(path, weight_files.fault(path, digest, deep=True)) for path, digest in held]
        return lacking + [f"{path}: {line}" for path, line in faults if line]
    files = sorted(weight_files.weights_in(folder))
    if not files:
        return [f"{own} holds no weights ({', '.join(weight_files.SUFFIXES)})"]
    return [f"{path}: {wrong}" for path in files if (wrong := weight_files.fault(path, None, deep=False))]
