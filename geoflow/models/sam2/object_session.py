"""What the network remembers of one object: a session of transformers, of which only what is read again is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from geoflow.errors import StageError
from geoflow.models.sam2.frame_pixels import prompt_mask, prompt_points

_PROMPTED, _TRACKED = "cond_frame_outputs", "non_cond_frame_outputs"  # transformers' names
_FEATURES, _PLACES, _POINTER = "maskmem_features", "maskmem_pos_enc", "object_pointer"


@dataclass(frozen=True)
class Shown:
    """An object as the user shows it in a frame, in pixels of that frame: a mask, or a box, points, or both."""

    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom
    points: tuple[tuple[float, float, bool], ...] = ()  # x, y, and whether the point lies on the object
    mask: np.ndarray | None = None  # (H, W) bool; then the box and the points do not count


class ObjectSession:
    """One object's memory. `step` must be given consecutive frames, upwards, or downwards for a run backwards.

    The network reads of earlier frames: of each frame with a prompt its features and its pointer; of the
    `num_maskmem` - 1 frames before, the features; of the `max_object_pointers_in_encoder` - 1 frames before, the
    pointers. Everything else is dropped after each frame, and of frames with prompts all but the first and the latest.
    """

    def __init__(self, network: Any, cache: Any, most_prompts: int) -> None:
        self._network, self._cache, self._most = network, cache, most_prompts
        self._session = _new_session(network, cache)
        self._index = self._session.obj_id_to_idx(1)
        self._features = network.config.num_maskmem - 1
        self._pointers = network.config.max_object_pointers_in_encoder - 1

    def step(
        self, t: int, pixels: torch.Tensor, height: int, width: int, shown: Shown | None, reverse: bool
    ) -> tuple[torch.Tensor, float]:
        """Return the object's logits (h, w) float32 in frame t and its score, which is positive where it is seen.

        `pixels` is what `frame_pixels` returns for the frame of `height` x `width`. The first call needs a prompt.
        """
        session = self._session
        if shown is not None:
            self._show(t, shown, height, width)
        elif not self._outputs[_PROMPTED]:
            raise StageError(f"an object should be shown in its first frame, and is not in frame {t}")
        found = self._network(session, frame=pixels, frame_idx=t, reverse=reverse)
        logits, score = found.pred_masks[0, 0].float(), float(found.object_score_logits.flatten()[0])
        self.prune(t)
        return logits, score

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs: frame numbers, features as int16 (the bits of bfloat16), and pointers."""
        rows = [(t, held, key == _PROMPTED) for key in (_PROMPTED, _TRACKED) for t, held in self._outputs[key].items()]
        features = [held[_FEATURES] for _, held, _ in rows if _FEATURES in held]
        return {
            "frames": np.array([(t, prompted, _FEATURES in held) for t, held, prompted in rows], np.int64),
            "features": torch.stack(features).view(torch.int16).cpu().numpy(),
            "pointers": torch.stack([held[_POINTER] for _, held, _ in rows]).float().cpu().numpy(),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` of a session of the same network returned, which may have worked on larger frames."""
        device, dtype = self._network.device, self._network.dtype
        held_features = torch.from_numpy(np.array(state["features"])).to(device).view(torch.bfloat16)
        features = iter(self._resampled(held_features))
        places = self._constant_places()
        self._outputs[_PROMPTED].clear()
        self._outputs[_TRACKED].clear()
        for (t, prompted, has_features), pointer in zip(state["frames"].tolist(), state["pointers"]):
            held = {_POINTER: torch.from_numpy(np.array(pointer)).to(device, dtype)}
            if has_features:
                held |= {_FEATURES: next(features), _PLACES: places}
            self._outputs[_PROMPTED if prompted else _TRACKED][t] = held

    @property
    def _outputs(self) -> dict[str, dict[int, dict[str, torch.Tensor]]]:
        return self._session.output_dict_per_obj[self._index]

    def _show(self, t: int, shown: Shown, height: int, width: int) -> None:
        size, device = self._network.config.image_size, self._network.device
        if shown.mask is not None:
            self._session.add_mask_inputs(self._index, t, prompt_mask(shown.mask, size, device))
        else:
            inputs = prompt_points(shown.box, shown.points, height, width, size)
            inputs["point_coords"] = inputs["point_coords"].to(self._network.dtype)
            self._session.add_point_inputs(self._index, t, inputs)
        self._session.obj_with_new_inputs.append(1)

    def prune(self, t: int) -> None:
        """Drop what no frame after t reads."""
        session, outputs = self._session, self._outputs
        session.processed_frames = {}
        session.frames_tracked_per_obj[self._index].clear()
        session.point_inputs_per_obj[self._index].clear()
        session.mask_inputs_per_obj[self._index].clear()
        prompted, tracked = outputs[_PROMPTED], outputs[_TRACKED]
        for old in list(prompted)[1 : len(prompted) - self._most + 1]:
            del prompted[old]
        for old in [k for k in tracked if abs(t - k) >= self._pointers]:
            del tracked[old]
        places = self._constant_places()
        for frames in (prompted, tracked):
            for k, held in frames.items():
                keep = {_POINTER: held[_POINTER]}
                if frames is prompted or abs(t - k) < self._features:
                    keep |= {_FEATURES: held[_FEATURES], _PLACES: places}
                frames[k] = keep

    def _resampled(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (N, h * w, 1, C) at this network's resolution, which is lower on a lower rung of a ladder."""
        height, width = self._network.backbone_feature_sizes[-1]
        count, places, _, channels = features.shape
        if places == height * width:
            return features
        side = round(places**0.5)
        maps = features.float().permute(0, 2, 3, 1).reshape(count, channels, side, side)
        resized = functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False, antialias=True)
        return resized.flatten(2).permute(0, 2, 1)[:, :, None].to(torch.bfloat16)

    def _constant_places(self) -> torch.Tensor:
        """Return the encoding of the features' places (h * w, 1, C), which is the same for all frames."""
        height, width = self._network.backbone_feature_sizes[-1]
        network, dtype = self._network, self._network.dtype
        shape = torch.Size((1, network.mem_dim, height, width))
        made = network.memory_encoder.position_encoding(shape, network.device, dtype)
        return made.to(dtype).flatten(2).permute(2, 0, 1)


def _new_session(network: Any, cache: Any) -> Any:
    from geoflow.models.without_torchvision import without_torchvision

    with without_torchvision():
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    device = network.device
    places = {"inference_device": device, "inference_state_device": device, "video_storage_device": device}
    session = Sam2VideoInferenceSession(dtype=network.dtype, **places)
    session.cache = cache
    return session
