"""Stages that note down every call, for tests of what a resumed run does again; and a driver to be interrupted."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.bench.faults.stages import geometry_from_prior, prior_from_brightness
from geoflow.observe.ledger import read_events
from geoflow.segments import Segment, Span
from geoflow.stage import SHARED, Fields, Read, Stage, param
from geoflow.store.paths import RunPaths


def hurry_file(folder: Path) -> Path:
    """As long as there is this file, calls last no longer than they need: what takes time is a parameter, and stays."""
    return folder / "hurry"


class _Counting(Stage):
    @dataclass(frozen=True)
    class Params(Stage.Params):
        folder: str = param("", "where calls are noted down")
        factor: float = param(1.0, "changes the result")
        seconds: float = param(0.0, "how long a call takes")
        full: bool = param(False, "pretend that the disk is full")
        fail_in: str = param("", "fail on segment 1 if there is a file of this name in the folder")

    def setup(self) -> None:
        from geoflow.engine.actor import workfiles

        if self.params.full:
            workfiles._RESERVED_BYTES = 1 << 60

    def _note(self, what: str, segment: Segment) -> None:
        with open(Path(self.params.folder) / "calls", "a") as file:
            file.write(f"{what} {self.slot} {segment.index}\n")

    def _take(self, seconds: float) -> None:
        """Last as long as the parameter says, until the driver that was to be interrupted has ended."""
        if not hurry_file(Path(self.params.folder)).exists():
            time.sleep(seconds)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self._note("began", segment)
        if self.params.fail_in and segment.index == 1 and (Path(self.params.folder) / self.params.fail_in).exists():
            raise RuntimeError("not today")
        self._take(self.params.seconds)
        result = self.compute(fields)
        self._note("ended", segment)
        return result

    def compute(self, fields: Fields) -> Fields:
        raise NotImplementedError


class Prior(_Counting):
    """Depth from brightness."""

    slot = "prior"
    inputs = ("frames.rgb",)
    outputs = ("prior.points", "prior.mask", "prior.intrinsics")

    def compute(self, fields: Fields) -> Fields:
        return prior_from_brightness(fields["frames.rgb"], self.params.factor)


class Chapters(Prior):
    """The same depth, in a scale that is worked out for a chapter of twelve frames at a time."""

    span = "chapter"
    chapter_length, chapter_reach = 12, 4

    @dataclass(frozen=True)
    class Params(_Counting.Params):
        die_in: str = param("", "end in a survey if there is a file of this name in the folder, and remove it")
        survey_seconds: float = param(0.0, "how long a survey takes")

    def survey(self, span: Span, read: Read) -> Fields:
        with open(Path(self.params.folder) / "surveys", "a") as file:
            file.write(f"{span.start} {span.stop}\n")
        mean = [float(piece["frames.rgb"].mean()) for piece in read()]
        if self.params.die_in and (there := Path(self.params.folder) / self.params.die_in).exists():
            there.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        self._take(self.params.survey_seconds)
        return {"scale": np.array([1 + mean[0] / 255])}

    def process(self, segment: Segment, fields: Fields) -> Fields:
        start, stop = fields[SHARED + "range"]
        assert start <= segment.start < segment.stop <= stop
        return super().process(segment, fields)

    def compute(self, fields: Fields) -> Fields:
        return prior_from_brightness(fields["frames.rgb"], self.params.factor * float(fields[SHARED + "scale"][0]))


class Geometry(_Counting):
    """The prior in another scale."""

    slot = "geometry"
    inputs = ("prior.points", "prior.mask", "prior.intrinsics")
    outputs = ("geometry.points", "geometry.mask", "geometry.intrinsics")

    def compute(self, fields: Fields) -> Fields:
        return geometry_from_prior(fields, self.params.factor)


class Tinted(_Counting):
    """Grey frames instead of the video's own: as bright as `factor` says."""

    slot = "decode"
    inputs = ("video.index", "video.time")
    outputs = ("frames.rgb", "frames.index", "frames.time")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        self._part, self._video = slice(segment.start, segment.stop), segment.video
        return super().process(segment, fields)

    def compute(self, fields: Fields) -> Fields:
        index, time = fields["video.index"][self._part], fields["video.time"][self._part]
        rgb = np.full((len(index), self._video.height, self._video.width, 3), self.params.factor, np.uint8)
        return {"frames.rgb": rgb, "frames.index": index, "frames.time": time}


def shortest(folder: Path, factor: float, seconds: float) -> dict[str, Any]:
    """A pipeline of two actors that writes a store whose every frame shows its settings."""
    params = {"folder": str(folder), "factor": factor, "seconds": seconds}
    rows = [
        {"slot": "decode", "backend": "counting_stages:Tinted", "params": params, "actors": 1, "weight": 1.0},
        {"slot": "write", "backend": "geoflow.stages.write", "params": {"rgb": True}},
    ]
    stages = [{**row, "num_cpus": 0.5} for row in rows]
    return {"name": "shortest", "segment": {"size": 8, "overlap": 2}, "stages": stages}


def pipeline(folder: Path, **settings: Any) -> dict[str, Any]:
    """Two counted stages between the real decode, stitch and write; `settings` such as prior__seconds=1."""
    counted = {"params": {"folder": str(folder)}, "num_cpus": 0.5, "weight": 1.0, "actors": 1}
    rows: list[dict[str, Any]] = [
        {"slot": "decode", "backend": "geoflow.stages.decode", "num_cpus": 0.5},
        {"slot": "prior", "backend": "counting_stages:Prior", **counted},
        {"slot": "geometry", "backend": "counting_stages:Geometry", **counted},
        {"slot": "stitch", "backend": "geoflow.stages.stitch", "num_cpus": 0.5},
        {"slot": "write", "backend": "geoflow.stages.write", "num_cpus": 0.5},
    ]
    raw = {"name": "counted", "segment": {"size": 8, "overlap": 2}, "stages": rows}
    for key, value in settings.items():
        slot, _, name = key.partition("__")
        if not name:
            raw[key] = value
        for row in rows:
            if row["slot"] == slot and name in ("actors", "optional", "keep", "backend", "env"):
                row[name] = value
            elif row["slot"] == slot:
                row["params"] = {**row.get("params", {}), name: value}
    return raw


def drive(address: str, *arguments: str) -> None:
    """`geoflow` in a process of its own, on a cluster whose workers find this module."""
    import logging

    import ray

    from geoflow import cli

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    sys.argv = ["geoflow", *arguments]
    cli.main()


def calls(folder: Path, what: str = "began") -> list[tuple[str, int]]:
    """(slot, segment) of every call so far, in order."""
    path = folder / "calls"
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(slot, int(index)) for kind, slot, index in rows if kind == what]


def surveys(folder: Path) -> list[tuple[int, int]]:
    """Frames [start, stop) of every survey so far that was begun, in order."""
    path = folder / "surveys"
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(int(start), int(stop)) for start, stop in rows]


def events(out: Path) -> list[dict[str, Any]]:
    return read_events(RunPaths(out).events)


if __name__ == "__main__":
    drive(*sys.argv[1:])
