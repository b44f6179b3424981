"""What the system knows of a process (Linux)."""

from __future__ import annotations


def private_bytes(pid: int) -> int:
    """Anonymous memory of a process, resident or swapped; 0 when it is gone (Linux).

    This is what the process itself has allocated. Private pages as `smaps` counts them would be wrong here: a page
    of the object store that only one process has touched so far counts as private there.
    """
    total = 0
    try:
        with open(f"/proc/{pid}/status") as rows:
            for row in rows:
                if row.startswith(("RssAnon:", "VmSwap:")):
                    total += int(row.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return total
