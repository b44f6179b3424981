"""The Hugging Face hub: the place of its cache, whether it answers, and fetching files at a pinned revision."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from geoflow.backends.sources import Source, answers
from geoflow.errors import ConfigError


@dataclass(frozen=True)
class HubFiles(Source):
    """Some files of a repository of the hub, at one commit."""

    repo: str
    revision: str  # commit
    kind: Literal["model", "space", "dataset"] = "model"

    fetchable: ClassVar[bool] = True

    @property
    def folder(self) -> Path:
        """Return the folder of this revision in the hub's cache; it may not exist yet."""
        return hub_cache() / f"{self.kind}s--{self.repo.replace('/', '--')}" / "snapshots" / self.revision

    @property
    def identity(self) -> str:
        return f"{self._name}@{self.revision}"

    @property
    def lack(self) -> str:
        return f"{self._name} at revision {self.revision} lacks {', '.join(self.missing)} in {hub_cache()}"

    @property
    def server(self) -> str:
        return "" if offline() else _endpoint()

    def fetch(self) -> None:
        """Download files that the cache lacks. If several processes of a node call this at once, one downloads."""
        if offline():
            raise ConfigError(f"{self.lack}, and HF_HUB_OFFLINE forbids fetching")
        try:
            from huggingface_hub import snapshot_download
        except ImportError:
            raise ConfigError(
                f'{self.lack}; `pip install "geoflow-video[hub]"`, then `geoflow models fetch`, gets it'
            ) from None
        try:
            snapshot_download(self.repo, repo_type=self.kind, revision=self.revision, allow_patterns=list(self.files))
        except Exception as error:  # of the hub and of its network libraries, which differ between its versions
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{self.lack}, and it cannot be fetched: {reason}") from error
        if self.missing:
            raise ConfigError(f"{self._name} has no {', '.join(self.missing)} at revision {self.revision}")

    @property
    def _name(self) -> str:
        return self.repo if self.kind == "model" else f"{self.kind}s/{self.repo}"

    def __str__(self) -> str:
        return f"{self._name}@{self.revision[:8]}"


def hub_cache() -> Path:
    """Return the hub's cache folder on this machine, as huggingface_hub chooses it."""
    env = os.environ
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name):
            return Path(env[name]).expanduser()
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(home).expanduser() / "hub"


def offline() -> bool:
    """Return whether the environment forbids contacting the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_answers() -> bool:
    """Return whether the hub can be reached from here."""
    return not offline() and answers(_endpoint())


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
