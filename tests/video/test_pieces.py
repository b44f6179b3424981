"""The frames of a span come in pieces, each decoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest

from geoflow.segments import Span
from geoflow.video import decoding, frame_reader, frame_table
from geoflow.video.pieces import PIECE, read_pieces
from geoflow.video.probe import probe

FRAMES = 2 * PIECE + 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write(tmp_path_factory.mktemp("pieces") / "long.mp4", FRAMES)


def _watch(places: Any, opened: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note down every decoder that is opened."""
    plain = places.open

    def noted(self: Any, k: int, way: int) -> Any:
        opened.append(k)
        return plain(self, k, way)

    monkeypatch.setattr(places, "open", noted)


def test_pieces_are_the_span_and_the_decoder_is_opened_once(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, found = probe(str(clip), "long")
    span = Span(info, "chapter", 0, 7, FRAMES - 5, 0, 0)
    whole = frame_reader.read_frames(info, found["video.index"], found["video.pts"], span.start, span.stop)
    opened: list[int] = []
    for places in (decoding.Stamps, frame_table.Rows):
        _watch(places, opened, monkeypatch)
    pieces = list(read_pieces(span, found, masks=True))
    assert [len(piece["frames.rgb"]) for piece in pieces] == [PIECE, PIECE, len(span) - 2 * PIECE]
    assert np.array_equal(np.concatenate([piece["frames.rgb"] for piece in pieces]), whole)
    index = np.concatenate([piece["frames.index"] for piece in pieces])
    assert np.array_equal(index, found["video.index"][span.start : span.stop])
    assert opened == [0], "each piece goes on where the last one ended"
    assert all("frames.mask" not in piece for piece in pieces), "the user gave none"
