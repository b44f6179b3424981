"""Many hands in many images of one camera: all of them in batches, whichever image each is in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from geoflow.models.wilor.crops import RESCALE, Squares, cut, squares_of
from geoflow.models.wilor.hand_model import BATCH, HandModel, Hands
from geoflow.models.wilor.network import Prediction, joined


@dataclass(frozen=True)
class Look:
    """Where to look for one hand."""

    frame: int
    box: np.ndarray  # (4,) x1, y1, x2, y2, px
    right: bool


def predict_clip(
    model: HandModel,
    frames: Sequence[np.ndarray],
    looks: Sequence[Look],
    intrinsics: np.ndarray,
    batch: int = BATCH,
    rescale: float = RESCALE,
) -> Hands:
    """Return a hand for each look, in the order of the looks, which need not be that of the frames.

    frames     (H, W, 3) uint8 RGB each
    intrinsics (T, 3, 3) px, of the frames

    No more crops than `batch` and those of one more image are held at a time.
    """
    order = sorted(range(len(looks)), key=lambda n: looks[n].frame)
    groups = [list(group) for _, group in itertools.groupby(order, key=lambda n: looks[n].frame)]
    squares = [_squares([looks[n] for n in group], frames, rescale) for group in groups]
    crops = (cut(frames[looks[group[0]].frame], own) for group, own in zip(groups, squares))
    whole = joined([model.forward(np.zeros((0, 3, 256, 256), np.float32)), *_batches(model, crops, batch)])
    found, first = [], 0
    for group, own in zip(groups, squares):
        k = intrinsics[looks[group[0]].frame].astype(np.float64)
        rows = whole.rows(slice(first, first + len(group)))
        found.append(model.full_image(rows, own, (float(k[0, 0]), float(k[1, 1])), (float(k[0, 2]), float(k[1, 2]))))
        first += len(group)
    return (
        _in_order(found, order)
        if found
        else model.predict(np.zeros((1, 1, 3), np.uint8), np.zeros((0, 4)), np.zeros(0, bool))
    )


def _squares(looks: list[Look], frames: Sequence[np.ndarray], rescale: float) -> Squares:
    height, width = frames[looks[0].frame].shape[:2]
    boxes, right = np.stack([look.box for look in looks]), np.array([look.right for look in looks])
    return squares_of(boxes, right, (width, height), rescale)


def _batches(model: HandModel, crops: Iterator[np.ndarray], batch: int) -> Iterator[Prediction]:
    """Yield the predictions of crops that come a few at a time."""
    held: list[np.ndarray] = []
    for some in crops:
        held.append(some)
        if sum(map(len, held)) >= batch:
            everything = np.concatenate(held)
            full = len(everything) // batch * batch
            yield model.forward(everything[:full], batch)
            held = [everything[full:]]
    if held and any(map(len, held)):
        yield model.forward(np.concatenate(held), batch)


def _in_order(parts: list[Hands], order: list[int]) -> Hands:
    """Return the hands of several, of which the n-th is the `order[n]`-th of the result."""
    whole = Hands(*(np.concatenate([getattr(part, row.name) for part in parts]) for row in fields(Hands)))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return whole[back]
