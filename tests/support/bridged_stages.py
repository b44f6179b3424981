"""Stages for tests of the bridge, of the standard library and numpy alone; and how they are started abroad."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from geoflow.errors import EnvironmentBroken, InputError
from geoflow.segments import Segment, Span, VideoInfo
from geoflow.stage import Fields, Read, SegmentRecord, Stage, param


class Foreign(Stage):
    """Tells where it is, keeps what it was given, and misbehaves as it is asked to."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")
    ladder = ({"cheap": True},)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        mode: str = param("", "what it does")
        cheap: bool = param(False, "")
        note: str = param("", "file to note process ids in")
        once: str = param("", "file that is there when it has misbehaved")

    kept: ClassVar[list[np.ndarray]] = []
    setups: ClassVar[int] = 0

    def warm(self) -> None:
        print(f"warmed with {self.threads} threads", flush=True)
        if self.params.mode == "warm":
            raise EnvironmentBroken("no compiler; apt-get install g++")

    def setup(self) -> None:
        Foreign.setups += 1
        if self.params.mode == "node":
            raise EnvironmentBroken("no compiler; apt-get install g++")
        if self.params.mode == "setup":
            raise ImportError("libfancy.so.3: cannot open shared object file")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        if not self.params.once or not Path(self.params.once).exists():
            if self.params.once:
                Path(self.params.once).touch()
            self._misbehave()
        frames, height, width, _ = fields["frames.rgb"].shape
        shade = fields["frames.rgb"].astype(np.float32).mean(axis=(1, 2, 3))
        return {
            "prior.points": np.broadcast_to(shade[:, None, None, None], (frames, height, width, 3)).astype(np.float16),
            "prior.mask": np.full((frames, height, width), True),
            "prior.intrinsics": np.tile(np.eye(3, dtype=np.float32), (frames, 1, 1)),
        }

    def _misbehave(self) -> None:
        mode = self.params.mode
        if self.params.note:
            helper = subprocess.Popen(["sleep", "600"])
            Path(self.params.note).write_text(f"{os.getpid()} {os.getppid()} {helper.pid}")
        if mode == "print":
            print("a plain line")
            sys.stdout.write('{"p": "no message"}')
            sys.stdout.flush()
            ctypes.CDLL(None).puts(b"a line from C")
            os.write(1, bytes(range(256)) * 400)
            os.write(2, b"\nnot \xff text\n")
        if mode == "raise":
            raise ValueError("the model does not like this one")
        if mode == "input":
            raise InputError("frame 7 cannot be decoded")
        if mode == "memory":
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
        if mode == "numpy-memory" and not self.params.cheap:
            np.empty(1 << 60, np.uint8)
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "crash":
            print("the last words", flush=True)
            ctypes.string_at(0)
        if mode == "exit":
            os._exit(7)
        if mode == "hang":
            ctypes.PyDLL(None).sleep(3600)  # and no other thread of this interpreter can run

    # Calls that only tests make.

    def where(self) -> dict[str, Any]:
        modules = sorted(name for name in sys.modules if "." not in name)
        own = {"pid": os.getpid(), "executable": sys.executable, "python": sys.version_info[:2]}
        return {**own, "modules": modules, "setups": Foreign.setups}

    def keep(self, array: np.ndarray) -> np.ndarray:
        self.kept.append(array)
        return array

    def sums(self) -> list[float]:
        return [float(array.sum()) for array in self.kept]

    def doubled(self, value: Any) -> Any:
        return {name: array * 2 if isinstance(array, np.ndarray) else array for name, array in value.items()}

    def place_of(self, module: str) -> str:
        try:
            return str(importlib.import_module(module).__file__)
        except ImportError:
            return ""

    def objects(self) -> np.ndarray:
        return np.array([None])


class Whole(Foreign):
    """Works on whole videos, whose frames it reads twice."""

    span = "video"
    ladder = ()

    def survey(self, span: Span, read: Read) -> Fields:
        seen = [piece["frames.index"] for piece in read()]
        for piece in read():  # the first arrays still hold what was in them
            assert piece["frames.rgb"].flags.writeable is False
        return {"index": np.concatenate(seen)}


class Counting(Stage):
    """Ordered: carries an array, a plain value and a number of numpy's."""

    slot = "stitch"
    inputs = ("frames.index",)
    outputs = ("frames.index",)
    ordered = True

    def setup(self) -> None:
        self.restore({})

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self._sum = self._sum + fields["frames.index"].sum()
        self._last = fields["frames.index"]
        return dict(fields)

    def state(self) -> dict[str, Any]:
        return {"sum": self._sum, "last": self._last, "name": "one"}

    def restore(self, state: dict[str, Any]) -> None:
        self._sum, self._last = state.get("sum", np.int64(0)), state.get("last", np.zeros(0, np.int64))

    def finish(self, video: VideoInfo, records: list[SegmentRecord], **more: Any) -> dict[str, Any]:
        return {"sum": int(self._sum), "segments": [r.index for r in records], "more": sorted(more)}


class Meter:
    """A GPU meter that knows only what its process has done."""

    started, share = False, 0.0

    def total(self) -> int:
        return 80

    def start(self) -> None:
        self.started = True

    def stop(self) -> int:
        return os.getpid() if self.started else 0

    def cap(self, share: float) -> None:
        with open(os.environ["BRIDGED_CAPS"], "a") as file:
            file.write(f"{os.getpid()} {share}\n")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@contextmanager
def all_gone(within_s: float = 10.0) -> Iterator[list[int]]:
    """Check at the end that none of the processes put into the list is left, and no memory with a name is new."""
    before, pids = set(os.listdir("/dev/shm")), []  # type: ignore[var-annotated]
    yield pids
    assert pids
    deadline = time.monotonic() + within_s
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    assert {name for name in set(os.listdir("/dev/shm")) - before if "geoflow" in name} == set()


class Weighted(Foreign):
    """Has weights, which its process may be unable to find."""

    def weights(self) -> dict[str, str]:
        return {"large": ""}

    def setup(self) -> None:
        from geoflow.backends import weights

        self.located = weights.locate("bridged_stages:Weighted", "large")

    def found(self) -> str:
        return str(self.located)
