"""SAM 2.1 (Ravi et al. 2024, arXiv:2408.00714) in `runtime_envs/sam2.yaml`; text by GroundingDINO (arXiv:2303.05499).

What drives the networks is in `geoflow/models/sam2` and `geoflow/models/grounding_dino`. This module takes the user's
prompts and gives labels of all frames. Not run with the published weights yet: the tests run it on a CPU with small
made-up weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geoflow.backends.torch_stage import TorchStage
from geoflow.errors import ConfigError
from geoflow.geometry.labels import numbers_in, with_given
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, SegmentRecord, Stage, param
from geoflow.values.object_names import MOST_OBJECTS

if TYPE_CHECKING:
    from geoflow.models.grounding_dino import Named
    from geoflow.models.sam2.objects_so_far import ObjectsSoFar
    from geoflow.models.sam2.prompting import Prompts

_LABEL, _BOX = "objects.label", "objects.box"
_PUBLISHED, _SMALLER = 1024, (768, 512)  # working sizes: as trained, and of the ladder
_PIECE = 32  # frames decoded at once on the way back


class Sam2Objects(TorchStage):
    """The objects that the user shows, in all frames. No object changes what is found of another.

    They are shown by boxes and points (`--objects FILE`), by label images (`--objects FOLDER`; anew in each frame that
    has the object's number while the frame before has not), and by a text, which is looked for in one frame. An object
    that is first shown in a later frame is followed back, too: those frames are decoded once more.

    Where an object is not seen, no pixel has its number; the ledger says in which frames. In a frame in which the user
    labelled an object, the object is what the user says.
    """

    slot = "objects"
    inputs = ("frames.rgb", "video.index", "video.pts")
    optional = ("video.seek", _LABEL)
    outputs = (_LABEL,)
    ordered = True
    takes_prompts = True
    packages = ("torch", "transformers==5.24.0")
    most_named = 32  # objects that a text may name

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        half_precision: bool = param(True, "matrix products and convolutions in bfloat16 on a GPU, as published")
        model: Literal["tiny", "small", "base_plus", "large"] = param("large", "which of the published sizes")
        most_size: int | None = param(
            None, "side to which frames are resized, at most; 1024 if not given; a multiple of 32", at_least=64
        )
        text: str = param("", "objects to look for in one frame, each ended by a full stop, such as cup. red plate.")
        text_frame: int = param(0, "frame in which they are looked for, counted from 0 after --fps", at_least=0)
        text_score: float = param(0.35, "least score of what a text finds", at_least=0, at_most=1)
        most_hole: int = param(16, "holes of at most so many pixels are filled", at_least=0)
        most_prompts: int = param(8, "frames with prompts that an object remembers: the first and the last", at_least=2)
        weights: str = param("", "folder with config.json and model.safetensors; empty: from the hub, as pinned")
        text_weights: str = param("", "the same for GroundingDINO, with vocab.txt or tokenizer.json, too")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        largest = self.params.most_size or _PUBLISHED
        self.ladder = tuple({"most_size": size} for size in _SMALLER if size < largest)
        self.optional_outputs = (_BOX,) if self.params.text else ()
        self._state: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    def restore(self, state: dict[str, Any]) -> None:
        self._state = dict(state)

    def weights(self) -> dict[str, str]:
        own = {self.params.model: self.params.weights}
        return {**own, "text": self.params.text_weights} if self.params.text else own

    def load(self) -> Any:
        import cv2
        import torch

        from geoflow.models.sam2 import from_pretrained

        cv2.setNumThreads(self.threads)
        folder, dtype = self.located()[self.params.model], torch.bfloat16 if self.half else None
        most = {"most_size": self.params.most_size, "most_prompts": self.params.most_prompts}
        return from_pretrained(folder, self.device, dtype, **most)

    def compute(self, segment: Segment, fields: Fields) -> Fields:
        from geoflow.models.sam2 import label_map
        from geoflow.models.sam2.objects_so_far import ObjectsSoFar
        from geoflow.models.sam2.prompting import labelled, prompts_by_frame, together

        known = ObjectsSoFar.of_state(self._state) if self._state else self._begun(segment, fields)
        video, given, done = segment.video, fields.get(_LABEL), known.done_of(segment)
        prompts = together(prompts_by_frame(video.prompts, fields["video.index"]), known.named_prompts())
        video_pass = self.model.begin()
        video_pass.restore(known.video_pass)
        label = np.zeros((len(segment), video.height, video.width), np.uint8)
        if len(done):
            label[: len(done)] = done
        for i in range(len(done), len(segment)):
            t, shown = segment.start + i, {}
            if given is not None:
                shown = labelled(given[i], known.labelled)
                known.labelled = tuple(numbers_in(given[i : i + 1]))
            sights = video_pass.step(t, fields["frames.rgb"][i], {**prompts.get(t, {}), **shown})
            known.note(t, sights)
            sights |= known.seen_earlier(t, self.device)
            label[i] = label_map(sights, video.height, video.width, self.params.most_hole)
            label[i][np.isin(label[i], known.labelled)] = 0
        known.after(segment, video_pass.state(), label)
        self._state = known.as_state()
        found = {_LABEL: with_given(label, given)}
        return found | {_BOX: known.boxes(segment)} if self.params.text else found

    def finish(self, video: VideoInfo, records: list[SegmentRecord]) -> dict[str, Any]:
        """Return which objects were lost in which frames, and what the text named."""
        gaps: dict[str, list[list[int]]] = {}
        for number, start, stop in self._state.get("gaps", ()):
            gaps.setdefault(str(number), []).append([start, stop])
        return {"objects_lost": gaps, "objects_named": self._state.get("named", [])}

    def _begun(self, segment: Segment, fields: Fields) -> ObjectsSoFar:
        """Return what is known before the first frame: what the text names, and earlier sights of later objects."""
        from geoflow.models.sam2.looking_back import look_back
        from geoflow.models.sam2.objects_so_far import ObjectsSoFar, numbered
        from geoflow.models.sam2.prompting import first_shown, prompts_by_frame, together

        known, video = ObjectsSoFar(segment.start), segment.video
        prompts = together(
            prompts_by_frame(video.prompts, fields["video.index"]), _label_prompts(video, fields["video.index"])
        )
        if self.params.text:
            known.named_in = min(self.params.text_frame, video.num_frames - 1)
            ((_, rgb),) = _falling(segment, fields, known.named_in, known.named_in, self.threads)
            taken = {number for rows in prompts.values() for number in rows}
            known.named = numbered(self._named(rgb), taken, MOST_OBJECTS)
        firsts = first_shown(together(known.named_prompts(), prompts), after=segment.start)
        if firsts:
            last = max(t for t, _ in firsts.values())
            known.earlier = look_back(self.model, _falling(segment, fields, last, segment.start, self.threads), firsts)
        return known

    def _named(self, rgb: np.ndarray) -> list[Named]:
        """Return what the text names in a picture. The detector is there only as long as it takes."""
        from geoflow.models.grounding_dino import from_pretrained, phrases_of

        if not (phrases := phrases_of(self.params.text)):
            raise ConfigError(f"objects.text names nothing: {self.params.text!r}; write such as cup. red plate.")
        detector = from_pretrained(self.located()["text"], self.device)
        return detector.detect(rgb, phrases, self.params.text_score, self.most_named)


def _falling(segment: Segment, fields: Fields, last: int, first: int, threads: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield frames from `last` down to `first` with their numbers: those of the segment, and others decoded again."""
    from geoflow.video.frame_reader import read_frames

    for stop in range(last + 1, first, -_PIECE):
        start = max(first, stop - _PIECE)
        if segment.start <= start and stop <= segment.stop:
            frames = fields["frames.rgb"][start - segment.start : stop - segment.start]
        else:
            index, pts, seek = fields["video.index"], fields["video.pts"], fields.get("video.seek")
            frames = read_frames(segment.video, index, pts, start, stop, seek=seek, threads=threads)
        yield from ((start + i, frames[i]) for i in reversed(range(len(frames))))


def _label_prompts(video: VideoInfo, index: np.ndarray) -> Prompts:
    """Return the first label image of every object of which the user gave any."""
    from geoflow.models.sam2.prompting import labelled
    from geoflow.video.frame_reader import read_labels

    found: Prompts = {}
    if video.labels is None:
        return found
    seen: set[int] = set()
    for start in range(0, video.num_frames, _PIECE):
        for i, label in enumerate(read_labels(video, index, start, min(start + _PIECE, video.num_frames))):
            if fresh := labelled(label, seen):
                found[start + i] = fresh
                seen |= fresh.keys()
    return found
