"""The embedded stage of objects on rendered clips: how well masks fit, with depth and without, and after occlusions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.backends import loading
from geoflow.bench.masks.mask_clips import FPS, HEIGHT, WIDTH, MaskClip, made_clip, noisy
from geoflow.errors import ConfigError
from geoflow.evaluate.scores import plain
from geoflow.segments import Prompt, Segment, Span, VideoInfo
from geoflow.stage import Fields, Stage, shared_fields

if TYPE_CHECKING:
    from rich.console import Console

BACKEND, CAMERA = "embedded.carried_masks", "embedded.colmap"
KINDS = ("handheld", "orbit", "hidden")
DEPTHS = ("noisy", "none", "own")  # the true depth with noise; frames alone; that of the embedded camera stage
PROMPTS = ("label", "box")
_NOISE = 0.014  # rms, of each depth
_SEEN_PX = 30  # of an object: with fewer it cannot be called in view again


def bench_masks(
    *,
    kinds: Sequence[str],
    seeds: Sequence[int],
    depths: Sequence[str],
    prompt: str,
    num_frames: int,
    console: Console,
) -> dict[str, Any]:
    """Follow objects through each clip from its first frame, and score every frame after it.

    `prompt` is what the user shows: the true `label` image of the first frame, or a `box` around each object. Returns
    {"clips": {name: {depth: figures}}, "all": {depth: {"mean_iou", "worst_iou"}}, settings}. Raises ConfigError.
    """
    _check(kinds, KINDS, "--kinds")
    _check(depths, DEPTHS, "--depths")
    _check([prompt], PROMPTS, "--prompt")
    clips: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        for seed in seeds:
            clip = made_clip(kind, seed, num_frames)
            found = clips.setdefault(clip.name, {})
            for name in depths:
                found[name] = _scored(clip, _depth(clip, name, seed), prompt)
                console.print(f"{clip.name}, depth {name}: {_said(found[name])}")
    return plain({
        "frames": num_frames, "size": [WIDTH, HEIGHT], "seeds": list(seeds), "prompt": prompt, "noise": _NOISE,
        "clips": clips, "all": {name: _together([row[name] for row in clips.values()]) for name in depths},
    })  # fmt: skip


def _check(given: Sequence[str], known: Sequence[str], option: str) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ConfigError(f"{option} has {unknown[0]!r}; there are {', '.join(known)}")


def _said(row: dict[str, Any]) -> str:
    objects = ", ".join(f"{number} {score['iou']:.3f}" for number, score in row["objects"].items())
    again = [score["found_after"] for score in row["objects"].values() if "found_after" in score]
    return f"mean IoU {row['mean_iou']:.3f} ({objects})" + (f", found again after {again} frames" if again else "")


def _together(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the figures of all clips together."""
    return {
        "mean_iou": float(np.mean([row["mean_iou"] for row in rows])),
        "worst_clip": float(min(row["mean_iou"] for row in rows)),
        "worst_object": float(min(score["iou"] for row in rows for score in row["objects"].values())),
    }


def _depth(clip: MaskClip, name: str, seed: int) -> np.ndarray | None:
    if name == "none":
        return None
    return noisy(clip.depth, seed, _NOISE) if name == "noisy" else _own_depth(clip)


def _own_depth(clip: MaskClip) -> np.ndarray:
    """Return the depth that the embedded camera stage finds, as a pipeline would hand it on: (T, H, W) float16."""
    stage = _made(CAMERA)
    video = _video(clip, ())
    index = np.arange(len(clip.rgb))
    given = {"frames.rgb": clip.rgb, "frames.index": index, "frames.time": index / FPS}
    span = Span(video, stage.span, 0, 0, len(index), 0, 0)

    def read() -> Iterator[Fields]:
        yield {name: given[name] for name in ("frames.rgb", "frames.index")}

    if stage.span != "segment":
        given |= shared_fields(stage.survey(span, read), span, CAMERA)
    depth: np.ndarray = stage.process(_whole(video), given)["camera.depth"]
    stage.teardown()
    return depth


def _scored(clip: MaskClip, depth: np.ndarray | None, prompt: str) -> dict[str, Any]:
    prompts = tuple(_box(clip, number) for number in clip.objects) if prompt == "box" else ()
    video = _video(clip, prompts)
    given: Fields = {"frames.rgb": clip.rgb, "frames.index": np.arange(len(clip.rgb))}
    if not prompts:
        given["objects.label"] = np.zeros_like(clip.label)
        first = clip.label[0]
        given["objects.label"][0] = np.where(np.isin(first, clip.objects), first, 0)
    if depth is not None:
        given["camera.depth"] = depth
    stage = _made(BACKEND)
    began = time.process_time()
    label = stage.process(_whole(video), given)["objects.label"]
    cpu_s = (time.process_time() - began) / len(clip.rgb)
    stage.teardown()
    objects = {str(number): _object(label == number, clip.label == number) for number in clip.objects}
    known = 0.0 if depth is None else float((depth > 0).mean())
    mean = float(np.mean([row["iou"] for row in objects.values()]))
    return {"mean_iou": mean, "objects": objects, "cpu_s_per_frame": cpu_s, "pixels_with_depth": known}


def _object(found: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return the figures of one object, from its masks (T, H, W); the first frame was shown, and does not count."""
    union = (found | true).sum((1, 2))
    iou = np.where(union > 0, (found & true).sum((1, 2)) / np.maximum(union, 1), np.nan)
    row: dict[str, Any] = {"iou": float(np.nanmean(iou[1:]))}
    hidden = np.flatnonzero(~true.any((1, 2)))
    shown = np.flatnonzero(true.sum((1, 2)) >= _SEEN_PX)
    if len(hidden) and len(again := shown[shown > hidden[-1]]):
        back = [t for t in again if iou[t] > 0]
        after = None if not back else int(back[0] - again[0])
        row |= {"hidden": len(hidden), "found_after": after}
        row["wrong_px_while_hidden"] = int(found[hidden].sum((1, 2)).max())
        row["iou_after"] = float(np.nanmean(iou[back[0] :])) if back else 0.0
    return row


def _box(clip: MaskClip, number: int) -> Prompt:
    v, u = np.nonzero(clip.label[0] == number)
    return Prompt(number, 0, (float(u.min()), float(v.min()), float(u.max()), float(v.max())))


def _video(clip: MaskClip, prompts: tuple[Prompt, ...]) -> VideoInfo:
    count = len(clip.rgb)
    shown: dict[str, Any] = {"prompts": prompts} if prompts else {"labels": clip.name, "labelled": (0,)}
    return VideoInfo(clip.name, clip.name, "", count, FPS, HEIGHT, WIDTH, HEIGHT, WIDTH, **shown)


def _whole(video: VideoInfo) -> Segment:
    return Segment(video, 0, 0, video.num_frames)


def _made(backend: str) -> Stage:
    stage_class = loading.load(backend)
    stage = stage_class(loading.make_params(stage_class, {}, slot=stage_class.slot))
    stage.setup()
    return stage
