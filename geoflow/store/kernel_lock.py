"""A lock that the kernel holds for a process and frees when it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

# File systems of one machine: no other kernel writes there.
_LOCAL = frozenset(
    ("bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "ntfs", "ntfs3", "overlay")
    + ("ramfs", "reiserfs", "tmpfs", "vfat", "xfs", "zfs")
)
_TRIES = 100  # to open a lock file that its last holder may be deleting
_held: set[int] = set()


def _forget_in_child() -> None:
    """Close the locks in a child process, which may outlive this one."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_forget_in_child)


class KernelLock:
    """A `flock` on a file in which the holder writes its name.

    `before` is what the last holder wrote, if that holder was killed. `works` is False on a file system without locks.

    The lock counts for all processes of one machine, also for containers that share the folder. On NFS and most cluster
    file systems it counts for other machines, too, unless they are mounted without locks (`nolock`, `localflock`).
    """

    def __init__(self, path: Path, holder: str) -> None:
        """Take the lock. Raises BlockingIOError if another process, or another thread of this one, holds it."""
        self._path, self.before, self.works = path, "", True
        self._handle = self._open()
        _held.add(self._handle)
        if self.works:
            self.before = os.pread(self._handle, 4096, 0).decode(errors="replace")
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, holder.encode(), 0)

    def _open(self) -> int:
        for _ in range(_TRIES):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:  # the folder was just deleted
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise
            except OSError:  # a file system without locks
                self.works = False
                return handle
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(self._path)):
                    return handle
            os.close(handle)  # its last holder has deleted the file since
        raise BlockingIOError(f"{self._path} is deleted by other processes again and again")

    def free(self) -> None:
        """Release the lock and delete its file."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            self._path.parent.rmdir()
        _held.discard(self._handle)
        os.close(self._handle)


def is_local(path: Path) -> bool:
    """Return whether only this machine's kernel writes to the file system of `path`; False if that is not known."""
    best, kind = "", ""
    try:
        where = os.fspath(path.resolve())
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as rows:
            for row in rows:
                mount, _, rest = row.partition(" - ")
                point = mount.split()[4].encode().decode("unicode_escape")
                if (where + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                    best, kind = point, rest.split()[0]
    except (OSError, IndexError, UnicodeError):
        return False
    return kind in _LOCAL
