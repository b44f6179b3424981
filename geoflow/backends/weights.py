"""Weights of the models: files of the Hugging Face hub at a pinned revision, in the hub's own cache or a folder.

`configs/models.yaml` pins them. Every function here runs in any model's environment: only downloading needs more than
the standard library and yaml, namely huggingface_hub, which the environments of such models have.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import socket
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geoflow.errors import ConfigError
from geoflow.files import resources
from geoflow.values.yaml_text import parse_yaml

_SUFFIXES = (".safetensors", ".pt", ".pth")
_ANSWER_S = 3.0  # for the hub to answer
_READ = 16 << 20  # bytes at a time


@dataclass(frozen=True)
class HubFiles:
    """Some files of a repository of the hub."""

    repo: str
    revision: str  # commit
    files: dict[str, str | None] = field(default_factory=dict)  # path in the repository -> SHA-256 where it is known

    @property
    def folder(self) -> Path:
        """Where the hub's cache has this revision, or will have it."""
        return hub_cache() / f"models--{self.repo.replace('/', '--')}" / "snapshots" / self.revision

    @property
    def missing(self) -> list[str]:
        """Files that the cache lacks."""
        return [name for name in self.files if not (self.folder / name).is_file()]

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision[:8]}"


def hub_cache() -> Path:
    """The hub's cache on this machine, as huggingface_hub settles it."""
    env = os.environ
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name):
            return Path(env[name]).expanduser()
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(home).expanduser() / "hub"


def pinned(backend: str) -> dict[str, HubFiles]:
    """What models.yaml pins for a backend, by name; {} when it needs nothing of the hub."""
    path = resources.folder("configs") / "models.yaml"
    weights = parse(path.read_bytes()).get(backend, {}).get("weights")
    return {name: HubFiles(**row) for name, row in weights.items()} if isinstance(weights, dict) else {}


def pin(backend: str, name: str, known: Mapping[str, HubFiles] | None = None) -> HubFiles:
    """The files that a backend calls `name`; `known` is what models.yaml pins for it, where that has been read.

    Raises ConfigError when models.yaml pins no such files.
    """
    there = pinned(backend) if known is None else known
    if name not in there:
        has = f"it has {', '.join(there)}" if there else "it pins none for this backend"
        raise ConfigError(
            f"{backend} needs the weights {name!r}, which configs/models.yaml does not pin ({has}); add them to "
            f"`weights` of the entry {backend!r} there, or give the stage a folder of your own"
        )
    return there[name]


@functools.lru_cache(maxsize=1)  # parsing takes 13 to 25 ms, and every stage's signature asks
def parse(text: bytes) -> dict[str, Any]:
    """The text of models.yaml as plain values, not to be changed. Raises ConfigError when it cannot be read."""
    found = parse_yaml(text, "configs/models.yaml") or {}
    if not isinstance(found, dict):
        raise ConfigError(f"configs/models.yaml should hold a mapping of backends, found {type(found).__name__}")
    return found


def locate(backend: str, name: str, own: str = "") -> Path:
    """The folder with the files a backend calls `name`: the user's `own`, else the hub's cache, filled if need be.

    Raises ConfigError that names what is missing and how to get it.
    """
    if own:
        return _own_folder(own)
    wanted = pin(backend, name)
    if wanted.missing:
        fetch(wanted)
    return wanted.folder


def fetch(wanted: HubFiles) -> None:
    """Download what the cache lacks; several processes of a node may ask at the same time, one does it.

    Raises ConfigError when that cannot be.
    """
    if offline():
        raise ConfigError(f"{_lack(wanted)}, and HF_HUB_OFFLINE forbids to fetch it")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(
            f'{_lack(wanted)}; `pip install "geoflow-video[hub]"`, then `geoflow models fetch`, gets it'
        ) from None
    try:
        snapshot_download(wanted.repo, revision=wanted.revision, allow_patterns=list(wanted.files))
    except Exception as error:  # of the hub and of whatever it uses to reach it, which differs between its versions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{_lack(wanted)}, and it cannot be fetched: {reason}") from error
    if wanted.missing:
        raise ConfigError(f"{wanted.repo} has no {', '.join(wanted.missing)} at revision {wanted.revision}")


def problems(backend: str, needs: Mapping[str, str], *, deep: bool = False, but_missing: bool = False) -> list[str]:
    """What is wrong with the weights that a backend needs, without fetching any: a line for each file.

    `needs` is that of `Stage.weights`. A file must be whole; with `deep` its content must have the SHA-256 that
    models.yaml states, or that the hub's cache has it under. `but_missing` passes over files that can be fetched.
    """
    found = []
    for name, own in needs.items():
        if own:
            found += _own_problems(own)
            continue
        wanted = pin(backend, name)
        if wanted.missing and not but_missing:
            found.append(f"{_lack(wanted)}; `geoflow models fetch {backend}` gets it")
        for file, digest in wanted.files.items():
            path = wanted.folder / file
            if path.is_file() and (wrong := _wrong(path, digest, deep)):
                found.append(f"{path}: {wrong}; remove it and fetch it again")
    return found


def must_fetch(backend: str, needs: Mapping[str, str]) -> list[HubFiles]:
    """What of these is not in the cache yet."""
    return [wanted for name, own in needs.items() if not own and (wanted := pin(backend, name)).missing]


def offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_answers() -> bool:
    """Whether the hub can be reached from here."""
    if offline():
        return False
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    host, port = (hub.hostname, hub.port or (80 if hub.scheme == "http" else 443))
    if proxy and (through := urlsplit(proxy)).hostname:
        host, port = through.hostname, through.port or 80
    try:
        with socket.create_connection((host or "", port), _ANSWER_S):
            return True
    except OSError:
        return False


def _lack(wanted: HubFiles) -> str:
    return f"{wanted.repo} at revision {wanted.revision} lacks {', '.join(wanted.missing)} in {hub_cache()}"


def _own_folder(own: str) -> Path:
    folder = Path(own).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{folder} should be a folder of weights, laid out as on the hub; there is none")
    return folder


def _own_problems(own: str) -> list[str]:
    try:
        files = sorted(_weights_in(_own_folder(own)))
    except ConfigError as error:
        return [str(error)]
    if not files:
        return [f"{own} holds no weights ({', '.join(_SUFFIXES)})"]
    return [f"{path}: {wrong}" for path in files if (wrong := _wrong(path, None, False))]


def _weights_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())


def _wrong(path: Path, digest: str | None, deep: bool) -> str:
    """What is wrong with a file, "" if nothing is."""
    if path.suffix == ".safetensors" and (wrong := _torn_safetensors(path)):
        return wrong
    if path.suffix in (".pt", ".pth") and not zipfile.is_zipfile(path):
        return f"{path.stat().st_size} bytes that are no checkpoint of torch, or not all of one"
    if deep and (expected := digest or _name_in_cache(path)) and (found := _sha256(path)) != expected:
        return f"its SHA-256 is {found[:12]}…, expected {expected[:12]}…"
    return ""


def _torn_safetensors(path: Path) -> str:
    """The header of the format says how long the file is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            return f"{size} bytes that are no safetensors, or not all of one"
        try:
            header = json.loads(file.read(length))
            ends = [row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "its header is no safetensors header"
    wanted = 8 + length + max(ends, default=0)
    return "" if size == wanted else f"{size} bytes, where its header speaks of {wanted}"


def _name_in_cache(path: Path) -> str | None:
    """The hub's cache names large files by their SHA-256."""
    name = path.resolve().name
    return name if len(name) == 64 and path.is_symlink() else None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()
