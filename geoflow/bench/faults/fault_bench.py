"""Every fault at several moments, each in its own run, compared with runs without a fault."""

from __future__ import annotations

import hashlib
import json
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
from geoflow.bench.peer_processes import end_all, environment
from geoflow.cluster.processes import Process, descendants
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
    "poison": "a segment on which a stage always raises",
    "node": "a node with half the actors is lost",
    "store": "an object store is full for 3 s",
    "driver": "the driver is killed, and the run started again",
    "interrupt": "Ctrl-C, and the run started again",
    "interrupt-twice": "Ctrl-C twice, and the run started again",
}
_TIMEOUT_S = 240.0


@dataclass(frozen=True)
class FaultOutcome:
    """The result of one run, including the run that resumed it."""

    fault: str
    moment: float
    outcome: str
    seconds: float  # from the start of the run to its end, without the time between two drivers
    lost: float  # compared with an undisturbed run
    happened: bool


def bench_faults(
    out: Path, faults: Sequence[str], moments: Sequence[float], console: Console, *, calm_runs: int = 3
) -> dict[str, Any]:
    """Run all faults; return the seconds of an undisturbed run, and an FaultOutcome per fault and moment."""
    from geoflow.synth import render_clip

    clips = out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(VIDEOS):
        if not (clips / f"{name}.mp4").exists():
            truth = clips / f"{name}.gt.h5"
            render_clip(clips / f"{name}.mp4", truth, num_frames=FRAMES, width=SIZE[0], height=SIZE[1], seed=seed)
    calm = [_one("none", 1.0, clips) for _ in range(calm_runs)]
    usual = statistics.median(seconds for seconds, _, _, _ in calm)
    expected = calm[0][2]
    console.print(f"undisturbed: {usual:.1f} s")
    rows = []
    for fault in faults:
        for moment in moments:
            seconds, videos, stores, happened = _one(fault, moment, clips)
            outcome = judge(fault, videos, stores, expected)
            rows.append(FaultOutcome(fault, moment, outcome, seconds, seconds - usual, happened))
            console.print(f"{FAULTS[fault]}, at {moment:.0%}: {outcome}, {seconds - usual:+.1f} s")
    return {
        "undisturbed_s": usual,
        "undisturbed_identical": all(stores == expected for _, _, stores, _ in calm),
        "runs": [asdict(row) for row in rows],
    }


def judge(fault: str, videos: dict[str, list[str]], stores: dict[str, str], expected: dict[str, str]) -> str:
    """Say in words whether every input is complete with the same bits, or failed with its name where it should."""
    statuses = {name: status for name, (status, _) in videos.items()}
    wanted = {name: "failed" if fault == "poison" and name == "b" else "complete" for name in VIDEOS}
    if statuses != wanted:
        return f"WRONG: {videos}"
    if any(stores.get(name) != expected[name] for name in VIDEOS if wanted[name] == "complete"):
        return "WRONG: not the same bits"
    if fault == "poison":
        named = "prior failed on b[" in videos["b"][1]
        return "b failed with its reason, a identical" if named else f"WRONG: reason {videos['b'][1]!r}"
    return "complete, identical"


def _one(fault: str, moment: float, clips: Path) -> tuple[float, dict[str, list[str]], dict[str, str], bool]:
    """Return seconds, the end of each video, a hash of each store, and whether the fault really happened."""
    folder = Path(tempfile.mkdtemp(prefix="gf-", dir="/tmp"))
    try:
        for name in VIDEOS:
            shutil.copy(clips / f"{name}.mp4", folder)
        found, seconds = _child(folder, fault, moment)
        if "videos" not in found:
            found, more = _child(folder, "none", 1.0)
            seconds += more
        paths = RunPaths(folder / "out")
        stores = {name: fingerprint(paths.video(name)) for name in VIDEOS if paths.video(name).exists()}
        return seconds, found.get("videos", {}), stores, (folder / "happened").exists()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(folder: Path, fault: str, moment: float) -> tuple[dict[str, Any], float]:
    (folder / "result.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "geoflow.bench.faults.fault_child", str(folder), fault, str(moment)]
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
        end_all(seen)
    path = folder / "result.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found, float(found["seconds"])
    return {}, ended - float((folder / "began").read_text())


def fingerprint(path: Path) -> str:
    """Return a hash of everything in a store except times."""
    import h5py

    digest = hashlib.sha256()

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        value = item[()]
        names = value.dtype.names
        columns = {n: value[n] for n in names if not n.startswith("seconds_")} if names else {"": value}
        for column, array in columns.items():
            digest.update(f"{name}.{column}".encode())
            digest.update(str(array.tolist()).encode() if array.dtype == object else array.tobytes())

    with h5py.File(path) as store:
        store.visititems(add)
    return digest.hexdigest()
