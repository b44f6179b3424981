"""Measures what an install weighs, in fresh environments.

    python docs/scripts/install_sizes.py > benchmarks/install_sizes.json

The core and the reader are installed as users do it, with the compiled files that pip makes. For an extra, only the
packages that come on top are installed and counted. Bytes are those of the files, without pip's own.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = ("export", "notebook", "hub", "s3", "gs")
READER_EXTRAS = ("rgb", "runs", "remote")
_HEAVY = 10e6  # bytes; packages below it are summed up

# Run in the new environment: bytes of each distribution's files.
_BY_PACKAGE = """
import importlib.metadata, json, os
sizes = {}
for row in importlib.metadata.distributions():
    paths = {str(row.locate_file(file)) for file in row.files or ()}
    sizes[row.metadata["Name"]] = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
print(json.dumps(sizes))
"""


def measured(home: Path, what: str, extras: tuple[str, ...]) -> dict[str, object]:
    """Install `what` into a new environment; return its bytes, those of heavy packages, and those of each extra."""
    venv.create(home, symlinks=True, with_pip=True)
    python = home / "bin" / "python"
    bare = _sizes(python)
    _pip(python, what)
    sizes = {name: size for name, size in _sizes(python).items() if name not in bare}
    heavy = {name: size for name, size in sorted(sizes.items(), key=lambda row: -row[1]) if size > _HEAVY}
    on_top = {extra: _on_top(python, f"{what}[{extra}]", home / extra) for extra in extras}
    return {"bytes": sum(sizes.values()), "packages": len(sizes), "heavy": heavy, "extras": on_top}


def _on_top(python: Path, what: str, target: Path) -> int:
    """Return the bytes of the packages that `what` needs beyond what is installed."""
    report = json.loads(_pip(python, "--dry-run", "--report", "-", what))
    rows = [row["metadata"] for row in report["install"] if not row["metadata"]["name"].startswith("geoflow")]
    if not rows:
        return 0
    _pip(python, "--no-deps", "--target", str(target), *(f"{row['name']}=={row['version']}" for row in rows))
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _pip(python: Path, *words: str) -> str:
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def _sizes(python: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(
        subprocess.run([python, "-c", _BY_PACKAGE], capture_output=True, text=True).stdout
    )
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="geoflow-sizes-") as folder:
        home = Path(folder)
        found = {
            "python": platform.python_version(),
            "machine": f"{sys.platform} {platform.machine()}",
            "core": measured(home / "core", str(ROOT), EXTRAS),
            "reader": measured(home / "reader", str(ROOT / "packaging" / "reader"), READER_EXTRAS),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
