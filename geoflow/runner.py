"""`geoflow.run`: inputs in, a folder of stores out. All steps of a run, in order."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoflow.backends.catalogue import require_commercial
from geoflow.cluster.session import Capacity, capacity, import_ray, on_every_node, ray_cluster, where
from geoflow.engine.checkpoint import clear_work
from geoflow.engine.early_probes import FOR_FINISHED_WORK, FOR_NEW_WORK, EarlyProbes, decide_early, deciding_meanwhile
from geoflow.engine.executor import Executor
from geoflow.engine.intake import Limits
from geoflow.engine.profile import apply_profile, keep_profile, known_stages
from geoflow.engine.state import VideoRun
from geoflow.engine.stopping import stop_on_signals
from geoflow.errors import ConfigError, InputError, StoreError
from geoflow.files.locations import is_remote
from geoflow.observe.console import ConsoleProgress
from geoflow.observe.ledger import Ledger
from geoflow.observe.metrics import Metrics
from geoflow.observe.trace import write_trace
from geoflow.pipeline import Pipeline
from geoflow.planning import pipeline_file, preflight
from geoflow.planning.shown_objects import carries_objects, check_objects, check_shown, without_idle
from geoflow.planning.stated import Heeds, as_heeded, heeds
from geoflow.results import RunResult
from geoflow.run_records import result_of, write_records
from geoflow.scanning import ScannedVideo, ScanParams
from geoflow.scanning.leaving_out import wanted_scan, without_unfit
from geoflow.segments import ELSEWHERE, VideoInfo
from geoflow.store.delivery import clear_drafts, clear_parts
from geoflow.store.finished import Finished, Taken
from geoflow.store.mirror import kept_elsewhere, run_paths
from geoflow.store.owner import Ownership
from geoflow.store.paths import RunPaths
from geoflow.store.whole import write_whole
from geoflow.store.work_key import describe_work, work_key
from geoflow.values.frontend import in_notebook
from geoflow.values.plain import flag, text
from geoflow.video.described import describe_input
from geoflow.video.fetched import forget
from geoflow.video.inputs import Input, Rejected, expand_inputs, listed
from geoflow.video.left_out import left_out
from geoflow.video.options import ReadOptions, read_options
from geoflow.video.probing_process import probing_process

if TYPE_CHECKING:
    from rich.console import Console

    from geoflow.notebook.live import NotebookProgress


def run(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    pipeline: str | Path | Pipeline = "embedded",
    *,
    settings: dict[str, Any] | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    limit: int | None = None,
    intrinsics: Any = None,
    masks: str | Path | None = None,
    objects: str | Path | None = None,
    cameras: str | Path | None = None,
    scale: float | None = None,
    stream: int | None = None,
    pattern: str | None = None,
    address: str | None = None,
    resume: bool = True,
    fail_fast: bool = False,
    commercial: bool = False,
    skip_unfit: bool = False,
    fit: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> RunResult:
    """Process videos with a pipeline; the Python form of `geoflow run`.

    Finished work is kept under `out` during the run, so that a stopped or killed run continues where it was. Ctrl-C
    lets running calls finish and then raises KeyboardInterrupt; a second Ctrl-C stops at once.

    `inputs` are files, folders, globs, frame folders, manifests or fsspec URIs; `settings` are overrides such as
    `{"camera.window": 10}`; `size` is (width, height); `intrinsics` are fx, fy, cx, cy in pixels of the upright picture
    that players show, or a 3x3 matrix, and may include the lens's distortion (see `geoflow.video.lens.lens_of`);
    `masks` is a folder with a folder of masks per video; `objects` is such a folder of label images, or a file of
    prompts (see `geoflow.video.prompts`); `cameras` are known poses: a COLMAP model, ViPE artefacts, a TUM trajectory,
    a GeoFlow store, or a folder that holds one per video, and `scale` says how many metres a unit of theirs is;
    `stream` is the number of the video stream in
    files that hold several; `pattern` says which pictures of frame folders are frames, such as `*.color.png`; `out` is
    a folder or a URI of fsspec. With `resume`, what it already holds with the same content and settings is kept.
    With `skip_unfit`, the inputs are looked at first, and what is unfit is left out (`geoflow.scan`); `fit` are
    parameters of that look, such as `{"blur": 0.8}`.
    Numbers may be NumPy's, paths those of pathlib.

    One run at a time may write to `out`; `geoflow.store.owner` says how safe this is on which kind of disk.

    Raises ConfigError for settings that cannot work and for an `out` that another run uses, InputError if no input is a
    video, EnvironmentBroken if a required stage cannot start, StoreError if another run took `out` over meanwhile. An
    error of a single input is in the result instead.
    """
    began = time.monotonic()
    reading: dict[str, Any] = {"fps": fps, "size": size, "limit": limit, "intrinsics": intrinsics, "masks": masks}
    reading |= {"objects": objects, "stream": stream, "pattern": pattern, "cameras": cameras, "scale": scale}
    resume, fail_fast = flag(resume, "resume"), flag(fail_fast, "fail_fast")
    address = None if address is None else text(address, "address")
    look_first = wanted_scan(skip_unfit, fit)
    asked = _asked(inputs, out, pipeline, settings or {}, reading, commercial=flag(commercial, "commercial"))
    asked = asked if look_first is None else _without_unfit(asked, look_first)
    pipe, paths, options, items = asked.pipe, asked.paths, asked.options, asked.items
    there = all(paths.video(item.name).is_file() for item in items)  # most probably nothing is left to do
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_progress(console, len(items) + len(asked.rejected)))
        child = stack.enter_context(probing_process(asked.describe))
        if not there:
            preflight.check_environments(pipe)
            import_ray()
        ray = where(address)
        _prepare(paths)  # from here on, something is written
        owner = stack.enter_context(Ownership(paths))
        pipe, stamp = _bind(pipe, options, paths, owner.token)
        clear_drafts(paths)
        stack.enter_context(kept_elsewhere(paths, still_ours=lambda: owner.lost_to is None))
        write_whole(paths.pipeline, asked.settings_file)
        metrics = Metrics()
        stack.callback(_write_trace, paths)  # last of all, however the run ends
        ledger = stack.enter_context(Ledger(paths.events, (progress.observe, metrics.observe)))
        stack.enter_context(_recorded(ledger, pipe, asked))
        finished = Finished(paths, stamp)
        taken = finished.taken({item.name: item.source for item in items})
        work = _Work(
            [VideoRun(order, item) for order, item in enumerate(items)],
            pipe,
            paths,
            stamp,
            options,
            asked.describe,
            checks=partial(_checked, taken=taken, heeds=heeds(pipe)),
            done_before=finished.find if resume else lambda info: None,
            limits=Limits(least_deadline=pipe.hung_after, fail_fast=fail_fast),
            resume=resume,
        )
        early = stack.enter_context(EarlyProbes(child, work.checks, work.near, work.limits.probes_ahead))
        disabled: dict[str, str] = {}
        patience = FOR_FINISHED_WORK if there else FOR_NEW_WORK
        if not decide_early(work.videos, early, patience, work.done_whole, ledger.emit, fail_fast=fail_fast):
            if there:
                preflight.check_environments(pipe)
            if ray:
                ledger.emit("ray_awaited", ray=ray)
            with deciding_meanwhile(work.videos, early, work.done_whole, ledger.emit, fail_fast=fail_fast):
                look = stack.enter_context(ray_cluster(address))
            disabled = _on_ray(work, early, stack, look, ledger, metrics, owner)
        result = result_of(paths, pipe.name, work.videos, asked.rejected, taken, asked.unfit)
        without = tuple(f"{folder}: {reason}" for folder, reason in asked.left_out)
        result = replace(result, disabled=disabled, seconds=time.monotonic() - began, left_out=without)
        clear_parts(paths, {video.name for video in result.complete})
        write_records(paths, result, work.videos, stamp)
        ledger.emit("run_finished", complete=len(result.complete), failed=len(result.failed), seconds=result.seconds)
    return result


@dataclass(frozen=True)
class _Asked:
    """What a user asks for, checked as far as it can be without opening a video; nothing is written yet."""

    paths: RunPaths
    pipe: Pipeline
    options: ReadOptions
    items: list[Input]
    rejected: list[Rejected]
    left_out: list[tuple[str, str]]  # folders that hold more than was taken from them, and what
    describe: Callable[[Input], tuple[VideoInfo, dict[str, Any]]]
    settings_file: bytes  # a pipeline file that asks for the same
    unfit: tuple[ScannedVideo, ...] = ()  # what is no longer among the items


def _asked(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    pipeline: str | Path | Pipeline,
    settings: dict[str, Any],
    reading: dict[str, Any],
    *,
    commercial: bool,
) -> _Asked:
    paths = run_paths(text(out, "out"))
    pipe = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    pipe = pipe.with_settings(settings)
    options = read_options(pipe.reading, reading)
    preflight.check_makes_stores(pipe)
    if commercial:
        require_commercial(pipe)
    items, rejected = expand_inputs(listed(inputs), options.pattern)
    if not items:
        reasons = "; ".join(f"{r.source}: {r.reason}" for r in rejected) or "no input was given"
        raise InputError(f"nothing to do: {reasons}")
    sources, names = [item.source for item in items], [item.name for item in items]
    preflight.check_out(paths, sources)
    preflight.check_masks(options.masks, names)
    prompts = check_objects(options.objects, names, pipe)
    carries = carries_objects(pipe)
    labels = None if prompts else options.objects
    preflight.check_cameras(options.cameras, names)
    preflight.check_places(paths, sources)
    settings_file = pipeline_file.as_text(pipe, options).encode()
    pipe = without_idle(pipe, options.objects)
    check_shown(pipe, options.objects)
    options = _with_long_side(pipe, options)
    describe = partial(describe_input, options=replace(options, objects=labels), prompts=prompts, carries=carries)
    beside = left_out(listed(inputs), sources)
    return _Asked(paths, pipe, options, items, rejected, beside, describe, settings_file)


def _without_unfit(asked: _Asked, params: ScanParams) -> _Asked:
    """Leave out what a look at the inputs finds unfit. Raises InputError if nothing remains."""
    items, unfit = without_unfit(asked.items, asked.options, params)
    if not items:
        raise InputError(f"nothing to do, every input is unfit: {'; '.join(f'{v.name} is {v.reason}' for v in unfit)}")
    return replace(asked, items=items, unfit=tuple(unfit))


@dataclass(frozen=True)
class _Work:
    """What a run has to do, once its arguments are checked and its folder is owned."""

    videos: list[VideoRun]
    pipe: Pipeline
    paths: RunPaths
    stamp: str
    options: ReadOptions
    describe: Callable[[Input], tuple[VideoInfo, dict[str, Any]]]
    checks: Callable[[VideoInfo], VideoInfo]
    done_before: Callable[[VideoInfo], dict[str, Any] | None]
    limits: Limits
    resume: bool

    @property
    def sources(self) -> list[str]:
        return [video.input.source for video in self.videos]

    @property
    def near(self) -> list[VideoRun]:
        """Return the videos that may be probed before Ray is up: nothing has to be fetched for them or uploaded."""
        return [] if self.paths.remote else [video for video in self.videos if not is_remote(video.input.source)]

    def done_whole(self, info: VideoInfo) -> dict[str, Any] | None:
        """Return the row of a video that an earlier run finished, and clear up what that run may have left."""
        if (row := self.done_before(info)) is not None:
            clear_work(self.paths, info.name, keep_fields=self.pipe.keep_fields)
        return row


def _on_ray(
    work: _Work,
    early: EarlyProbes,
    stack: contextlib.ExitStack,
    look: Callable[[], Capacity] | None,
    ledger: Ledger,
    metrics: Metrics,
    owner: Ownership,
) -> dict[str, str]:
    """Bring the videos that are not over to their end, on the Ray that is up. Return the stages that could not run."""
    stop = stack.enter_context(stop_on_signals())
    owner.when_lost(stop.ask)
    pipe, paths, alone, has = work.pipe, work.paths, look is None, capacity()
    ledger.emit("ray_ready", cpus=has.cpus, gpus=has.gpus)
    preflight.check(pipe, has, alone=alone)
    kept = preflight.check_places_everywhere(paths, work.sources, alone=alone, resume=work.resume)
    if paths.remote:
        pipe = pipe.bound({"remote": paths.remote, "share": not alone})
    reading = work.options.described()
    executor = Executor(
        apply_profile(pipe, has.accelerators),
        partial(_probe, describe=work.describe, checks=work.checks, kept=kept),
        work.limits,
        has,
        look=look,
        emit=ledger.emit,
        already_done=work.done_before,
        paths=paths,
        reading=json.dumps({**reading, **dict.fromkeys(ELSEWHERE & reading.keys())}),
        part_key=lambda info: work_key(describe_work(info, work.stamp)),
        resume=work.resume,
        stop=stop,
        videos=len(work.videos),
    )
    stack.enter_context(metrics.export(executor.load, ledger.emit))
    try:
        executor.go_on(work.videos, early)
    finally:
        owner.check()
    keep_profile(pipe, executor.measured, has.accelerators)
    _forget_copies(work.sources, alone=alone)
    return executor.disabled


@contextlib.contextmanager
def _recorded(ledger: Ledger, pipe: Pipeline, asked: _Asked) -> Iterator[None]:
    """Write the run's beginning into the ledger, and its end if that is not the normal one."""
    ledger.emit(
        "run_started",
        pipeline=pipe.name,
        slots=[spec.slot for spec in pipe.stages],
        videos=[item.name for item in asked.items],
        host=socket.gethostname(),
        pid=os.getpid(),
        expected={slot: row.seconds for slot, row in known_stages(pipe).items()},
        weights={spec.slot: spec.weight for spec in pipe.stages if spec.weight > 0},
    )
    for entry in asked.rejected:
        ledger.emit("video_failed", video=entry.source, reason=entry.reason)
    for video in asked.unfit:
        ledger.emit("video_unfit", video=video.name, reason=video.reason)
    for folder, reason in asked.left_out:
        ledger.emit("inputs_left_out", folder=folder, reason=reason)
    try:
        yield
    except BaseException as error:
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        ledger.emit("run_stopped", reason=reason)
        raise


