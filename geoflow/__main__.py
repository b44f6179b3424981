"""`python -m geoflow`: the command line, in a Python that has its packages."""

from __future__ import annotations

import sys

try:
    from geoflow.cli import main
except ModuleNotFoundError as error:
    if (error.name or "geoflow").startswith("geoflow"):
        raise
    print(
        f"geoflow: {sys.executable} has no {error.name}. For a job: start Ray with GeoFlow's environment activated, so "
        "that `python` is its own; or have the packages installed for the job, with `geoflow submit --install`.",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    main()
