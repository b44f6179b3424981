"""What golden cases of GeometryCrafter ask for whichever framework computes them; needs neither torch nor pytest."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from golden import Case, Comparison, Unusable

from geoflow.models.geometrycrafter.options import Options
from geoflow.models.geometrycrafter.scheduler import EulerSchedule

_FLIPS = 3  # pixels of a mask: logits of the tiny pipelines come as near to zero as reruns of the original move them


def options_of(case: Case, **changes: Any) -> tuple[Options, dict[str, Any]]:
    """Return the options of a pipeline's side-car, and what the pipeline takes besides.

    The original takes more than users are offered: `noise_aug_strength`, and no `decode_chunk_size` for a whole window.
    """
    given = {**case.spec["options"], **changes}
    more = {"noise_strength": given.pop("noise_aug_strength")} if "noise_aug_strength" in given else {}
    if unknown := sorted(given.keys() - {row.name for row in dataclasses.fields(Options)}):
        raise Unusable(f"{case.name}.json has options that no runner knows: {', '.join(unknown)}")
    whole_window = "decode_chunk_size" in given and given["decode_chunk_size"] is None
    if whole_window:
        del given["decode_chunk_size"]
    options = Options(**{"model_type": case.spec["kind"], **given})
    return (options.replace(decode_chunk_size=options.window_size) if whole_window else options), more


def decoding_of(case: Case, call: Mapping[str, Any]) -> tuple[Options, tuple[int, int]]:
    """Return the options of one call of the decoder, and the size of its video."""
    given, latents = dict(call["options"]), case.given("decode.latents")
    size = (given.pop("height", 8 * latents.shape[2]), given.pop("width", 8 * latents.shape[3]))
    given.pop("need_resize", None)
    return Options(decode_chunk_size=given.pop("chunk_size", None) or len(latents), **given), size


def check_result(case: Case, points: np.ndarray, mask: np.ndarray) -> None:
    """Compare the points (T, H, W, 3) and the mask (T, H, W) of a whole pipeline."""
    case.check("depth", points[..., 2])
    case.check_log_depth("depth", points[..., 2])
    for name in filter(re.compile(r"point_map(_sub\d+)?").fullmatch, case.spec["outputs"]):
        stride = int(name.rpartition("_sub")[2]) if "_sub" in name else 1
        case.check(name, points[:, ::stride, ::stride])
        case.check_log_depth(name, points[:, ::stride, ::stride])
    case.check_mask("valid_mask", mask, flips=_FLIPS)


def compare_keys(path: Path, shapes: Callable[[str, dict[str, Any]], Mapping[str, Iterable[int]]]) -> list[Comparison]:
    """Compare parameter names and shapes of the networks, in the sizes that a file states, with those it lists.

    `shapes` returns those of a component, made in the sizes of a config, by their keys.
    """
    rows = []
    for component, wanted in json.loads(path.read_text()).items():
        network = "unet" if component.startswith("unet") else component
        found = {key: list(shape) for key, shape in shapes(network, wanted["config"]).items()}
        listed = wanted["parameters"]
        if component == "vae":  # its decoder is never used
            listed = {key: shape for key, shape in listed.items() if not key.startswith("decoder.")}
        wrong = sum(found.get(key) != listed.get(key) for key in found.keys() | listed.keys())
        count, expected = (sum(int(np.prod(shape)) for shape in rows_.values()) for rows_ in (found, listed))
        rows.append(Comparison(component, wrong, 0, "keys and shapes that differ"))
        rows.append(Comparison(component, abs(count - expected), 0, "parameters more or fewer"))
    return rows


class Passed:
    """What passed between the parts of a pipeline, as arrays or tensors on the CPU; each runner fills it."""

    def __init__(self, crafter: Any) -> None:
        self.known: list[Any] = []  # conditioning
        self.decoded: list[Any] = []  # latents
        self.windows: list[Any] = []
        self.steps: list[tuple[Any, Any, Any]] = []  # v, latents before, latents after
        self.resized: list[Any] = []  # maps of the prior
        self.frames: list[Any] = []
        self.ids: list[Any] = []
        self._count = crafter.options.num_inference_steps
        self._schedule = EulerSchedule.of(self._count, crafter.networks.config.scheduler)

    def check(self, case: Case) -> None:
        """Compare with all that the case knows of the way to the result."""
        for name, key in (("video_embeddings", "embeddings"), ("video_latents", "video"), ("prior_latents", "prior")):
            case.check(name, _joined(getattr(known, key) for known in self.known))
        case.check("decode_latents", _joined(self.decoded))
        case.check("added_time_ids", self.ids[0][:1])
        case.check("sigmas", self._schedule.sigmas)
        case.check("timesteps", [self._schedule.timestep(i) for i in range(self._schedule.steps)])
        case.check("init_noise_sigma", self._schedule.initial_sigma)
        for k, latents in enumerate(self.windows):
            case.check(f"window{k}.latents", latents[None])
        for n, (v, before, after) in enumerate(self.steps):
            k, i = divmod(n, self._count)
            if i == 0:
                case.check(f"window{k}.init", before[None])
            case.check(f"window{k}.v{i}", v[None])
            case.check(f"window{k}.step{i}", after[None])
        if case.has("resized.disparity"):
            self._check_resized(case)

    def _check_resized(self, case: Case) -> None:
        for name, key in (("disparity", "disparity"), ("valid_mask", "mask"), ("log_depth", "log_depth")):
            case.check(f"resized.{name}", _joined(getattr(part, key)[:, 0] for part in self.resized))
        case.check("resized.intrinsic", _joined(part.intrinsics for part in self.resized))
        video = (_joined(self.frames) + 1) / 2
        case.check("resized.video_frame0", video[:1])
        case.check("resized.video_mean", video.mean((2, 3)))


def _joined(rows: Iterable[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(row) for row in rows])
