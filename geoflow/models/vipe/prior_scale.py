"""Priors of keyframes whose scales differ, brought to one scale: what they say of shape is kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from geoflow.models.vipe.keyframes import Keyframes

_LEAST = 50  # pixels of a prior


def with_one_scale(keyframes: Keyframes, given: Mapping[int, Tensor]) -> None:
    """Bring the prior of each keyframe to the scale at which the map and most of the priors agree.

    A prior that is wrong by one factor throughout a frame would bend the path there. `given` are the priors (h, w) as
    they came, by the number of the frame. The scale of most of them stays, and so the map keeps it.
    """
    numbers = [k for k, frame in enumerate(keyframes.frames) if _known(given.get(frame)) >= _LEAST]
    if len(numbers) < 2:
        return
    priors = torch.stack([given[keyframes.frames[k]] for k in numbers])
    maps = keyframes.disps[numbers]
    ratios = torch.stack([(disps / prior)[prior > 0].log().median() for disps, prior in zip(maps, priors)])
    keyframes.priors = keyframes.priors.clone()
    keyframes.priors[numbers] = priors * (ratios - ratios.median()).exp()[:, None, None]


def _known(prior: Tensor | None) -> int:
    return 0 if prior is None else int((prior > 0).sum())
