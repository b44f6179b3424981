"""Boxes of what a text names, from the tokens of its phrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from geoflow.errors import ConfigError
from geoflow.models.sam2.frame_pixels import normalised
from geoflow.models.without_torchvision import unlike_published, without_torchvision

BOX_SCORE, _OVERLAP = 0.35, 0.8  # the least score, of the published demonstration; IoU from which boxes show one thing
_SHORT, _LONG = 800, 1333  # px of the picture's edges, at least and at most
_TOKENS = ("vocab.txt", "tokenizer.json")
_REMEDY = "give a folder laid out as IDEA-Research/grounding-dino-tiny"


@dataclass(frozen=True)
class Named:
    """A box of something that a phrase names."""

    phrase: int  # its number in the text
    score: float  # 0..1
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels, the top-left pixel's centre at (0, 0)


def from_pretrained(folder: Path | str, device: str = "cpu") -> TextDetector:
    """Return the detector with the weights and the words of a folder; float32, since it looks at one picture.

    Raises ConfigError that names the folder if it does not hold exactly the weights of such a network.
    """
    folder = Path(folder)
    for names in (("config.json",), ("model.safetensors",), _TOKENS):
        if not any((folder / name).is_file() for name in names):
            raise ConfigError(f"{folder} holds no {' or '.join(names)}; {_REMEDY}")
    with without_torchvision():
        from transformers.models.bert.tokenization_bert import BertTokenizer
        from transformers.models.grounding_dino import modeling_grounding_dino
    published: Any = modeling_grounding_dino.GroundingDinoForObjectDetection  # types leave out the loading info
    try:
        network, found = published.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
        words = BertTokenizer.from_pretrained(folder, local_files_only=True)
    except ImportError:
        raise
    except Exception as error:  # of transformers, safetensors or tokenizers, by the file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{folder} cannot be read as GroundingDINO ({reason}); {_REMEDY}") from error
    if wrong := unlike_published(found):
        raise ConfigError(f"{folder} holds other weights than GroundingDINO has ({wrong}); {_REMEDY}")
    return TextDetector(network.to(device).eval().requires_grad_(False), words)


class TextDetector:
    """The network with its weights and words."""

    def __init__(self, network: Any, words: Any) -> None:
        self.network, self.words = network, words

    def detect(
        self, rgb: np.ndarray, phrases: Sequence[str], least_score: float = BOX_SCORE, most: int = 255
    ) -> list[Named]:
        """Return what a picture (H, W, 3) uint8 shows of the phrases, the best first, at most `most`.

        Raises ConfigError for a text of more tokens than the network takes.
        """
        tokens, spans = self._tokens(phrases)
        with torch.inference_mode():
            out = self.network(pixel_values=_pixels(rgb, self.network.device), **tokens)
        chances = out.logits[0].float().sigmoid().cpu().numpy()
        score = np.stack([chances[:, start:stop].max(1) for start, stop in spans], 1)
        height, width = rgb.shape[:2]
        boxes = _corners(out.pred_boxes[0].float().cpu().numpy(), height, width)
        return _best(boxes, score, least_score, most)

    def best(self, rgb: np.ndarray, phrases: Sequence[str], least_score: float = BOX_SCORE) -> list[Named | None]:
        """Return for each phrase the best box, None where there is none. Equal phrases have boxes of different things,
        as far as there are any."""
        words = [" ".join(phrase.lower().split()).rstrip(".") for phrase in phrases]
        unique = list(dict.fromkeys(words))
        found = self.detect(rgb, unique, least_score)
        left = {word: [row for row in found if row.phrase == k] for k, word in enumerate(unique)}
        return [left[word].pop(0) if left[word] else None for word in words]

    def _tokens(self, phrases: Sequence[str]) -> tuple[dict[str, torch.Tensor], list[tuple[int, int]]]:
        """Return the tokens of the text, and which of them, from and to, belong to each phrase."""
        ids, spans = [self.words.cls_token_id], []
        stop = self.words.convert_tokens_to_ids(".")
        for phrase in phrases:
            own = self.words(phrase, add_special_tokens=False)["input_ids"]
            spans.append((len(ids), len(ids) + len(own)))
            ids += [*own, stop]
        ids.append(self.words.sep_token_id)
        most = self.network.config.max_text_len
        if not phrases or len(ids) > most:
            raise ConfigError(
                f"the text should have 1 to {most} tokens, found {len(ids) if phrases else 0}; name fewer"
            )
        device = self.network.device
        row = torch.tensor([ids], device=device)
        tokens = {"input_ids": row, "attention_mask": torch.ones_like(row), "token_type_ids": torch.zeros_like(row)}
        return tokens, spans


def _pixels(rgb: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return a picture as (1, 3, h, w): its short edge 800, its long one at most 1333, the aspect kept."""
    height, width = rgb.shape[:2]
    scale = min(_SHORT / min(height, width), _LONG / max(height, width))
    picture = torch.from_numpy(np.ascontiguousarray(rgb)).to(device).permute(2, 0, 1)[None].float()
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return normalised(functional.interpolate(picture, size, mode="bilinear", antialias=True))


def _corners(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return boxes (N, 4), middle and size as shares of the picture, as left, top, right, bottom in its pixels."""
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    size = np.array([width, height])
    low, high = (middle - half) * size - 0.5, (middle + half) * size - 0.5
    return np.concatenate([low.clip(-0.5, size - 0.5), high.clip(-0.5, size - 0.5)], 1)


def _best(boxes: np.ndarray, score: np.ndarray, least: float, most: int) -> list[Named]:
    """Return the boxes (N, 4) with their best phrase by `score` (N, P), without those that show the same again."""
    phrase, value = score.argmax(1), score.max(1)
    found: list[int] = []
    for row in np.argsort(-value, kind="stable"):
        if value[row] < least or len(found) == most:
            break
        if (boxes[row, 2:] > boxes[row, :2]).all() and not any(_iou(boxes[row], boxes[k]) > _OVERLAP for k in found):
            found.append(int(row))
    return [Named(int(phrase[k]), float(value[k]), tuple(map(float, boxes[k]))) for k in found]  # type: ignore[arg-type]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return how far two boxes are the same, 0..1."""
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))