def _write_trace(paths: RunPaths) -> None:
    with contextlib.suppress(StoreError, OSError):  # a full disk must not cost the run; `geoflow report` tries again
        write_trace(paths.events, paths.trace)


def _progress(
    console: Console | None, num_inputs: int
) -> contextlib.AbstractContextManager[ConsoleProgress | NotebookProgress]:
    """Return the progress display: a widget in Jupyter, unless a console was given; else bars or lines."""
    if console is None and in_notebook():
        from geoflow.notebook.live import NotebookProgress

        return NotebookProgress(num_inputs)
    from rich.console import Console

    return ConsoleProgress(console or Console(file=sys.stderr), num_inputs)


def _prepare(paths: RunPaths) -> None:
    """Make the output folder. Raises ConfigError if that is impossible."""
    try:
        paths.videos.mkdir(parents=True, exist_ok=True)
        probe = paths.root / f".writable-{uuid.uuid4().hex[:8]}"
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"-o {paths.root} should be a folder, but a file stands there; name another") from None
    except OSError as error:
        raise ConfigError(f"-o {paths.root} cannot be written: {error.strerror}; name a folder you may write") from None


def _with_long_side(pipe: Pipeline, options: ReadOptions) -> ReadOptions:
    """Return the options with the size that the stage `decode` asks for, if the user states none."""
    if options.size is not None or "decode" not in {spec.slot for spec in pipe.stages}:
        return options
    decode = pipe.spec("decode").make_stage().params
    return ReadOptions(**{**asdict(options), "long_side": getattr(decode, "long_side", None)})


