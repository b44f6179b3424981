"""WiLoR in batches beside its arithmetic as it is written down, with made-up weights of the published width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoflow.bench.peer_processes import measured

if TYPE_CHECKING:
    from rich.console import Console

_CHILD = "geoflow.bench.hand_model.hand_model_child"
_SAME = 1e-3  # relative; crops of another OpenCV differ by a grey level here and there


def bench_hand_model(
    *, hands: int = 64, batch: int = 64, depth: int = 4, size: tuple[int, int] = (1280, 720), console: Console
) -> dict[str, Any]:
    """Measure CPU time and peak memory of both ways, each in its own process, with one thread.

    `depth` is the number of layers, 32 in the published network; `size` is the image's (width, height). Returns
    {"hands", "batch", "depth", "size", "runs": [...], "per_hand": {...}, "times_faster": {...}}. Raises RuntimeError if
    both ways do not give the same hands.
    """
    shared = {"hands": hands, "batch": batch, "depth": depth, "size": list(size)}
    ours, plain = runs = [measured(_CHILD, {"way": way, **shared}, console) for way in ("ours", "plain")]
    if abs(ours["checksum"] - plain["checksum"]) > _SAME * plain["checksum"]:
        raise RuntimeError(f"both ways should give the same hands, found {ours['checksum']} and {plain['checksum']}")
    parts = {"crop": ("crop_seconds",), "network": ("network_seconds",), "both": ("crop_seconds", "network_seconds")}
    seconds = {name: [sum(run[key] for key in keys) / hands for run in runs] for name, keys in parts.items()}
    return {
        **shared,
        "runs": runs,
        "per_hand": {name: {"ours": one, "plain": other} for name, (one, other) in seconds.items()},
        "times_faster": {name: other / one for name, (one, other) in seconds.items()},
        "peak_above_loaded_mb": {run["way"]: run["peak_mb"] - run["loaded_mb"] for run in runs},
    }
