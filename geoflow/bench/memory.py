"""Does memory depend on a video's length? Private memory of the driver and of every actor, sampled during real runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.engine.ledger import read_events
from geoflow.runner import run
from geoflow.store.paths import RunPaths

if TYPE_CHECKING:
    from rich.console import Console

_SAMPLE_EVERY_S = 0.5
_CLIP_FRAMES = 100  # rendered; longer videos go through it back and forth


@dataclass
class MemoryFigures:
    """Peaks of one run, MB of private (not shared) memory."""

    frames: int
    seconds: float = 0.0
    driver_mb: float = 0.0
    actors_mb: float = 0.0  # all actors together, at the worst moment
    total_mb: float = 0.0
    object_store_mb: float = 0.0  # the most that was in use, at the worst moment
    samples: int = field(default=0)


def private_bytes(pid: int) -> int:
    """Private memory of a process, which leaves out what it maps of the object store; 0 when it is gone (Linux)."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rows:
            for row in rows:
                if row.startswith(("Private_Clean:", "Private_Dirty:")):
                    total += int(row.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return total


def memory(
    out: Path,
    *,
    frames: tuple[int, ...] = (200, 2000),
    size: tuple[int, int] = (640, 360),
    pipeline: str = "embedded",
    settings: dict[str, Any] | None = None,
    console: Console,
) -> dict[str, Any]:
    """Run the pipeline on videos of several lengths, made of the same pictures, and compare peak memory.

    Returns {"runs": [MemoryFigures as dict, ...], "ratio": last total over first}.
    """
    import ray

    from geoflow.engine.cluster import ray_cluster

    runs = []
    for count in frames:
        video = long_clip(out / f"clip_{count}.mp4", count, size)
        figures = MemoryFigures(count)
        # The cluster is started here, so that the sampler can ask it for the object store's use.
        with ray_cluster(), _sampling(RunPaths(out / str(count)), figures, ray.cluster_resources, ray):
            result = run(video, out / str(count), pipeline, settings=settings, resume=False, console=console)
        if not result.complete:
            raise RuntimeError(f"the run on {count} frames failed: {result.failed[0].reason}")
        figures.seconds = result.seconds
        runs.append(asdict(figures))
        console.print(figures)
    return {"runs": runs, "ratio": runs[-1]["total_mb"] / runs[0]["total_mb"]}


def long_clip(path: Path, num_frames: int, size: tuple[int, int]) -> Path:
    """A video of any length: a rendered clip forwards and backwards, again and again."""
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


@contextmanager
def _sampling(paths: RunPaths, figures: MemoryFigures, resources: Callable[[], Any], ray: Any) -> Iterator[None]:
    stop = threading.Event()
    paths.events.unlink(missing_ok=True)
    capacity = resources().get("object_store_memory", 0.0)

    def sample() -> None:
        while not stop.wait(_SAMPLE_EVERY_S):
            events = read_events(paths.events) if paths.events.is_file() else []
            actors = sum(private_bytes(row["pid"]) for row in events if row["event"] == "actor_ready")
            driver = private_bytes(os.getpid())
            used = capacity - ray.available_resources().get("object_store_memory", capacity)
            figures.samples += 1
            figures.driver_mb = max(figures.driver_mb, driver / 1e6)
            figures.actors_mb = max(figures.actors_mb, actors / 1e6)
            figures.total_mb = max(figures.total_mb, (driver + actors) / 1e6)
            figures.object_store_mb = max(figures.object_store_mb, used / 1e6)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
