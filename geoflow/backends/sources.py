"""Sources of weights besides the hub: a pinned URL, or files that only the user can get.

Every source says where its files are on this machine, which files are missing, and how to get them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from geoflow.errors import ConfigError
from geoflow.files.hashing import sha256_of
from geoflow.files.resources import cache_folder

_ANSWER_S = 3.0  # for a server to answer
_SILENT_S = 60.0  # without a byte, after which a download is abandoned
_READ = 1 << 20  # bytes at a time


@dataclass(frozen=True)
class Source:
    """Files of weights in one folder of this machine, which may not be there yet."""

    files: dict[str, str | None]  # path below `folder` -> SHA-256, if known

    fetchable: ClassVar[bool] = False

    @property
    def folder(self) -> Path:
        """Return the folder of the files."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Return a text that differs for other content; keys and stores hold it."""
        raise NotImplementedError

    @property
    def lack(self) -> str:
        """Return the start of a sentence that names the missing files and their folder."""
        raise NotImplementedError

    @property
    def missing(self) -> list[str]:
        """Return the files that are not on this machine."""
        return [name for name in self.files if not (self.folder / name).is_file()]

    @property
    def server(self) -> str:
        """Return the address of the server that has the files; "" if there is none."""
        return ""

    def remedy(self, backend: str) -> str:
        """Return what the user can do about missing files."""
        return f"`geoflow models fetch {backend}` gets it"

    def fetch(self) -> None:
        """Download missing files. Raises ConfigError if that fails."""
        raise NotImplementedError


@dataclass(frozen=True)
class UrlFile(Source):
    """One file behind a URL, kept in a folder named by its SHA-256: other content has another folder."""

    url: str

    fetchable: ClassVar[bool] = True

    @property
    def folder(self) -> Path:
        return weights_cache() / "url" / self._sha256[:32]

    @property
    def identity(self) -> str:
        return f"{self.url}@sha256:{self._sha256}"

    @property
    def lack(self) -> str:
        return f"{self._name} of {self.url} is not in {self.folder}"

    @property
    def server(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def fetch(self) -> None:
        """Download the file under a temporary name, and rename it if its SHA-256 is right.

        If several processes of a node call this at once, one downloads and the others wait.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.folder / ".lock"):
                if self.missing:
                    self._download()
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ConfigError(f"{self.lack}, and it cannot be fetched: {reason}") from error

    def _download(self) -> None:
        for left in self.folder.glob("*.part"):  # of a process that was killed: no other process writes here now
            left.unlink()
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as draft:
            try:
                with urllib.request.urlopen(self.url, timeout=_SILENT_S) as answer:
                    while block := answer.read(_READ):
                        digest.update(block)
                        draft.write(block)
                if digest.hexdigest() != self._sha256:
                    raise ConfigError(
                        f"{self.url} has the SHA-256 {digest.hexdigest()[:12]}…, expected {self._sha256[:12]}…: the "
                        "file is not the pinned one, or the download was cut short; nothing was kept"
                    )
                draft.flush()
                os.fsync(draft.fileno())
                os.chmod(draft.name, 0o644)  # only its owner can read a temporary file
                os.replace(draft.name, self.folder / self._name)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft.name)
                raise

    @property
    def _name(self) -> str:
        return next(iter(self.files))

    @property
    def _sha256(self) -> str:
        return str(self.files[self._name])

    def __str__(self) -> str:
        return f"{self._name} of {urlsplit(self.url).hostname}"


@dataclass(frozen=True)
class ManualFiles(Source):
    """Files that only the user can get, because each user has to accept a licence."""

    manual: str  # how to get them: where to register, what to download
    place: str  # folder below the cache's `weights`

    @property
    def folder(self) -> Path:
        return weights_cache() / self.place

    @property
    def identity(self) -> str:
        """Return a text made from the files' content, since only the user chooses these files."""
        held = (f"{name}@sha256:{self._digest(name)}" for name in sorted(self.files))
        return f"{self.place}/{','.join(held)}"

    @property
    def lack(self) -> str:
        return f"{', '.join(self.missing or self.files)} should be in {self.folder}"

    def remedy(self, backend: str) -> str:
        return f"GeoFlow cannot fetch it: {self.manual}; then put it there, or give the stage a folder that holds it"

    def fetch(self) -> None:
        raise ConfigError(f"{self.lack}; {self.remedy('')}")

    def _digest(self, name: str) -> str:
        path = self.folder / name
        return sha256_of(path) if path.is_file() else self.files[name] or "absent"

    def __str__(self) -> str:
        return f"{', '.join(self.files)}, from you"


def weights_cache() -> Path:
    """Return the folder of weights that are not from the hub: `weights` in GeoFlow's cache."""
    return cache_folder() / "weights"


def answers(address: str) -> bool:
    """Return whether the server of an address can be reached from here, through a proxy if one is set."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
    if proxy and (through := urlsplit(proxy)).hostname:
        host, port = through.hostname, through.port or 80
    try:
        with socket.create_connection((host, port), _ANSWER_S):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
