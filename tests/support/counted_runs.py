"""Runs of the counted pipeline that are killed, interrupted and resumed, for tests: drivers, and what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import counting_stages
import h5py
import numpy as np
import pytest
import yaml
from counting_stages import events, hurry_file

import geoflow
from geoflow.observe.ledger import Ledger
from geoflow.pipeline import Pipeline
from geoflow.store.paths import RunPaths
from geoflow.store.verify import verify_run
from geoflow.synth import render_clip

SEGMENTS = 5  # of the clip
Rows = list[dict[str, Any]]


def render(folder: Path) -> Path:
    """A clip of 30 frames."""
    render_clip(folder / "a.mp4", folder / "a.gt.h5", num_frames=30, width=64, height=48)
    return folder / "a.mp4"


def run(clip: Path, folder: Path, **settings: Any) -> geoflow.RunResult:
    pipe = Pipeline.from_dict(counting_stages.pipeline(folder, **settings))
    result = geoflow.run(clip, folder / "out", pipe)
    assert result.exit_status == 0 and verify_run(folder / "out") == []
    return result


def datasets(out: Path) -> dict[str, np.ndarray]:
    """Everything in the store but how long it took."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(RunPaths(out).video("a")) as store:
        store.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    table = found.pop("segments")
    for name in table.dtype.names:
        if not name.startswith("seconds_"):
            found[f"segments.{name}"] = table[name]
    return found


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes() or list(a[name]) == list(b[name]), name


def of(rows: Rows, *names: str) -> list[tuple[str, int]]:
    return [(row["slot"], row["index"]) for row in rows if row["event"] in names]


def count(rows: Rows, event: str, slot: str | None = None) -> int:
    return sum(row["event"] == event and slot in (None, row.get("slot")) for row in rows)


def stop_in_process(clip: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, event: str, n: int, **kw: Any) -> None:
    """Let the driver die of an exception at the n-th `event` (of `slot`)."""
    slot, emit, seen = kw.pop("slot", None), Ledger.emit, Counter[str]()

    def deadly(self: Ledger, name: str, **data: Any) -> None:
        emit(self, name, **data)
        seen[name] += slot in (None, data.get("slot"))
        if name == event and seen[name] == n:
            raise ZeroDivisionError

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Ledger, "emit", deadly)
        run(clip, folder, **kw)


class Driver:
    """`geoflow run` in another process."""

    def __init__(
        self,
        clip: Path,
        folder: Path,
        *,
        own_cluster: bool = False,
        raw: dict[str, Any] | None = None,
        options: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """`raw`: another pipeline than the counted one; `options`: more of the command line."""
        import ray

        self.folder, self.mark = folder, f"geoflow-test-{os.getpid()}-{folder.name}"
        config = folder / "counted.yaml"
        config.write_text(yaml.safe_dump(raw or counting_stages.pipeline(folder, **settings)))
        arguments = ["run", str(clip), "-o", str(folder / "out"), "--pipeline", str(config), *options]
        env = {**os.environ, "GEOFLOW_TEST_MARK": self.mark}
        if own_cluster:
            env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), env.get("PYTHONPATH", "")])
            command = [sys.executable, "-m", "geoflow", *arguments]
        else:
            address = ray.get_runtime_context().gcs_address
            command = [sys.executable, counting_stages.__file__, address, *arguments]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def when(self, ready: Callable[[], bool]) -> None:
        """Wait for a moment of the run."""
        while not ready():
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            time.sleep(0.005)

    def events(self) -> Rows:
        return events(self.folder / "out") if (self.folder / "out" / "events.jsonl").exists() else []

    def end(self, number: int) -> int:
        """Send the driver a signal and wait for its end; runs after it need not last as long."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=90)
        hurry_file(self.folder).touch()
        return status

    def left_behind(self) -> list[str]:
        """Processes of that run that are still there."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found
