"""MoGe as a child process, for programs that live in another environment: files in, files out, JSON on stdout.

One shot: `geoflow worker moge IN.npy` prints {"p": "….npy", "m": "….npy"}. Without IN.npy it stays: for every line
{"input": "IN.npy"} on stdin it prints such a line, or {"error": "…"}, until stdin ends. The model is loaded once.

Whatever the model's libraries print goes to stderr, also what they print past Python.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from geoflow.backends import loading
from geoflow.errors import GeoFlowError, InputError
from geoflow.stage import Stage

_SLACK = 1e-3  # beyond 0..1, as resizing leaves it


def serve(stage: Stage, path: str | None) -> None:
    """Answer for one file, or for those that stdin asks for. Raises GeoFlowError when the one file cannot be used."""
    images = None if path is None else _read(path)
    with _answers() as out:
        _log("loading")
        stage.setup()
        _log("ready")
        if images is not None:
            _print(out, infer(stage, images))
            return
        for line in sys.stdin:
            if line.strip():
                _print(out, _reply(stage, line))


def make_stage(**params: Any) -> Stage:
    """The MoGe backend with these parameters. Raises ConfigError when it has no such, or cannot have such values."""
    stage_class = loading.load("moge")
    stage = stage_class(loading.make_params(stage_class, params, slot="worker"))
    stage.threads = len(os.sched_getaffinity(0))
    return stage


def infer(stage: Any, images: np.ndarray, fov_x_deg: float | None = None) -> dict[str, str]:
    """Points (B, H, W, 3) float32 and mask (B, H, W) bool of images, in files of the temporary folder: their paths."""
    _log(f"{len(images)} images of {images.shape[3]}x{images.shape[2]}")
    points, mask, _ = stage.infer(images, fov_x_deg)
    return {"p": _save(points), "m": _save(mask)}


def _reply(stage: Stage, line: str) -> dict[str, Any]:
    """Whatever goes wrong with one request is its reply; the next may be right."""
    try:
        path, fov = _request(line)
        return infer(stage, _read(path), fov)
    except GeoFlowError as error:
        return {"error": str(error)}
    except Exception as error:  # of the model, such as too little memory for a large batch
        return {"error": f"{type(error).__name__}: {error}"}


def _request(line: str) -> tuple[str, float | None]:
    try:
        request = json.loads(line)
        fov = request.get("fov_x")
        return str(request["input"]), None if fov is None else float(fov)
    except (ValueError, TypeError, KeyError, AttributeError):
        form = '{"input": "IN.npy"}, with "fov_x" in degrees where that is known'
        raise InputError(f"a request is one line of JSON: {form}; found {line.strip():.80}") from None


def _read(path: str) -> np.ndarray:
    """Images (B, 3, H, W). Raises InputError that says what the file should hold."""
    try:
        images = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as .npy: {error}") from None
    if not isinstance(images, np.ndarray) or images.dtype != np.float32:
        raise InputError(f"{path} should hold float32 in 0..1, found {getattr(images, 'dtype', 'several arrays')}")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise InputError(f"{path} should be (B, 3, H, W) or (3, H, W), found {images.shape}")
    low, high = float(images.min()), float(images.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # also where they are NaN
        raise InputError(f"{path} should be in 0..1, found {low:g} to {high:g}")
    return images


def _save(array: np.ndarray) -> str:
    with tempfile.NamedTemporaryFile(prefix="geoflow-moge-", suffix=".npy", delete=False) as file:
        np.save(file, array)
    return str(Path(file.name))


def _answers() -> IO[str]:
    """What stdout was; from now on all that is printed goes to stderr."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def _print(out: IO[str], reply: dict[str, Any]) -> None:
    print(json.dumps(reply), file=out, flush=True)


def _log(message: str) -> None:
    print(f"[worker] {message}", file=sys.stderr, flush=True)
