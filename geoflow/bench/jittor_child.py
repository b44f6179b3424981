"""A process of `geoflow bench jittor`, in the environment with Jittor: it starts, and runs the smallest networks.

Prints one line of JSON on stdout. Arguments: `import`, or `networks` and the number of passes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main(what: str, passes: int = 0) -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from geoflow.models.geometrycrafter_jittor import compiling

    began = time.monotonic()
    compiling.import_jittor("cpu", threads=1)
    found: dict[str, Any] = {"import_seconds": time.monotonic() - began, "jittor": compiling.describe()}
    if what == "networks":
        from geoflow.models.geometrycrafter_jittor.warming import compile_kernels

        clocks = []
        for _ in range(passes):
            wall, cpu = time.monotonic(), time.process_time()
            made = compile_kernels(compiling.cache_home(), "diff")
            clocks.append(
                {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu, "kernels": made}
            )
        found["passes"] = clocks
    found["core_files"] = compiling.compiled_files(compiling.cache_home(), "*.o")
    print(json.dumps(found), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
