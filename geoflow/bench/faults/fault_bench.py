"""Every fault at several moments, each in its own run, compared with runs without a fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.bench.faults.fault_child import FRAMES, SIZE, VIDEOS
from geoflow.bench.peer_processes import END_WITHIN_S, end_all, environment
from geoflow.cluster.processes import Process, command_line, descendants, is_there
from geoflow.engine.bridge import bootstrap
from geoflow.store.paths import RunPaths

if TYPE_CHECKING:
    from rich.console import Console

FAULTS = {
    "exit": "an actor exits",
    "kill": "an actor is killed",
    "hang": "a call hangs",
    "shape": "a result has a wrong shape",
    "raise": "a stage raises",
    "leak": "an actor grows by 2 GiB",
    "memory": "a call runs out of memory",
    "print": "a stage prints garbage",
    "poison": "a segment on which a stage always raises",
    "node": "a node with half the actors is lost",
    "store": "an object store is full for 3 s",
    "driver": "the driver is killed, and the run started again",
    "interrupt": "Ctrl-C, and the run started again",
    "interrupt-twice": "Ctrl-C twice, and the run started again",
}
ONLY_BRIDGED = {"child": "the child process of an actor is killed"}
_TIMEOUT_S = 240.0


@dataclass(frozen=True)
class FaultRun:
    """The result of one run, including the run that resumed it."""

    fault: str
    moment: float
    outcome: str
    seconds: float  # from the start of the run to its end, without the time between two drivers
    lost: float  # compared with an undisturbed run
    happened: bool
    left: int  # child processes of actors that were still there some time after the end


@dataclass(frozen=True)
class _Done:
    seconds: float
    videos: dict[str, list[str]]  # the end of each
    stores: dict[str, str]  # a hash of each
    happened: bool
    left: int


def bench_faults(
    out: Path,
    faults: Sequence[str],
    moments: Sequence[float],
    console: Console,
    *,
    calm_runs: int = 3,
    bridge: bool = False,
) -> dict[str, Any]:
    """Run all faults; return the seconds of an undisturbed run, and a FaultRun per fault and moment.

    With `bridge` all stages run in child processes of this interpreter. Results are compared with those of stages in
    the actors then, too.
    """
    from geoflow.synth import render_clip

    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(VIDEOS):
        if not (clips / f"{name}.mp4").exists():
            truth = clips / f"{name}.gt.h5"
            render_clip(clips / f"{name}.mp4", truth, num_frames=FRAMES, width=SIZE[0], height=SIZE[1], seed=seed)
    calm = [_one("none", 1.0, clips, bridge) for _ in range(calm_runs)]
    usual = statistics.median(done.seconds for done in calm)
    expected = _one("none", 1.0, clips, False).stores if bridge else calm[0].stores
    console.print(f"undisturbed: {usual:.1f} s")
    rows = []
    for fault in faults:
        for moment in moments:
            done = _one(fault, moment, clips, bridge)
            outcome, lost = judge(fault, done.videos, done.stores, expected), done.seconds - usual
            rows.append(FaultRun(fault, moment, outcome, done.seconds, lost, done.happened, done.left))
            words = (FAULTS | ONLY_BRIDGED)[fault]
            console.print(f"{words}, at {moment:.0%}: {outcome}, {lost:+.1f} s, {done.left} children left")
    return {
        "undisturbed_s": usual,
        "undisturbed_identical": all(done.stores == expected for done in calm),
        "runs": [asdict(row) for row in rows],
    }


def judge(fault: str, videos: dict[str, list[str]], stores: dict[str, str], expected: dict[str, str]) -> str:
    """Say in words whether every input is complete with the same bits, or failed with its name where it should."""
    statuses = {name: status for name, (status, _) in videos.items()}
    wanted = {name: "failed" if fault == "poison" and name == "b" else "complete" for name in VIDEOS}
    if statuses != wanted:
        return f"WRONG: {videos}"
    if fault == "memory":  # that segment came from a cheaper setting, and its store says so
        stores, expected = (
            {name: text.partition("/")[0] for name, text in both.items()} for both in (stores, expected)
        )
    if any(stores.get(name) != expected[name] for name in VIDEOS if wanted[name] == "complete"):
        return "WRONG: not the same bits"
    if fault == "poison":
        named = "prior failed on b[" in videos["b"][1]
        return "b failed with its reason, a identical" if named else f"WRONG: reason {videos['b'][1]!r}"
    return "complete, identical"


def _one(fault: str, moment: float, clips: Path, bridge: bool) -> _Done:
    folder = Path(tempfile.mkdtemp(prefix="gf-", dir="/tmp"))
    try:
        for name in VIDEOS:
            shutil.copy(clips / f"{name}.mp4", folder)
        found, seconds, left = _child(folder, fault, moment, bridge)
        if "videos" not in found:
            found, more, others = _child(folder, "none", 1.0, bridge)
            seconds, left = seconds + more, left + others
        paths = RunPaths(folder / "out")
        stores = {name: fingerprint(paths.video(name)) for name in VIDEOS if paths.video(name).exists()}
        return _Done(seconds, found.get("videos", {}), stores, (folder / "happened").exists(), left)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(folder: Path, fault: str, moment: float, bridge: bool) -> tuple[dict[str, Any], float, int]:
    """Run one driver; return what it left, its seconds, and how many children of actors outlived it."""
    (folder / "result.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "geoflow.bench.faults.fault_child", str(folder), fault, str(moment)]
    command.append("bridge" if bridge else "actors")
    with open(folder / "log", "ab") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)
        seen: set[Process] = set()
        began = time.monotonic()
        while driver.poll() is None and time.monotonic() - began < _TIMEOUT_S:
            seen |= descendants(driver.pid)
            time.sleep(0.2)
        ended = time.monotonic()
        if driver.poll() is None:
            driver.kill()
        driver.wait()
        left = _children_left(seen)
        end_all(seen)
    path = folder / "result.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found, float(found["seconds"]), left
    return {}, ended - float((folder / "began").read_text()), left


def _children_left(seen: set[Process]) -> int:
    """Return how many child processes of actors are still there after a while."""
    script = os.fsencode(bootstrap.__file__)
    children = {known for known in seen if script in command_line(known[0]).split(b"\0")}
    deadline = time.monotonic() + END_WITHIN_S
    while children and time.monotonic() < deadline:
        time.sleep(0.1)
        children = {known for known in children if is_there(known)}
    return len(children)


def fingerprint(path: Path) -> str:
    """Return a hash of everything in a store except times and levels of ladders, and after a / one of these levels."""
    import h5py

    digest, levels = hashlib.sha256(), hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        value = item[()]
        names = value.dtype.names
        columns = {n: value[n] for n in names if not n.startswith("seconds_")} if names else {"": value}
        for column, array in columns.items():
            into = levels if (name, column) == ("segments", "ladder") else digest
            into.update(f"{name}.{column}".encode())
            into.update(str(array.tolist()).encode() if array.dtype == object else array.tobytes())

    with h5py.File(path) as store:
        store.visititems(add)
    return f"{digest.hexdigest()}/{levels.hexdigest()}"