def _bind(pipe: Pipeline, options: ReadOptions, paths: RunPaths, owner: str) -> tuple[Pipeline, str]:
    """Give the stages what only the run knows. The stamp is the JSON that every store carries."""
    stamp = json.dumps({**pipe.to_dict(), "fingerprint": pipe.fingerprint(), "reading": options.described()})
    return pipe.bound({"out": str(paths.root), "owner": owner, "pipeline": stamp}), stamp


def _forget_copies(sources: Sequence[str], *, alone: bool) -> None:
    """Delete the fetched copies on every node, once all videos have ended."""
    if remote := [source for source in sources if is_remote(source)]:
        with contextlib.suppress(Exception):  # a node that leaves at this moment; the next run bounds its cache
            forget(remote) if alone else on_every_node(forget, remote)


def _probe(
    item: Input,
    describe: Callable[[Input], tuple[VideoInfo, dict[str, Any]]],
    checks: Callable[[VideoInfo], VideoInfo],
    kept: dict[str, str],
) -> tuple[VideoInfo, dict[str, Any]]:
    """Probe an input, in an actor or a task of Ray."""
    if item.name in kept:
        raise StoreError(f"finished by an earlier run, and still not uploaded: {kept[item.name]}")
    info, arrays = describe(item)
    return checks(info), arrays


def _checked(info: VideoInfo, taken: dict[str, Taken], heeds: Heeds) -> VideoInfo:
    """Complete what was probed. Raises StoreError if the video's place in OUT is taken."""
    if info.name in taken:
        taken[info.name].check(info)
    return as_heeded(info, heeds)
