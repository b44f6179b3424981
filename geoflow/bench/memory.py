"""A measurement of memory over a video's length: private memory of driver and actors, sampled during real runs."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.cluster.processes import private_bytes
from geoflow.observe.ledger import read_events
from geoflow.store.paths import RunPaths

if TYPE_CHECKING:
    from rich.console import Console

_SAMPLE_EVERY_S = 0.02  # a peak can be as short as the conversion of an array
_LOOK_EVERY = 50  # samples between two looks at the list of processes and at the object store
_CLIP_FRAMES = 100  # rendered; longer videos repeat it forwards and backwards


@dataclass
class MemoryFigures:
    """Peaks of one run, MB of private memory (a process's mapping of the object store is not private)."""

    frames: int
    seconds: float = 0.0
    driver_mb: float = 0.0
    actors_mb: float = 0.0  # all actors together, at their peak
    total_mb: float = 0.0  # driver and actors together, at their peak
    actor_mb: dict[str, float] = field(default_factory=dict)  # slot -> peak of its largest actor
    object_store_mb: float = 0.0  # the most that was in use
    samples: int = 0


def memory(
    out: Path,
    *,
    frames: tuple[int, ...] = (200, 2000),
    size: tuple[int, int] = (640, 360),
    pipeline: str = "embedded",
    settings: tuple[str, ...] = (),
    console: Console,
) -> dict[str, Any]:
    """Run the pipeline on videos of several lengths, made of the same pictures, and compare peak memory.

    `settings` are those of `geoflow run --set`. Returns {"runs": [MemoryFigures as dict, ...], "ratio": last total over
    first}.
    """
    import ray

    from geoflow.cluster.session import ray_cluster

    runs = []
    for count in frames:
        video = long_clip(out / f"clip_{count}.mp4", count, size)
        figures = MemoryFigures(count)
        with ray_cluster():  # started here, so that the sampler can ask it for the object store's use
            began = time.monotonic()
            address = ray.get_runtime_context().gcs_address
            options = [part for setting in settings for part in ("--set", setting)]
            command = [sys.executable, "-m", "geoflow", "run", str(video), "-o", str(out / str(count)), "--fresh"]
            command += ["--pipeline", pipeline, "--address", address, *options]
            driver = subprocess.Popen(command, stdout=sys.stderr)
            _sample(driver, RunPaths(out / str(count)), figures, ray)
            figures.seconds = time.monotonic() - began
        if driver.returncode:
            raise RuntimeError(f"the run on {count} frames ended with status {driver.returncode}")
        runs.append(asdict(figures))
        console.print(figures)
    return {"runs": runs, "ratio": runs[-1]["total_mb"] / runs[0]["total_mb"]}


def long_clip(path: Path, num_frames: int, size: tuple[int, int]) -> Path:
    """Write a video of any length: a rendered clip forwards and backwards, repeated."""
    import av

    from geoflow.synth import render

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        return path
    width, height = size
    pictures = render(num_frames=_CLIP_FRAMES, width=width, height=height).frames
    there_and_back = [*range(_CLIP_FRAMES), *range(_CLIP_FRAMES - 2, 0, -1)]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=30, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(num_frames):
            picture = pictures[there_and_back[i % len(there_and_back)]]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _sample(driver: subprocess.Popen[bytes], paths: RunPaths, figures: MemoryFigures, ray: Any) -> None:
    """Sample until the driver ends, and raise every peak in `figures` that memory exceeds."""
    paths.events.unlink(missing_ok=True)  # otherwise actors of an earlier run would be looked up
    capacity = ray.cluster_resources().get("object_store_memory", 0.0)
    slots: dict[int, str] = {}  # pid -> slot
    try:
        while driver.poll() is None:
            if figures.samples % _LOOK_EVERY == 0:
                events = read_events(paths.events) if paths.events.is_file() else []
                slots = {row["pid"]: row["slot"] for row in events if row["event"] == "actor_ready"}
                used = (capacity - ray.available_resources().get("object_store_memory", capacity)) / 1e6
                figures.object_store_mb = max(figures.object_store_mb, used)
            actors = {pid: private_bytes(pid) / 1e6 for pid in slots}
            own = private_bytes(driver.pid) / 1e6
            figures.samples += 1
            figures.driver_mb = max(figures.driver_mb, own)
            figures.actors_mb = max(figures.actors_mb, sum(actors.values()))
            figures.total_mb = max(figures.total_mb, own + sum(actors.values()))
            for pid, slot in slots.items():
                figures.actor_mb[slot] = max(figures.actor_mb.get(slot, 0.0), actors[pid])
            time.sleep(_SAMPLE_EVERY_S)
    finally:
        if driver.poll() is None:
            driver.terminate()
        driver.wait()
