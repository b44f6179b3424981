"""The last slot: writes each finished segment to disk, and assembles the video's store when all segments are there."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import StageError
from geoflow.fields import BESIDE, FIELDS, switches, wanted_fields
from geoflow.quality.frame_facts import GROUP
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, SegmentRecord, Stage, param
from geoflow.store.paths import RunPaths
from geoflow.values.version import VERSION

if TYPE_CHECKING:
    from geoflow.store.meshes import MeshSource


class Write(Stage):
    """Writes the store (schema 1).

    Every frame is stored by one segment: a segment stores its frames up to the start of the next segment, and all of
    its tracks. A track that goes on in the next segment has one row in the store. When all segments are there, the path
    is bent where two chapters meet and where a place is seen again (`places.*`), and everything in the world with it.

    It also measures what the frames are worth, since here all that is known of them is together: the fields
    `quality.*`, of each segment's frames among themselves.
    """

    slot = "write"
    inputs = ("frames.index", "frames.time")
    outputs = ()
    ordered = True
    takes_meshes = True

    @dataclass(frozen=True)
    class _Place(Stage.Params):
        out: str = param("", "the run's output folder", bound_by_run=True)
        remote: str = param("", "URI of the folder that `out` stands for, if any", bound_by_run=True)
        share: bool = param(False, "other nodes may assemble the segments that this node writes", bound_by_run=True)
        owner: str = param("", "token of the run that must own `out`; empty: none", bound_by_run=True)
        tracks_need_rest: bool = param(
            False, "the depth of the tracks holds only where nothing moves", bound_by_run=True
        )
        pipeline: str = param("{}", "JSON description of the run, stored in each file", bound_by_run=True)
        compression: int = param(2, "gzip level of dense maps, 0 (none) to 9", at_least=0, at_most=9)

    # One switch for each name that rows of the field table use.
    Params = make_dataclass(  # type: ignore[assignment]
        "Params",
        [(switch.name, bool, param(switch.default, switch.help)) for switch in switches()],
        bases=(_Place,),
        namespace={"__module__": __name__, "__qualname__": "Write.Params"},
        frozen=True,
    )

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self._last_index, self._last_digest = -1, ""
        self._paths = RunPaths(self.params.out, self.params.remote)
        self._written: dict[str, set[int]] = {}  # segments that are on this node and of this run
        self._switches = {switch.name: getattr(self.params, switch.name) for switch in switches()}
        given = (*wanted_fields(self._switches), "frames.small", *BESIDE)
        self.optional = tuple(name for name in given if name not in self.inputs and not name.startswith(GROUP))

    def setup(self) -> None:
        """Check the folder. Raises StageError on a node that does not see the run's folder: its files would be
        missing."""
        if self.params.out and not self.params.remote and not self._paths.events.is_file():
            raise StageError(
                f"{self._paths.root} on {socket.gethostname()} is not the folder that the run writes to; name one for "
                "-o that is on a disk of all nodes, or a URI such as s3://bucket/out"
            )

    def process(self, segment: Segment, fields: Fields) -> Fields:
        """Store one segment as a part file. Raises StoreError if the disk cannot be written."""
        from geoflow.quality.frame_quality import judged_depth, measure_frames
        from geoflow.store.delivery import share_part
        from geoflow.store.parts import write_part
        from geoflow.store.work_key import describe_work, work_key

        count = len(segment) - segment.overlap_after
        self._check_order(segment, fields["frames.index"][:count], count)
        params, name = self.params, segment.video.name
        key = work_key(describe_work(segment.video, params.pipeline))
        rows = {field: array[:count] for field, array in fields.items() if FIELDS[field].per_frame}
        fields = fields | measure_frames(rows, judged_depth(rows))
        path = self._paths.part(name, segment.index, key)
        info = write_part(
            path,
            segment,
            fields,
            self._switches,
            count=count,
            compression=params.compression,
            key=key,
            before=self._last_digest,
        )
        if params.remote and params.share:
            share_part(self._paths, path)
            self._written.setdefault(name, set()).add(segment.index)
        self._last_index, self._last_digest = int(fields["frames.index"][count - 1]), info.digest
        return {}

    def _check_order(self, segment: Segment, index: np.ndarray, count: int) -> None:
        if len(index) < count:
            raise StageError(f"write got {len(index)} frames of {segment}, expected {count} up to the next segment")
        if (np.diff(index) <= 0).any() or index[0] <= self._last_index:
            raise StageError(
                f"write got source frames {index[0]}..{index[-1]} of {segment} after frame {self._last_index}; "
                "segments of a video must come in order and frame numbers must grow"
            )

    def state(self) -> dict[str, Any]:
        return {"last_index": self._last_index, "last_digest": self._last_digest}

    def restore(self, state: dict[str, Any]) -> None:
        self._last_index = int(state.get("last_index", -1))
        self._last_digest = str(state.get("last_digest", ""))

    def finish(
        self,
        video: VideoInfo,
        records: list[SegmentRecord],
        *,
        meshes: Mapping[int, MeshSource] | None = None,
        without_mesh: Mapping[int, str] | None = None,
    ) -> dict[str, Any]:
        """Assemble the video's store; see `geoflow.store.writer.assemble` for what it returns and raises.

        `meshes` are the meshes of the video's objects by number; `without_mesh` says why an object has none.
        """
        from geoflow.store.delivery import deliver, gather_parts
        from geoflow.store.owner import require_owner
        from geoflow.store.work_key import describe_work, work_key
        from geoflow.store.writer import assemble

        params, own = self.params, self._written.pop(video.name, set())
        if params.remote and params.share:
            key = work_key(describe_work(video, params.pipeline))
            gather_parts(self._paths, video.name, key, {record.index for record in records}, own)
        done = assemble(
            self._paths,
            video,
            records,
            pipeline=params.pipeline,
            version=VERSION,
            compression=params.compression,
            confirm=lambda: require_owner(self._paths, params.owner),
            meshes=meshes,
            without_mesh=without_mesh,
            tracks_need_rest=params.tracks_need_rest,
        )
        if params.remote:
            require_owner(self._paths, params.owner)
            deliver(self._paths, video.name)
            done["path"] = str(self._paths.store(video.name))
        return done
