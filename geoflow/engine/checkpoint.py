"""What a run saves on disk, and how a resumed run uses it. This is the driver's side: names and keys only."""

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
from geoflow.engine.spans import find_span, plan_spans, shown_in
from geoflow.engine.state import ObjectRun, SegmentRun, SpanRun, VideoRun
from geoflow.errors import StoreError
from geoflow.pipeline import Pipeline
from geoflow.segments import Segment, Span, VideoInfo, count_segments, plan_segments
from geoflow.stage import SegmentRecord
from geoflow.store.paths import RunPaths
from geoflow.store.whole import write_whole

_SEGMENT_FILE = re.compile(r"segment_(\d+)\.")
_STATES_KEPT = 2  # of finished segments; the older one is a spare in case the newer one is damaged


class Checkpoint:
    """Keeps the list of finished segments. Decides for each segment to come which stages run and which are restored.

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
        """`part_key` returns the key that identifies the last stage's part files of a video."""
        self._graph, self._paths, self._emit, self._resume = graph, paths, emit, resume
        self._part_key = part_key
        self._size, self._overlap = pipeline.segment.size, pipeline.segment.overlap
        self._keep_fields = pipeline.keep_fields
        self._keys = Keys(graph, [spec.signature() for spec in pipeline.stages], reading)
        self._kept = {
            row.index
            for row, spec in ((row, pipeline.stages[row.stage]) for row in graph.steps if not row.surveys)
            if (graph.children[row.index] or row.condenses)
            and (spec.kept or (spec.keep is None and pipeline.keep_fields))
        }
        self._ordered = {row.index for row in graph.steps if row.ordered}
        self._below_order = below_order(graph)
        self._reported: set[str] = set()

    # Videos

    def begin(self, video: VideoRun, *, disabled: Set[int], undecided: Set[int]) -> bool:
        """Decide where a video continues. Return False while it is not known whether a stage that matters can run."""
        assert video.info is not None
        if video.kept.journal is None:
            video.kept.journal = self._open(video)
        gone = {name for row in video.kept.journal for name, why in row["absent"].items() if why == "disabled"}
        if gone & {self._graph.steps[step].name for step in undecided}:
            return False
        video.spans = plan_spans(self._graph, video.info, self._size, self._overlap)
        rows = self._usable(video, video.kept.journal, disabled)
        self._trim(video, rows)
        first = len(rows)
        video.num_segments = count_segments(video.info.num_frames, self._size, self._overlap)
        video.plan = itertools.islice(plan_segments(video.info, self._size, self._overlap), first, None)
        video.finished = set(range(first))
        video.to_condense, video.next_ahead = iter(()), None
        if self._graph.condensing and first < video.num_segments:
            begin = min(find_span(spans, first).first for spans in video.spans.values())
            video.to_condense = itertools.islice(plan_segments(video.info, self._size, self._overlap), begin, None)
        video.records = [SegmentRecord(**{**row["record"], "notes": tuple(row["record"]["notes"])}) for row in rows]
        video.cursor = dict.fromkeys(self._ordered, first)
        video.kept.chain = self._ordered_keys(rows[-1]) if rows else {}
        video.kept.ahead = dict(video.kept.chain)
        video.state = {step: SavedState(path) for step, path in self._states(video, rows[-1])} if rows else {}
        video.kept.state_files = [[path for _, path in self._states(video, row)] for row in rows[-_STATES_KEPT:]]
        video.kept.journal = None
        self._trim_surveys(video, disabled)
        return True

    def rewind(self, video: VideoRun) -> None:
        """Make `begin` read the disk again."""
        video.planned, video.plan, video.upcoming = False, iter(()), None

    def forget_states(self, video: VideoRun) -> None:
        """Forget the states that a video continued from: they are damaged."""
        for saved in video.state.values():
            if isinstance(saved, SavedState):
                _delete(saved.path)

    def over(self, name: str) -> None:
        """Delete the saved work of a video whose store is complete."""
        if self._paths is not None:
            clear_work(self._paths, name, keep_fields=self._keep_fields)

    # Segments

    def plan(self, run: SegmentRun, disabled: Set[int]) -> None:
        """Decide for each stage whether it runs or is restored, on a segment that is about to start."""
        run.spans = {step: find_span(spans, run.segment.index) for step, spans in run.video.spans.items()}
        if run.ahead:
            self._plan_ahead(run, disabled)
            return
        if self._paths is None:
            unneeded = self._graph.condensing
            run.actions = tuple(Action.UNNEEDED if n in unneeded else Action.RUN for n in range(len(self._graph.steps)))
            run.settled = set(unneeded)
            return
        video, steps = run.video, self._graph.steps
        given_up = video.given_up.get(run.segment.index, {})
        absent = disabled | given_up.keys()
        run.keys = self._keys.of_all(run.segment, absent, video.kept.ahead, run.spans, disabled)
        video.kept.ahead = {step: run.keys[step] for step in self._ordered if step in run.keys}
        found = video.kept.found.pop(run.segment.index, set())
        saved = {step for step in self._kept & run.keys.keys() if self._is_saved(run, step, found)}
        run.actions = choose_actions(self._graph, saved, absent)
        run.settled = {step for step, action in enumerate(run.actions) if action is Action.UNNEEDED}
        run.given_up, run.notes = set(given_up), list(given_up.values())
        if not self._keep_fields:
            used = {Path(path).name for step in saved for path in self._files(run, step)}
            for name in found - used:
                _delete(self._paths.parts(video.name) / name)
        if run.settled - self._graph.condensing or Action.RESTORE in run.actions:
            worked = [row for row in steps if not row.prepares]
            slots = {action: [row.slot for row in worked if run.actions[row.index] is action] for action in Action}
            self._emit(
                "segment_resumed",
                video=video.name,
                index=run.segment.index,
                restored=slots[Action.RESTORE],
                unneeded=slots[Action.UNNEEDED],
            )

    def _plan_ahead(self, run: SegmentRun, disabled: Set[int]) -> None:
        """Do the same for a segment that only goes as far as its fields are condensed."""
        video, index = run.video, run.segment.index
        run.given_up = set(video.given_up.get(index, {}))
        absent, saved = {*disabled, *run.given_up}, set[int]()
        if self._paths is not None:
            run.keys = self._keys.of_all(run.segment, absent, {}, run.spans, disabled)
            found = video.kept.found.get(index, set())
            saved = {step for step in self._kept & run.keys.keys() if self._is_saved(run, step, found)}
        run.actions = choose_actions(self._graph, saved, absent, ahead=True)
        run.settled = {step for step, action in enumerate(run.actions) if action is Action.UNNEEDED}

    def condensed(self, run: SegmentRun) -> None:
        """Note what a segment saved that went ahead: it is restored when the segment's turn comes."""
        if self._paths is not None:
            done = {step for step, action in enumerate(run.actions) if action is not Action.UNNEEDED} - run.absent
            names = {Path(path).name for step in self._kept & done for path in self._files(run, step)}
            run.video.kept.found.setdefault(run.segment.index, set()).update(names)

    def set_key(self, step: int, run: SegmentRun) -> bool:
        """Give `step` the key of its next work, from the work that was really done above it.

        Return False if the key differs from the one that `plan` expected and saved results depend on it: a stage
        failed now that did not fail before, so the saved results do not fit any more.
        """
        if self._paths is None or self._graph.steps[step].surveys:
            return True
        key = self._keys.of(step, run.segment, run.keys, run.video.kept.chain.get(step))
        expected, run.keys[step] = run.keys.get(step), key
        if key == expected or step not in self._ordered:
            return True
        return all(run.actions[below] is Action.RUN for below in self._below_order)

    def passed(self, step: int, run: SegmentRun) -> None:
        """Note that an ordered step is done with the segment: the key of its next segment depends on it."""
        chain = run.video.kept.chain
        chain.pop(step, None)
        if step in run.keys:
            chain[step] = run.keys[step]

    def save_to(self, step: int, run: SegmentRun | SpanRun | ObjectRun) -> SaveTo | None:
        """Where the worker leaves what it makes of this segment or span; a mesh has a place of its own."""
        if isinstance(run, ObjectRun):
            return None
        if isinstance(run, SpanRun):
            return None if self._paths is None else SaveTo(self._survey_file(run), None)
        if self._paths is None or not (step in self._kept or step in self._ordered):
            return None
        fields = self._file(run, step, "fields") if step in self._kept else None
        return SaveTo(fields, self._file(run, step, "state") if step in self._ordered else None)

    def saved(self, step: int, run: SegmentRun) -> SaveTo:
        """Return where `step` saved its results for this segment in an earlier run."""
        state = self._file(run, step, "state") if step in self._ordered else None
        return SaveTo(self._file(run, step, "fields"), state)

    def forget(self, step: int, run: SegmentRun) -> None:
        """Forget the saved results of a step for a segment: they are damaged."""
        for path in self._files(run, step):
            _delete(path)

    def survey_of(self, step: int, video: VideoRun, span: Span, disabled: Set[int] = frozenset()) -> SpanRun:
        """Return the survey of a span, with its key, and with what it takes of segments."""
        run = SpanRun(video, step, span, "" if self._paths is None else self._keys.of_span(step, span, disabled))
        run.saved = self.saved_survey(run) is not None
        if (condensed := self._graph.steps[step].condensed) is not None:
            run.condensed_by, run.shown_in = condensed, shown_in(span, self._size, self._overlap)
        return run

    def saved_survey(self, run: SpanRun) -> SaveTo | None:
        """Return where this run or an earlier run saved its survey of a span; None if it is not saved."""
        if self._paths is None or not looks_whole(path := self._survey_file(run)):
            return None
        return SaveTo(path, None)

    def forget_survey(self, run: SpanRun) -> None:
        """Forget a saved survey that is damaged or not needed any more."""
        if self._paths is not None:
            _delete(self._survey_file(run))

    def survey_over(self, run: SpanRun) -> None:
        """Delete the saved survey of a span: every segment of the span is finished."""
        if not self._keep_fields:
            self.forget_survey(run)

    def finished(self, run: SegmentRun, record: SegmentRecord, disabled: Set[int]) -> None:
        """Add a segment to the list of finished segments, and delete its intermediate results."""
        if self._paths is None:
            return
        steps, video = self._graph.steps, run.video
        row = {
            "index": run.segment.index,
            "keys": {steps[step].name: key for step, key in run.keys.items() if not steps[step].condenses},
            "absent": {steps[step].name: "disabled" if step in disabled else "failed" for step in run.absent},
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
        video.kept.state_files.append([self._file(run, step, "state") for step in self._ordered & run.keys.keys()])
        old = video.kept.state_files.pop(0) if len(video.kept.state_files) > _STATES_KEPT else []
        for name in [*old, *(self._file(run, step, "fields") for step in self._kept & run.keys.keys())]:
            _delete(name)

    def unsaved(self, what: str, reason: str) -> None:
        """Report, once, that something could not be saved. Only a resumed run would need more time."""
        if what not in self._reported:
            self._reported.add(what)
            self._emit("work_unsaved", slot=what, reason=reason)

    # Files

    def _open(self, video: VideoRun) -> list[dict[str, Any]]:
        """List a video's work folder. Return the finished segments by number, with the latest entry of each."""
        if self._paths is None:
            return []
        folder = self._paths.parts(video.name)
        if not self._resume and not video.began:  # --fresh; a rewound video has begun
            shutil.rmtree(folder, ignore_errors=True)
        video.kept.found = {}
        for path in folder.iterdir() if folder.is_dir() else ():
            if (match := _SEGMENT_FILE.match(path.name)) and path.suffix != ".h5":
                video.kept.found.setdefault(int(match[1]), set()).add(path.name)
        rows: dict[int, dict[str, Any]] = {}
        with contextlib.suppress(OSError):
            for line in self._paths.finished(video.name).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # a line cut short by a kill
                    row = json.loads(line)
                    rows[row["index"]] = row
        return [rows[index] for index in sorted(rows)]

    def _usable(self, video: VideoRun, journal: list[dict[str, Any]], disabled: Set[int]) -> list[dict[str, Any]]:
        assert video.info is not None
        step_of = {row.name: row.index for row in self._graph.steps}

        def valid(item: tuple[Segment, dict[str, Any], dict[str, Any] | None]) -> bool:
            segment, row, previous = item
            if row["index"] != segment.index or row["part"] != self._part_size(video, segment.index):
                return False
            absent = {step_of.get(name, -1) for name, why in row["absent"].items() if why == "failed"}
            absent |= {step_of[name] for name in row["absent"] if step_of.get(name) in disabled}
            spans = {step: find_span(found, segment.index) for step, found in video.spans.items()}
            before = self._ordered_keys(previous) if previous else {}
            keys = self._keys.of_all(segment, absent, before, spans, disabled)
            steps = self._graph.steps
            return row["keys"] == {steps[step].name: key for step, key in keys.items() if not steps[step].condenses}

        segments = plan_segments(video.info, self._size, self._overlap)
        items = zip(segments, journal, [None, *journal])
        kept = finished_prefix(
            items, valid, can_go_on=lambda item: all(looks_whole(path) for _, path in self._states(video, item[1]))
        )
        return [row for _, row, _ in kept]

    def _trim(self, video: VideoRun, rows: list[dict[str, Any]]) -> None:
        """Keep on disk only the finished segments that are used: the others do not fit the present run."""
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

    def _trim_surveys(self, video: VideoRun, disabled: Set[int]) -> None:
        """Keep on disk only the surveys that a segment to come may need."""
        if self._paths is None or self._keep_fields or not self._paths.parts(video.name).is_dir():
            return
        used = {
            self._paths.surveyed(
                video.name, span.index, self._graph.steps[step].slot, self._keys.of_span(step, span, disabled)
            )
            for step, spans in video.spans.items()
            for span in spans
            if span.last >= len(video.records)
        }
        for path in set(self._paths.parts(video.name).glob("span_*")) - used:
            _delete(path)

    def _survey_file(self, run: SpanRun) -> str:
        assert self._paths is not None
        slot = self._graph.steps[run.step].slot
        return str(self._paths.surveyed(run.video.name, run.span.index, slot, run.key))

    def _is_saved(self, run: SegmentRun, step: int, found: set[str]) -> bool:
        return all(Path(path).name in found and looks_whole(path) for path in self._files(run, step))

    def _files(self, run: SegmentRun, step: int) -> list[str]:
        kinds = ("fields", "state") if step in self._ordered else ("fields",)
        return [self._file(run, step, kind) for kind in kinds]

    def _file(self, run: SegmentRun, step: int, kind: str) -> str:
        assert self._paths is not None
        name, index = self._graph.steps[step].name, run.segment.index
        return str(self._paths.saved(run.video.name, index, name, run.keys[step], kind))

    def _states(self, video: VideoRun, row: dict[str, Any]) -> list[tuple[int, str]]:
        assert self._paths is not None
        found = []
        for step in sorted(self._ordered):
            slot = self._graph.steps[step].slot
            if slot in row["keys"]:
                path = self._paths.saved(video.name, row["index"], slot, row["keys"][slot], "state")
                found.append((step, str(path)))
        return found

    def _ordered_keys(self, row: dict[str, Any]) -> dict[int, str]:
        slots = {step: self._graph.steps[step].slot for step in self._ordered}
        return {step: row["keys"][slot] for step, slot in slots.items() if slot in row["keys"]}

    def _part_size(self, video: VideoRun, index: int) -> int | None:
        """Return the bytes of the segment's part file; None if the last stage writes none."""
        assert self._paths is not None and video.info is not None
        try:
            return self._paths.part(video.name, index, self._part_key(video.info)).stat().st_size
        except OSError:
            return None


def clear_work(paths: RunPaths, name: str, *, keep_fields: bool) -> None:
    """Delete the saved work of a video whose store is complete."""
    if keep_fields:
        _delete(paths.finished(name))
    else:
        shutil.rmtree(paths.parts(name), ignore_errors=True)
    with contextlib.suppress(OSError):
        paths.work.rmdir()  # only when this was the last unfinished video


def _delete(path: str | Path) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()
