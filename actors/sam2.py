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
from geoflow.errors import StageError
from geoflow.geometry.labels import with_given
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Stage, param

if TYPE_CHECKING:
    from geoflow.models.sam2.objects_so_far import ObjectsSoFar
    from geoflow.models.sam2.prompting import Prompts

_LABEL, _STATE, _BOX = "objects.label", "objects.state", "objects.box"
_PUBLISHED, _SMALLER = 1024, (768, 512)  # working sizes: as trained, and of the ladder
_PIECE = 32  # frames decoded at once on the way back


class Sam2Objects(TorchStage):
    """The objects that the user shows, in all frames. No object changes what is found of another.

    They are shown by boxes and points, by words, and by label images of some frames. An object that is first shown in
    a later frame is followed back, too: those frames are decoded once more. An object that is lost is found again when
    it comes back. A label image says all of its frame; where there is one for each frame, nothing is followed.
    """

    slot = "objects"
    inputs = ("frames.rgb", "frames.index", "video.index", "video.pts")
    optional = ("video.seek", _LABEL)
    outputs = (_LABEL, _STATE)
    ordered = True
    takes_prompts = True
    takes_text = True
    packages = ("torch", "transformers==5.24.0")

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        half_precision: bool = param(True, "matrix products and convolutions in bfloat16 on a GPU, as published")
        model: Literal["tiny", "small", "base_plus", "large"] = param("large", "which of the published sizes")
        most_size: int | None = param(
            None, "side to which frames are resized, at most; 1024 if not given; a multiple of 32", at_least=64
        )
        text: bool = param(False, "find words, too, by GroundingDINO, whose weights are then needed")
        text_score: float = param(0.35, "least score of what words find", at_least=0, at_most=1)
        most_hole: int = param(16, "holes of at most so many pixels are filled", at_least=0)
        most_prompts: int = param(8, "frames with prompts that an object remembers: the first and the last", at_least=2)
        weights: str = param("", "folder with config.json and model.safetensors; empty: from the hub, as pinned")
        text_weights: str = param("", "the same for GroundingDINO, with vocab.txt or tokenizer.json, too")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        largest = self.params.most_size or _PUBLISHED
        self.ladder = tuple({"most_size": size} for size in _SMALLER if size < largest)
        self.optional_outputs = (_BOX,) if self.params.text else ()

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

        video, given, index = segment.video, fields.get(_LABEL), fields["frames.index"]
        all_given = video.labels is not None and not video.labelled
        known = ObjectsSoFar.of_state(self.carried) if self.carried else self._begun(segment, fields)
        prompts = together(prompts_by_frame(video.prompts, fields["video.index"]), known.named_prompts())
        video_pass = self.model.begin()
        video_pass.restore(known.video_pass)
        label = np.zeros((len(segment), video.height, video.width), np.uint8)
        seen = np.zeros((len(segment), 256), np.uint8)
        for i in range(known.take_over(segment, label, seen), len(segment)):
            t, shown, has_label = segment.start + i, {}, given is not None and index[i] in video.labelled
            if has_label and given is not None:
                shown = labelled(given[i])
            sights = video_pass.step(t, fields["frames.rgb"][i], {**prompts.get(t, {}), **shown})
            sights |= known.seen_earlier(t, self.device)
            if given is not None and (has_label or all_given):
                label[i] = given[i]
            else:
                label[i] = label_map(sights, video.height, video.width, self.params.most_hole)
            later = {number for k, rows in prompts.items() if k > t for number in rows}
            seen[i] = known.states(label[i], sights, later - sights.keys())
        known.advance(segment, video_pass.state(), label, seen)
        self.carried = known.as_state()
        found = {_LABEL: with_given(label, given), _STATE: seen}
        return found | {_BOX: known.boxes(segment)} if self.params.text else found

    def _begun(self, segment: Segment, fields: Fields) -> ObjectsSoFar:
        """Return what is known before the first frame: what words name, and earlier sights of later objects."""
        from geoflow.models.sam2.looking_back import look_back
        from geoflow.models.sam2.objects_so_far import ObjectsSoFar
        from geoflow.models.sam2.prompting import first_shown, prompts_by_frame, together

        known, prompts, index = ObjectsSoFar(segment.start), segment.video.prompts, fields["video.index"]
        self._find_words(known, segment, fields)
        shown = together(known.named_prompts(), prompts_by_frame(prompts, index), _label_prompts(segment.video, index))
        if firsts := first_shown(shown, after=segment.start):
            last = max(t for t, _ in firsts.values())
            known.earlier = look_back(self.model, _falling(segment, fields, last, segment.start, self.threads), firsts)
        return known

    def _find_words(self, known: ObjectsSoFar, segment: Segment, fields: Fields) -> None:
        """Look for what the user's words name. The detector is there only as long as it takes."""
        from geoflow.models.sam2.objects_so_far import NamedBox
        from geoflow.models.sam2.prompting import words_by_frame

        words = words_by_frame(segment.video.prompts, fields["video.index"])
        if words and not self.params.text:
            name = next(iter(words[min(words)].values()))
            raise StageError(
                f"{segment.video.name}: a prompt is {name!r}, and words are not looked for: --set objects.text=true "
                "does so, with the weights of GroundingDINO; or give the object a box or points"
            )
        if not words:
            return
        from geoflow.models.grounding_dino import from_pretrained

        detector = from_pretrained(self.located()["text"], self.device)
        for t, rows in sorted(words.items()):
            ((_, rgb),) = _falling(segment, fields, t, t, self.threads)
            boxes = detector.best(rgb, list(rows.values()), self.params.text_score)
            for number, found in zip(rows, boxes):
                if found is None:
                    known.unfound += (number,)
                else:
                    known.named += (NamedBox(t, number, found.score, found.box),)


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
    """Return the label images of a video of which some frames have one, the first one of each object."""
    from geoflow.models.sam2.prompting import labelled
    from geoflow.video.frame_reader import read_labels

    found: Prompts = {}
    seen: set[int] = set()
    for t in np.flatnonzero(np.isin(index, video.labelled)).tolist():
        shown = labelled(read_labels(video, index, t, t + 1)[0])
        found[t] = {number: prompt for number, prompt in shown.items() if number not in seen}
        seen |= shown.keys()
    return found
