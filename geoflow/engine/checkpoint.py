"""What a run leaves on disk as it goes, and what a resumed run makes of it. The driver's side: names and keys only."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoflow.engine.actor.workfiles import SavedState, SaveTo, looks_whole
from geoflow.engine.graph import Graph
from geoflow.engine.keys import Keys
from geoflow.engine.resume import Action, below_order, choose_actions, finished_prefix
from geoflow.engine.state import SegmentRun, VideoRun
from geoflow.errors import StoreError
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, VideoInfo, count_segments, plan_segments
from geoflow.stage import SegmentRecord
from geoflow.store.paths import RunPaths
from geoflow.store.whole import write_whole

_SEGMENT_FILE = re.compile(r"segment_(\d+)\.")
_STATES_KEPT = 2  # of finished segments; the older one is there in case the newer turns out damaged


class Checkpoint:
    """Keeps the list of finished segments, and says for each segment to come what runs and what is restored.

    Without `paths` nothing is saved and everything runs.
    """

    def __init__(
        self,
        graph: Graph,
        pipeline: Pipeline,
        paths: RunPaths | None,
        *,
        emit: Callable[..., None],
        reading: str = "",
        part_key: Callable[[VideoInfo], str] = lambda info: "",
        resume: bool = True,
    ) -> None:
        """`part_key`: what the last stage's part files of a video are known by."""
        self._graph, self._paths, self._emit, self._resume = graph, paths, emit, resume
        self._part_key = part_key
        self._size, self._overlap = pipeline.segment.size, pipeline.segment.overlap
        self._keep_fields = pipeline.keep_fields
        self._keys = Keys(graph, [spec.signature() for spec in pipeline.stages], reading)
        self._kept = {
            row.index
            for row, spec in zip(graph.nodes, pipeline.stages)
            if graph.children[row.index] and (spec.kept or (spec.keep is None and pipeline.keep_fields))
        }
        self._ordered = {row.index for row in graph.nodes if row.ordered}
        self._below_order = below_order(graph)
        self._reported: set[str] = set()

    # Videos

    def begin(self, video: VideoRun, *, disabled: Set[int], undecided: Set[int]) -> bool:
        """Settle where a video goes on. False while that hangs on a stage of which nobody knows yet if it can run."""
        assert video.info is not None
        if video.journal is None:
            video.journal = self._open(video)
        gone = {slot for row in video.journal for slot, why in row["absent"].items() if why == "disabled"}
        if gone & {self._graph.nodes[node].slot for node in undecided}:
            return False
        rows = self._usable(video, video.journal, disabled)
        self._trim(video, rows)
        first = len(rows)
        video.num_segments = count_segments(video.info.num_frames, self._size, self._overlap)
        video.plan = itertools.islice(plan_segments(video.info, self._size, self._overlap), first, None)
        video.records = [SegmentRecord(**{**row["record"], "notes": tuple(row["record"]["notes"])}) for row in rows]
        video.cursor = dict.fromkeys(self._ordered, first)
        video.chain = self._ordered_keys(rows[-1]) if rows else {}
        video.ahead = dict(video.chain)
        video.state = {node: SavedState(path) for node, path in self._states(video, rows[-1])} if rows else {}
        video.state_files = [[path for _, path in self._states(video, row)] for row in rows[-_STATES_KEPT:]]
        video.journal = None
        return True

    def rewind(self, video: VideoRun) -> None:
        """Let `begin` look at the disk again."""
        video.planned, video.plan, video.upcoming = False, iter(()), None

    def forget_states(self, video: VideoRun) -> None:
        """The states that a video went on from are damaged."""
        for saved in video.state.values():
            if isinstance(saved, SavedState):
                _delete(saved.path)

    def over(self, name: str) -> None:
        """The video's store is whole."""
        if self._paths is None:
            return
        if self._keep_fields:
            _delete(self._paths.finished(name))
        else:
            shutil.rmtree(self._paths.parts(name), ignore_errors=True)
        with contextlib.suppress(OSError):
            self._paths.work.rmdir()  # only when this was the last unfinished video

    # Segments

    def plan(self, run: SegmentRun, disabled: Set[int]) -> None:
        """Decide what becomes of each stage on a segment that is about to start."""
        if self._paths is None:
            run.actions = (Action.RUN,) * len(self._graph.nodes)
            return
        video, nodes = run.video, self._graph.nodes
        given_up = video.given_up.get(run.segment.index, {})
        absent = disabled | given_up.keys()
        run.keys = self._keys.of_all(run.segment, absent, video.ahead)
        video.ahead = {node: run.keys[node] for node in self._ordered if node in run.keys}
        found = video.found.pop(run.segment.index, set())
        saved = {node for node in self._kept & run.keys.keys() if self._is_saved(run, node, found)}
        run.actions = choose_actions(self._graph, saved, absent)
        run.settled = {node for node, action in enumerate(run.actions) if action is Action.UNNEEDED}
        run.given_up, run.notes = set(given_up), list(given_up.values())
        if not self._keep_fields:
            used = {Path(path).name for node in saved for path in self._files(run, node)}
            for name in found - used:
                _delete(self._paths.parts(video.name) / name)
        if len(run.settled) or Action.RESTORE in run.actions:
            slots = {action: [nodes[i].slot for i, a in enumerate(run.actions) if a is action] for action in Action}
            self._emit(
                "segment_resumed",
                video=video.name,
                index=run.segment.index,
                restored=slots[Action.RESTORE],
                unneeded=slots[Action.UNNEEDED],
            )

    def set_key(self, node: int, run: SegmentRun) -> bool:
        """Give `node` the key of what it is about to do, from what was really done above it.

        False when that is not what `plan` expected and the plan restores results that hang on it: a stage failed
        that did not fail before, so they belong to another course of the video.
        """
        if self._paths is None:
            return True
        key = self._keys.of(node, run.segment, run.keys, run.video.chain.get(node))
        expected, run.keys[node] = run.keys.get(node), key
        if key == expected or node not in self._ordered:
            return True
        return all(run.actions[below] is Action.RUN for below in self._below_order)

    def save_to(self, node: int, run: SegmentRun) -> SaveTo | None:
        """Where the worker leaves what it makes of this segment."""
        if self._paths is None or not (node in self._kept or node in self._ordered):
            return None
        fields = self._file(run, node, "fields") if node in self._kept else None
        return SaveTo(fields, self._file(run, node, "state") if node in self._ordered else None)

    def saved(self, node: int, run: SegmentRun) -> SaveTo:
        """Where `node` left this segment in an earlier run."""
        state = self._file(run, node, "state") if node in self._ordered else None
        return SaveTo(self._file(run, node, "fields"), state)

    def forget(self, node: int, run: SegmentRun) -> None:
        """What was saved is damaged."""
        for path in self._files(run, node):
            _delete(path)

    def finished(self, run: SegmentRun, record: SegmentRecord, disabled: Set[int]) -> None:
        """Every stage is done with the segment: list it, and delete what was saved of it on the way."""
        if self._paths is None:
            return
        nodes, video = self._graph.nodes, run.video
        row = {
            "index": run.segment.index,
            "keys": {nodes[node].slot: key for node, key in run.keys.items()},
            "absent": {nodes[node].slot: "disabled" if node in disabled else "failed" for node in run.absent},
            "part": self._part_size(video, run.segment.index),
            "record": asdict(record),
        }
        try:
            path = self._paths.finished(video.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            self.unsaved("the list of finished segments", str(error))
            return
        if self._keep_fields:
            return
        video.state_files.append([self._file(run, node, "state") for node in self._ordered & run.keys.keys()])
        old = video.state_files.pop(0) if len(video.state_files) > _STATES_KEPT else []
        for name in [*old, *(self._file(run, node, "fields") for node in self._kept & run.keys.keys())]:
            _delete(name)

    def unsaved(self, what: str, reason: str) -> None:
        """Something could not be saved. That costs a resumed run time, and this one nothing; say so once."""
        if what not in self._reported:
            self._reported.add(what)
            self._emit("work_unsaved", slot=what, reason=reason)

    # Files

    def _open(self, video: VideoRun) -> list[dict[str, Any]]:
        """List a video's work folder; returns the finished segments, the latest word on each, by number."""
        if self._paths is None:
            return []
        folder = self._paths.parts(video.name)
        if not self._resume and not video.began:  # --fresh; a rewound video has begun
            shutil.rmtree(folder, ignore_errors=True)
        video.found = {}
        for path in folder.iterdir() if folder.is_dir() else ():
            if (match := _SEGMENT_FILE.match(path.name)) and path.suffix != ".h5":
                video.found.setdefault(int(match[1]), set()).add(path.name)
        rows: dict[int, dict[str, Any]] = {}
        with contextlib.suppress(OSError):
            for line in self._paths.finished(video.name).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # a line cut short by a kill
                    row = json.loads(line)
                    rows[row["index"]] = row
        return [rows[index] for index in sorted(rows)]

    def _usable(self, video: VideoRun, journal: list[dict[str, Any]], disabled: Set[int]) -> list[dict[str, Any]]:
        assert video.info is not None
        node_of = {row.slot: row.index for row in self._graph.nodes}

        def valid(item: tuple[Segment, dict[str, Any], dict[str, Any] | None]) -> bool:
            segment, row, previous = item
            if row["index"] != segment.index or row["part"] != self._part_size(video, segment.index):
                return False
            absent = {node_of.get(slot, -1) for slot, why in row["absent"].items() if why == "failed"}
            absent |= {node_of[slot] for slot in row["absent"] if node_of.get(slot) in disabled}
            keys = self._keys.of_all(segment, absent, self._ordered_keys(previous) if previous else {})
            return row["keys"] == {self._graph.nodes[node].slot: key for node, key in keys.items()}

        segments = plan_segments(video.info, self._size, self._overlap)
        items = zip(segments, journal, [None, *journal])
        kept = finished_prefix(
            items, valid, can_go_on=lambda item: all(looks_whole(path) for _, path in self._states(video, item[1]))
        )
        return [row for _, row, _ in kept]

    def _trim(self, video: VideoRun, rows: list[dict[str, Any]]) -> None:
        """Leave on disk only the finished segments that are used: others are of another course of the video."""
        if self._paths is None or not self._paths.parts(video.name).is_dir():
            return
        assert video.info is not None
        key = self._part_key(video.info)
        for index, found, path in self._paths.all_parts(video.name):
            if found != key or index >= len(rows):
                _delete(path)
        try:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            write_whole(self._paths.finished(video.name), text.encode())
        except StoreError as error:
            _delete(self._paths.finished(video.name))
            self.unsaved("the list of finished segments", str(error))

    def _is_saved(self, run: SegmentRun, node: int, found: set[str]) -> bool:
        return all(Path(path).name in found and looks_whole(path) for path in self._files(run, node))

    def _files(self, run: SegmentRun, node: int) -> list[str]:
        kinds = ("fields", "state") if node in self._ordered else ("fields",)
        return [self._file(run, node, kind) for kind in kinds]

    def _file(self, run: SegmentRun, node: int, kind: str) -> str:
        assert self._paths is not None
        slot, index = self._graph.nodes[node].slot, run.segment.index
        return str(self._paths.saved(run.video.name, index, slot, run.keys[node], kind))

    def _states(self, video: VideoRun, row: dict[str, Any]) -> list[tuple[int, str]]:
        assert self._paths is not None
        found = []
        for node in sorted(self._ordered):
            slot = self._graph.nodes[node].slot
            if slot in row["keys"]:
                path = self._paths.saved(video.name, row["index"], slot, row["keys"][slot], "state")
                found.append((node, str(path)))
        return found

    def _ordered_keys(self, row: dict[str, Any]) -> dict[int, str]:
        slots = {node: self._graph.nodes[node].slot for node in self._ordered}
        return {node: row["keys"][slot] for node, slot in slots.items() if slot in row["keys"]}

    def _part_size(self, video: VideoRun, index: int) -> int | None:
        """Bytes of the segment's part file, if the last stage leaves one."""
        assert self._paths is not None and video.info is not None
        try:
            return self._paths.part(video.name, index, self._part_key(video.info)).stat().st_size
        except OSError:
            return None


def _delete(path: str | Path) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()
