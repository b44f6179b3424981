"""Serving a worker: arguments or lines of stdin in, JSON on stdout, everything else on stderr.

One shot: `geoflow worker NAME ARGUMENTS` prints one line of JSON, or exits with a message and a status.
Persistent: without arguments the worker keeps running, if the backend allows it. Every line {"argument": value, …} on
stdin gets one line of JSON, or {"error": "…"}, until stdin ends. The model is loaded once.

All output of the model's libraries goes to stderr, also output that bypasses Python.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import threading
import typing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from geoflow.backends import loading
from geoflow.errors import GeoFlowError, InputError, StageError
from geoflow.stage import Stage
from geoflow.workers import declaration
from geoflow.workers.declaration import BackendWorker

_LOG_LINES = 30  # of a model's output, in an error
_LOG_ENDS_S = 1.0  # time to wait for the end of the log: a child of the model may keep it open


def serve(backend: str, arguments: Sequence[str], settings_of: Callable[[list[str]], dict[str, Any]]) -> None:
    """Serve the worker of a backend for a command line; `settings_of` reads the values of `--set`.

    Raises GeoFlowError if there is no such worker, it cannot be set up, or the one answer cannot be given.
    """
    worker_class = declaration.find(backend)
    values, settings = _parse(backend, worker_class, arguments)
    stage = _stage(backend, settings_of(settings)) if worker_class.needs_model else None
    worker = worker_class(stage, settings)
    request = None if not values and worker.persistent else declaration.request_of(worker_class, values)
    read = None if request is None else worker.read(request)
    with _answers() as out:
        if stage is not None:
            worker.log("loading")
            stage.setup()
            worker.log("ready")
        if request is not None:
            _print(out, _answer(worker, request, read))
            return
        for line in sys.stdin:
            if line.strip():
                _print(out, _reply(worker, line))


def _stage(backend: str, settings: dict[str, Any]) -> Stage:
    stage_class = loading.load(backend)
    stage = stage_class(loading.make_params(stage_class, settings, slot="worker"))
    stage.threads = len(os.sched_getaffinity(0))
    return stage


def overview() -> str:
    """Return a line per worker: its name, and the first line of its docstring."""
    rows = [(name, (declaration.find(name).__doc__ or "").strip().partition("\n")[0]) for name in declaration.names()]
    return "\n".join(f"  {name:<16}{line}" for name, line in rows)


def _parse(backend: str, worker: type[BackendWorker], arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a request on the command line, {} if none, and the values of `--set`."""
    parser = argparse.ArgumentParser(
        f"geoflow worker {backend}",
        description=worker.__doc__,
        epilog=_end_of_help(backend, worker),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(worker.Request)
    rows = [row for row in dataclasses.fields(worker.Request) if not row.metadata.get("in_requests_only")]
    for row in rows:
        kind, metavar = declaration.kind_of(hints[row.name]), row.metadata["metavar"]
        if row.metadata["positional"]:
            parser.add_argument(row.name, nargs="?", type=kind, metavar=metavar, help=row.metadata["help"])
        elif row.metadata["spelt_out"]:
            parser.add_argument(
                f"--{row.name}", nargs="?", const=True, type=_truth, metavar=metavar, help=row.metadata["help"]
            )
        elif kind is bool:
            parser.add_argument(
                f"--{row.name}", action=argparse.BooleanOptionalAction, default=None, help=row.metadata["help"]
            )
        else:
            parser.add_argument(f"--{row.name}", type=kind, metavar=metavar, help=row.metadata["help"])
    metavar, whose = ("PARAM=VALUE", f"{backend} backend") if worker.needs_model else ("SLOT.PARAM=VALUE", "pipeline")
    parser.add_argument("--set", action="append", default=[], metavar=metavar, help=f"of the {whose}")
    found = vars(parser.parse_args(arguments))
    settings = found.pop("set")
    values = {name: value for name, value in found.items() if value is not None}
    lacking = [row.metadata["metavar"] for row in rows if declaration.is_required(row) and row.name not in values]
    if lacking and (values or not worker.persistent):
        parser.error(f"these arguments are required: {', '.join(lacking)}")
    return values, settings


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"should be True or False, found {text!r}")
    return text.lower() == "true"


def _end_of_help(backend: str, worker: type[BackendWorker]) -> str:
    """Return what a worker does without arguments, and two examples."""
    rows = [row for row in dataclasses.fields(worker.Request) if declaration.is_required(row)]
    words = [("" if row.metadata["positional"] else f"--{row.name} ") + row.metadata["metavar"] for row in rows]
    once = " ".join([f"geoflow worker {backend}", *words])
    if not worker.persistent:
        return f"Examples:\n  {once}\n  {once} > ANSWER.json"
    on_stdin = f"without arguments: requests on stdin, one a line, {declaration.form(worker)}"
    return f"{on_stdin}\n\nExamples:\n  {once}\n  geoflow worker {backend} < REQUESTS.jsonl"


def _reply(worker: BackendWorker, line: str) -> dict[str, Any]:
    """Return the reply to a request. An error is also a reply, since the next request may succeed."""
    try:
        request = _request(type(worker), line)
        return _answer(worker, request, worker.read(request))
    except GeoFlowError as error:
        return {"error": str(error)}
    except Exception as error:  # from the model, such as too little memory for a large batch
        return {"error": f"{type(error).__name__}: {error}"}


def _request(worker: type[BackendWorker], line: str) -> Any:
    try:
        return declaration.request_of(worker, json.loads(line))
    except (ValueError, TypeError, KeyError):
        form = declaration.form(worker)
        raise InputError(f"a request is one line of JSON: {form}; found {line.strip():.80}") from None


def _answer(worker: BackendWorker, request: Any, read: Any) -> dict[str, Any]:
    """Return the answer. Raises StageError if a file is missing that the worker should have written."""
    if not worker.writes:
        return worker.answer(read)
    with _log_kept() as log:
        found = worker.answer(read)
    for name in worker.writes:
        path = getattr(request, name)
        if path and not os.path.isfile(path):
            said = "\n".join(f"  {line}" for line in log) or "  nothing"
            raise StageError(f"{path} ({name}) was not written; the model's last output was:\n{said}")
    return found


@contextlib.contextmanager
def _log_kept() -> Iterator[deque[str]]:
    """Give a deque that collects the last lines printed within the block; all output still goes to stderr."""
    sys.stdout.flush()
    kept: deque[str] = deque(maxlen=_LOG_LINES)
    reading, writing = os.pipe()
    before = os.dup(1), os.dup(2)

    def pass_on() -> None:
        with os.fdopen(reading, "rb") as log:
            for line in log:
                os.write(before[1], line)
                kept.append(line.decode(errors="replace").rstrip())

    passing = threading.Thread(target=pass_on, daemon=True)
    passing.start()
    for descriptor in (1, 2):
        os.dup2(writing, descriptor)
    os.close(writing)
    try:
        yield kept
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, own in enumerate(before, start=1):
            os.dup2(own, descriptor)
        passing.join(_LOG_ENDS_S)
        if not passing.is_alive():
            for own in before:
                os.close(own)


def _answers() -> IO[str]:
    """Return the original stdout, and send everything that is printed from now on to stderr."""
    sys.stdout.flush()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def _print(out: IO[str], reply: dict[str, Any]) -> None:
    print(json.dumps(reply), file=out, flush=True)
