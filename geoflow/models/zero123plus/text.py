"""The text tower of CLIP (Radford et al. 2021). Zero123++ wants one text of it, the empty one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoflow.errors import ConfigError
from geoflow.models.diffusion.clip import CLIPEncoder
from geoflow.models.zero123plus.config import TextConfig

_SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "!"}


class TextEmbeddings(nn.Module):
    """Tokens with learnt positions."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextTransformer(nn.Module):
    """Layers in which a token sees those before it."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = CLIPEncoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        return self.final_layer_norm(self.encoder(self.embeddings(ids)))


class CLIPText(nn.Module):
    """Numbers of tokens (N, L) int64 to embeddings (N, L, D)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.text_model = TextTransformer(config)

    def forward(self, ids: Tensor) -> Tensor:
        return self.text_model(ids)


def empty_text(folder: Path, length: int) -> Tensor:
    """Return the numbers (1, length) of the empty text's tokens, by a published tokenizer: begin, end, and padding.

    Raises ConfigError that names the file if it cannot be read.
    """
    words = _entries(folder / "vocab.json")
    special = _entries(folder / "special_tokens_map.json")
    named = [special.get(name, usual) for name, usual in _SPECIAL.items()]
    begin, end, pad = (words.get(word["content"] if isinstance(word, dict) else word) for word in named)
    if not all(isinstance(number, int) for number in (begin, end, pad)):
        raise ConfigError(f"{folder / 'vocab.json'} lacks one of the tokens {named}; fetch it again")
    return torch.tensor([[begin, end, *[pad] * (length - 2)]])


def _entries(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); fetch it again") from error
    if not isinstance(held, dict):
        raise ConfigError(f"{path} should hold one object of JSON; fetch it again")
    return held
