"""Inputs decided before Ray is up: by a child process that the driver does not depend on."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import early_inputs
import pytest

from geoflow.engine.early_probes import EarlyProbes, Patience, decide_early, deciding_meanwhile
from geoflow.engine.state import NOT_FINISHED, VideoRun
from geoflow.errors import StoreError
from geoflow.segments import VideoInfo
from geoflow.video.inputs import Input
from geoflow.video.probing_process import ProbingProcess, probing_process


class Early:
    """Early probes over made-up inputs, with the events that they caused. `old` are complete from an earlier run."""

    probes: EarlyProbes

    def __init__(self, *names: str, old: tuple[str, ...] = (), ahead: int = 2) -> None:
        self.videos = [VideoRun(order, Input(name, f"/{name}.mp4")) for order, name in enumerate(names)]
        self.child: ProbingProcess | None = None
        self.ahead = ahead
        self.events: list[tuple[str, str]] = []
        self._old = old

    def check(self, info: VideoInfo) -> VideoInfo:
        if "taken" in info.name:
            raise StoreError(f"{info.name} is the store of another video")
        return info

    def decide(self, each_s: float = 20.0, **options: Any) -> bool:
        patience = Patience(60.0, each_s)
        return decide_early(self.videos, self.probes, patience, self.already_done, self.emit, **options)

    def already_done(self, info: VideoInfo) -> dict[str, Any] | None:
        if "unreadable" in info.name:
            raise OSError("the store cannot be read")
        return {"recovered": "all"} if info.name in self._old else None

    def emit(self, event: str, **data: Any) -> None:
        self.events.append((event, data["video"]))

    @property
    def status(self) -> list[str]:
        return [video.status for video in self.videos]

    def until_answered(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while self.probes._answers.qsize() + len(self.probes._kept) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@contextlib.contextmanager
def early(*names: str, **options: Any) -> Iterator[Early]:
    made = Early(*names, **options)
    with probing_process(early_inputs.describe) as made.child:
        made.probes = EarlyProbes(made.child, made.check, made.videos, made.ahead)
        with made.probes:
            yield made


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_refused_or_finished_needs_no_ray() -> None:
    with early("corrupt", "old", "taken", old=("old",)) as made:
        assert made.decide()
    assert made.status == ["failed", "skipped", "failed"]
    assert made.child is not None and not is_there(made.child.pid)
    assert made.videos[0].reason == "/corrupt.mp4 is not a video; re-encode it"
    assert made.videos[2].reason == "taken is the store of another video"
    assert made.events == [("video_failed", "corrupt"), ("video_skipped", "old"), ("video_failed", "taken")]


def test_probing_goes_on_a_little_while_ray_starts() -> None:
    with early("old", "new", "more", "far", "farther", old=("old",), ahead=2) as made:
        assert not made.decide()
        assert made.status == ["skipped", *["waiting"] * 4]
        made.until_answered(2)
        made.probes.ask_no_more()
        assert [video.name for video in made.probes.coming()] == ["new", "more"], "two ahead of what is decided"
        found = [made.probes.next(0) for _ in range(2)]
        assert [early.video.name for early in found if early and early.outcome] == ["new", "more"]
        assert made.probes.next(0) is None and made.probes.ended


def test_while_ray_starts_more_is_refused_or_found_finished() -> None:
    with early("new", "corrupt", "old", "more", "taken", old=("old",), ahead=3) as made:
        assert not made.decide()
        with deciding_meanwhile(made.videos, made.probes, made.already_done, made.emit):
            deadline = time.monotonic() + 20
            while len(made.events) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert made.status == ["waiting", "failed", "skipped", "waiting", "failed"]
        assert [video.name for video in made.probes.coming()] == ["new", "more"], "in their order"


def test_no_video_is_lost_if_deciding_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.excepthook", lambda args: None)
    with early("new", "unreadable") as made:
        assert not made.decide()
        made.until_answered(2)
        with deciding_meanwhile(made.videos, made.probes, made.already_done, made.emit):
            time.sleep(0.3)
        assert [video.name for video in made.probes.coming()] == ["new", "unreadable"]


@pytest.mark.parametrize("trouble", ["crash", "bug"])
def test_what_ends_the_child_or_is_no_fault_of_the_input_is_left_to_ray(trouble: str) -> None:
    with early("corrupt", trouble, "old", old=("old",)) as made:
        assert not made.decide()
        assert made.status == ["failed", "waiting", "waiting"]
        (early_one,) = [made.probes.next(0)]
        assert early_one is not None and early_one.video.name == trouble and early_one.outcome is None
        made.probes.ask_no_more()
        assert made.probes.coming() == [], "so that all others are probed as usual"


def test_a_probe_that_takes_long_does_not_hold_up_the_start() -> None:
    with early("hang", "old", old=("old",)) as made:
        began = time.monotonic()
        assert not made.decide(each_s=0.3) and time.monotonic() - began < 5
        made.probes.ask_no_more()
        assert made.probes.pending and [video.name for video in made.probes.coming()] == ["hang"]


def test_the_first_failure_ends_all_if_asked_to() -> None:
    with early("corrupt", "new") as made:
        assert made.decide(fail_fast=True)
    assert made.status == ["failed", "failed"] and made.videos[1].reason == NOT_FINISHED


def test_without_a_child_everything_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("geoflow.video.probing_process.subprocess.Popen", refuse)
    with early("corrupt") as made:
        assert not made.decide() and made.status == ["waiting"] and made.probes.coming() == []
