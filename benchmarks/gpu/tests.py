"""The `gpu` tests that need no Ray, all `tests/**/test_*_gpu.py`: a JSON line for each, and one with the totals."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Told:
    """Prints how each test ended."""

    def __init__(self) -> None:
        self.count: dict[str, int] = {}
        self._out = os.fdopen(os.dup(1), "w")  # pytest captures the other one

    def say(self, row: dict[str, Any]) -> None:
        print("\n" + json.dumps(row), file=self._out, flush=True)  # pytest leaves its dots on the line

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        row = {"test": report.nodeid.partition("::")[2], "outcome": report.outcome, "seconds": report.duration}
        if report.outcome != "passed":
            row["reason"] = str(report.longrepr)[-1500:]
        elif printed := report.capstdout.strip():
            row["printed"] = printed.splitlines()
        self.count[report.outcome] = self.count.get(report.outcome, 0) + 1
        self.say(row)


def main() -> int:
    files = sorted(str(path) for path in (ROOT / "tests").rglob("test_*_gpu.py"))
    told = Told()
    status = pytest.main(["-m", "gpu", "-p", "no:cacheprovider", *files], plugins=[told])
    told.say({"totals": told.count})
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
