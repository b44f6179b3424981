"""The objects of videos whose segments are all done: for each its mesh is made, and then the video is finished.

A stage that works on objects reads finished segments from the disk. Which objects there are is looked up there, too,
together with the meshes that an earlier run has left. Nothing here calls a worker of the stage: the executor takes what
is queued, and says what came of it.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from geoflow.engine.flow import Flow
from geoflow.engine.graph import Graph
from geoflow.engine.mailbox import Mailbox
from geoflow.engine.outcome import outcome_of
from geoflow.engine.state import ObjectRun, VideoRun
from geoflow.errors import ConfigError
from geoflow.segments import VideoInfo, VideoObject
from geoflow.store.object_work import FoundObjects, ObjectWork
from geoflow.store.paths import RunPaths


class Meshing:
    """Videos on their way from the last segment to `finish`; `whole` gets each whose objects are all done."""

    def __init__(
        self,
        graph: Graph,
        flow: Flow,
        mailbox: Mailbox,
        paths: RunPaths | None,
        *,
        part_key: Callable[[VideoInfo], str],
        shared: bool,
        emit: Callable[..., None],
        whole: Callable[[VideoRun], None],
    ) -> None:
        """`shared`: finished segments lie on the nodes that wrote them, and are fetched from elsewhere.

        Raises ConfigError where a stage could not get at them.
        """
        self._graph, self._flow, self._mailbox, self._paths = graph, flow, mailbox, paths
        self._part_key, self._emit, self._whole = part_key, emit, whole
        self._queue: list[tuple[tuple[int, int], int, ObjectRun]] = []
        self._tie = itertools.count()
        self.disabled = ""  # why the stage cannot run at all
        if graph.of_objects is not None and paths is None:
            raise ConfigError(f"{graph.of_objects.slot} works on finished segments; a run without a store has none")
        if graph.of_objects is not None and shared and paths is not None:
            raise ConfigError(
                f"{graph.of_objects.slot} works on finished segments, which it cannot fetch from {paths.home}; name a "
                "folder for -o that is on a disk of all nodes, and copy it there afterwards"
            )

    @property
    def waiting(self) -> int:
        """How many objects wait for a worker."""
        return len(self._queue)

    def add(self, video: VideoRun) -> None:
        """All segments of the video are done."""
        import ray

        video.objects, video.meshes, video.without_mesh = {}, {}, {}
        if self._graph.of_objects is None:
            self._whole(video)
            return
        assert self._paths is not None and video.info is not None
        work = ObjectWork(self._paths, self._part_key(video.info), video.num_segments)
        # No CPU is booked: the pools may hold them all.
        ref = ray.remote(_find).options(num_cpus=0, max_retries=2).remote(work, video.info)
        self._mailbox.on(ref, partial(self._found, video, work))

    def queue(self, run: ObjectRun) -> None:
        """Have the mesh of an object made, after those of earlier videos."""
        if self.disabled:
            self._cannot(run)
        elif run.live:
            heapq.heappush(self._queue, ((run.video.order, run.object.number), next(self._tie), run))

    def head(self) -> ObjectRun | None:
        """The next object, None if none waits."""
        while self._queue and not self._queue[0][2].live:
            heapq.heappop(self._queue)
        return self._queue[0][2] if self._queue else None

    def take(self) -> ObjectRun:
        """The next object; its call was given out."""
        return heapq.heappop(self._queue)[2]

    def done(self, run: ObjectRun) -> None:
        """Its mesh lies on the disk."""
        video, number = run.video, run.object.number
        video.meshes[number] = run.work.paths.mesh_part(video.name, number, run.work.key)
        self._over(run)

    def fail(self, run: ObjectRun, reason: str) -> None:
        """There will be no mesh of the object, and the video goes on without."""
        if run.live:
            run.video.without_mesh[run.object.number] = reason
            self._over(run)

    def recover(self, run: ObjectRun) -> None:
        """The frame tables of its video went down with a node of the cluster: the video is planned anew."""
        run.video.objects = {}
        self._flow.recover_video(run.video)

    def disable(self, reason: str) -> None:
        """The stage cannot run at all: go on without meshes."""
        if self.disabled:
            return
        assert self._graph.of_objects is not None
        self.disabled = reason
        self._emit("stage_disabled", slot=self._graph.of_objects.slot, reason=reason)
        waiting, self._queue = self._queue, []
        for _, _, run in waiting:
            self._cannot(run)

    def _cannot(self, run: ObjectRun) -> None:
        assert self._graph.of_objects is not None
        self.fail(run, f"{self._graph.of_objects.slot} could not run: {self.disabled}")

    def _over(self, run: ObjectRun) -> None:
        del run.video.objects[run.object.number]
        if not run.video.objects:
            self._whole(run.video)

    def _found(self, video: VideoRun, work: ObjectWork, ref: Any) -> None:
        outcome = outcome_of(ref)
        if video.over:
            return
        assert self._graph.of_objects is not None and video.info is not None
        slot = self._graph.of_objects.slot
        if outcome.failure is not None:
            self._flow.fail(video, f"{slot} cannot see which objects there are: {outcome.failure.message}")
            return
        found: FoundObjects = outcome.value
        for number in found.made:
            path = video.meshes[number] = work.paths.mesh_part(video.name, number, work.key)
            span, size = [0, video.info.num_frames], path.stat().st_size
            self._emit("stage_restored", video=video.name, index=0, slot=slot, span=span, object=number, bytes=size)
        work = dataclasses.replace(work, course=found.course)
        to_do = [ObjectRun(video, VideoObject(video.info, n), work) for n in found.seen if n not in found.made]
        video.objects = {run.object.number: run for run in to_do}
        for run in to_do:
            self.queue(run)
        if not to_do:
            self._whole(video)


def _find(work: ObjectWork, video: VideoInfo) -> Any:
    from geoflow.engine.actor.worker import describe
    from geoflow.engine.outcome import Outcome
    from geoflow.store.object_inputs import find_objects

    try:
        return find_objects(work, video)
    except Exception as error:
        return Outcome(describe(error))
