"""`geoflow scan`: every input looked at, several at a time, and judged."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.cluster.machine import cores
from geoflow.errors import GeoFlowError, InputError
from geoflow.scanning import fitness
from geoflow.scanning.fitness import ScanFinding, ScanParams
from geoflow.scanning.likeness import hash_text, is_part, may_be_part
from geoflow.scanning.measuring import LONG_SIDE, STILL, FrameSource, VideoMeasures, measure
from geoflow.segments import VideoInfo
from geoflow.values.durations import in_words
from geoflow.video.inputs import Input, Rejected, expand_inputs, listed
from geoflow.video.options import ReadOptions
from geoflow.video.probing_process import Answer, Describe, ProbingProcess

_CRASHED = "the decoder crashed on it; convert it again, such as with: ffmpeg -i IN -c:v libx264 OUT.mp4"


@dataclass(frozen=True)
class ScannedVideo:
    """What a scan says of one input. What could not be read has findings only."""

    name: str
    source: str
    findings: tuple[ScanFinding, ...]
    unfit: tuple[str, ...]  # kinds of those findings that make it unfit
    info: VideoInfo | None = None
    measured: VideoMeasures | None = None
    duplicate_of: str = ""  # the name of the input that has the same pictures, and is kept

    @property
    def verdict(self) -> str:
        return "unfit" if self.unfit else "fit"

    @property
    def is_broken(self) -> bool:
        return self.info is None

    @property
    def reason(self) -> str:
        """Return why it is unfit, in one line; empty if it is fit."""
        return "; ".join(str(finding) for finding in self.findings if finding.kind in self.unfit)

    def row(self) -> dict[str, Any]:
        """Return it as plain values: a row of scan.parquet."""
        row: dict[str, Any] = {"name": self.name, "path": self.source, "verdict": self.verdict, "reason": self.reason}
        row |= {"findings": [finding.kind for finding in self.findings], "unfit": list(self.unfit)}
        row |= {"details": [str(finding) for finding in self.findings], "duplicate_of": self.duplicate_of}
        if self.info is None or (seen := self.measured) is None:
            return row
        return row | {
            "duration_s": seen.duration_s,
            "frames": self.info.num_frames,
            "fps": self.info.fps,
            "width": self.info.source_width,
            "height": self.info.source_height,
            "camera": seen.camera,
            "cuts_s": list(seen.cuts_s),
            "unsearched": seen.unsearched,
            "blur": _middle(seen.blur),
            "brightness": _middle(seen.brightness),
            "overexposed": _middle(seen.overexposed),
            "bare": float(seen.bare.mean()),
            "hashes": [hash_text(bits) for bits in seen.fingerprint.hashes],
            "notes": list(self.info.notes),
            "frames_read": seen.frames_read,
        }


def scan_inputs(
    inputs: str | Path | Sequence[str | Path],
    settings: Mapping[str, Any] | None = None,
    *,
    stream: int | None = None,
    pattern: str | None = None,
    seen: Callable[[str], None] | None = None,
) -> list[ScannedVideo]:
    """Look at every input and judge it, in the order of the inputs; what names no video comes last.

    `inputs`, `stream` and `pattern` are as for `geoflow.run`; `settings` are parameters of `ScanParams`. `seen` is
    called with the name of each video that was looked at.

    Raises ConfigError for settings that cannot be, InputError if there is no input at all.
    """
    options = ReadOptions(stream=stream, pattern=pattern)
    items, rejected = expand_inputs(listed(inputs), options.pattern)
    if not items and not rejected:
        raise InputError("nothing to do: no input was given")
    return scan_items(items, options, ScanParams.of(settings), rejected=rejected, seen=seen)


def scan_items(
    items: Sequence[Input],
    options: ReadOptions,
    params: ScanParams,
    *,
    rejected: Sequence[Rejected] = (),
    seen: Callable[[str], None] | None = None,
) -> list[ScannedVideo]:
    """Look at inputs that are already expanded; of `options`, those that say how sources are read count."""
    reading = ReadOptions(stream=options.stream, pattern=options.pattern, long_side=LONG_SIDE)
    answers = _ask(items, partial(measure, options=reading, params=params), seen or (lambda name: None))
    videos = [_judged(item, answer, params) for item, answer in zip(items, answers)]
    originals = _duplicates(videos, answers, params)
    videos = [
        _as_duplicate(video, videos[originals[k]], params) if k in originals else video
        for k, video in enumerate(videos)
    ]
    broken = [ScannedVideo(r.source, r.source, *_broken(r.reason)) for r in rejected]
    return [*videos, *broken]


def _ask(items: Sequence[Input], describe: Describe, seen: Callable[[str], None]) -> list[Answer]:
    """Measure all inputs, as many at a time as there are CPUs, each in a process that may crash without harm."""
    answers: list[Answer] = [Answer()] * len(items)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(items)):
        waiting.put(number)
    stop = threading.Event()

    def work() -> None:
        with _child(describe) as ask:
            while not stop.is_set():
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                answers[number] = ask(items[number])
                seen(items[number].name)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(cores(), len(items)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        stop.set()
    return answers


@contextlib.contextmanager
def _child(describe: Describe) -> Iterator[Callable[[Input], Answer]]:
    """Provide a function that asks a child process; if it crashes, the input is broken and the next has a new child."""
    child: ProbingProcess | None = None

    def ask(item: Input) -> Answer:
        nonlocal child
        try:
            child = child or ProbingProcess(describe)
            return child.ask(item)
        except (EOFError, OSError):
            if child is not None:
                child.end()
                child = None
            return Answer(error=InputError(f"{item.source}: {_CRASHED}"))

    try:
        yield ask
    finally:
        if child is not None:
            child.end()


def _broken(reason: str) -> tuple[tuple[ScanFinding, ...], tuple[str, ...]]:
    return (ScanFinding(fitness.BROKEN, reason),), (fitness.BROKEN,)


def _judged(item: Input, answer: Answer, params: ScanParams) -> ScannedVideo:
    if answer.error is not None:
        return ScannedVideo(item.name, item.source, *_broken(str(answer.error)))
    if answer.found is None:
        raise RuntimeError(f"{item.source} could not be measured")  # a bug, which the child has no words for
    info, measured = answer.found[0], answer.found[1]["scan"]
    findings = tuple(_findings(info, measured, params))
    unfit = tuple(finding.kind for finding in findings if finding.kind in params.refuse)
    return ScannedVideo(item.name, item.source, findings, unfit, info, measured)


def _findings(info: VideoInfo, seen: VideoMeasures, params: ScanParams) -> Iterator[ScanFinding]:
    if info.num_frames < params.frames:
        yield ScanFinding(fitness.SHORT, f"{info.num_frames} frame{'s' if info.num_frames != 1 else ''}")
    shares = (
        (fitness.DARK, seen.brightness < params.dark, f"brightness {_middle(seen.brightness):.2f}"),
        (fitness.BLOWN, seen.overexposed > params.blown, f"{_middle(seen.overexposed):.0%} of the pixels overexposed"),
        (fitness.BLURRED, seen.blur > params.blur, f"blur {_middle(seen.blur):.2f}"),
        (fitness.BARE, seen.bare, "hardly a point to follow"),
    )
    for kind, which, measured in shares:
        if which.mean() >= params.much:
            yield ScanFinding(kind, f"{measured}, in {which.sum()} of {len(which)} frames looked at")
    if seen.camera == STILL:
        yield ScanFinding(
            fitness.STILL, f"nothing but things that move by themselves moves in {len(seen.looks)} frames"
        )
    if seen.cuts_s:
        number = len(seen.cuts_s)
        at = ", ".join(f"{cut:.2f}" for cut in seen.cuts_s[:8]) + (", ..." if number > 8 else "")
        yield ScanFinding(fitness.CUTS, f"{'at least ' if seen.unsearched else ''}{number}, at {at} s")


def _middle(values: np.ndarray) -> float:
    """Return the median of the values that are numbers; NaN if none is."""
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _duplicates(videos: Sequence[ScannedVideo], answers: Sequence[Answer], params: ScanParams) -> dict[int, int]:
    """Return which videos show the same as another one, or a part of it: their places -> the place of the one kept.

    Videos that are fit are kept rather than others; then the longest, of equally long ones that with most pixels, then
    that with most frames, then the first.
    """
    able = [k for k, video in enumerate(videos) if video.measured is not None]
    best_first = sorted(able, key=lambda k: _worth(videos[k]), reverse=True)
    kept: list[int] = []
    found: dict[int, int] = {}
    for k in best_first:
        original = next((o for o in kept if _same(k, o, videos, answers, params)), None)
        if original is None:
            kept.append(k)
        else:
            found[k] = original
    return found


def _worth(video: ScannedVideo) -> tuple[bool, float, int, int]:
    assert video.info is not None and video.measured is not None
    info = video.info
    # Encoded at another rate, the same clip may last a frame longer or shorter.
    length, pixels = round(video.measured.duration_s, 1), info.source_width * info.source_height
    return not video.unfit, length, pixels, info.num_frames


def _same(k: int, original: int, videos: Sequence[ScannedVideo], answers: Sequence[Answer], params: ScanParams) -> bool:
    one, other, answer = videos[k].measured, videos[original].measured, answers[original]
    assert one is not None and other is not None and answer.found is not None
    if not may_be_part(one.fingerprint, other.fingerprint):
        return False
    source = FrameSource(*answer.found)
    try:
        return is_part(one.fingerprint, other.fingerprint, source.thumbnails, params.alike)
    except GeoFlowError:  # it was whole a moment ago; whoever reads it next reports it
        return False
    finally:
        source.close()


def _as_duplicate(video: ScannedVideo, original: ScannedVideo, params: ScanParams) -> ScannedVideo:
    assert video.measured is not None and original.measured is not None
    part = video.measured.duration_s < 0.95 * original.measured.duration_s
    said = f"{'a part of' if part else 'the same as'} {original.name} ({in_words(original.measured.duration_s)})"
    unfit = (*video.unfit, *({fitness.DUPLICATE} & {*params.refuse}))
    finding = ScanFinding(fitness.DUPLICATE, said)
    return replace(video, findings=(*video.findings, finding), unfit=unfit, duplicate_of=original.name)
