"""What a text names in a picture: which tokens belong to which phrase, which boxes are left; on made-up weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from small_sam2 import publish_detector  # noqa: E402

from geoflow.bench.sam2.made_up_sam2 import moving_discs  # noqa: E402
from geoflow.errors import ConfigError  # noqa: E402
from geoflow.models.grounding_dino import Named, TextDetector, from_pretrained  # noqa: E402
from geoflow.models.grounding_dino.text_detector import _best, _corners, _pixels  # noqa: E402

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_detector(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> TextDetector:
    return from_pretrained(folder)


def test_boxes_lie_in_the_picture_and_are_the_same_again(detector: TextDetector) -> None:
    rgb = moving_discs(1)[0]
    found = detector.detect(rgb, ("red disc", "cup"), least_score=0.0)
    assert found and found == detector.detect(rgb, ("red disc", "cup"), least_score=0.0)
    assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
    for row in found:
        left, top, right, bottom = row.box
        assert -0.5 <= left < right <= 63.5 and -0.5 <= top < bottom <= 47.5 and row.phrase in (0, 1)
    assert detector.detect(rgb, ("red disc", "cup"), least_score=0.0, most=2) == found[:2]
    assert detector.detect(rgb, ("cup",), least_score=1.0) == []


def test_words_have_a_box_each(detector: TextDetector) -> None:
    rgb = moving_discs(1)[0]
    found = detector.detect(rgb, ("red disc", "cup"), least_score=0.0)
    first, second, third = detector.best(rgb, ["Red  disc.", "cup", "red disc"], least_score=0.0)
    rows = {k: [row for row in found if row.phrase == k] for k in (0, 1)}
    assert [first, third] == (rows[0] + [None, None])[:2]
    assert second == (rows[1] + [None])[0]
    assert len(rows[0]) + len(rows[1]) > 1
    assert detector.best(rgb, ["cup"], least_score=1.0) == [None]


def test_every_phrase_has_its_tokens(detector: TextDetector) -> None:
    tokens, spans = detector._tokens(["red disc", "cup"])
    row = tokens["input_ids"][0].tolist()
    assert row == [101, 1030, 1032, 1012, 1033, 1012, 102], "[CLS] red disc . cup . [SEP]"
    assert spans == [(1, 3), (4, 5)]
    with pytest.raises(ConfigError, match="1 to 256 tokens, found 602; name fewer"):
        detector._tokens(["cup"] * 300)


def test_a_box_goes_to_its_best_phrase_and_is_given_once() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30], [5, 5, 5, 9], [40, 0, 50, 9]], float)
    score = np.array([[0.5, 0.7], [0.9, 0.1], [0.2, 0.4], [0.9, 0.9], [0.1, 0.3]])
    found = _best(boxes, score, 0.35, 9)
    assert found == [Named(0, 0.9, (0, 0, 10, 11)), Named(1, 0.4, (20, 20, 30, 30))]


def test_pictures_are_as_large_as_the_network_was_trained_with() -> None:
    sizes = [
        tuple(_pixels(np.zeros((*size, 3), np.uint8), torch.device("cpu")).shape) for size in ((48, 64), (40, 400))
    ]
    assert sizes == [(1, 3, 800, 1067), (1, 3, 133, 1333)]
    np.testing.assert_allclose(_corners(np.array([[0.5, 0.5, 1, 2]]), 48, 64), [[-0.5, -0.5, 63.5, 47.5]])


def test_a_folder_without_words_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ConfigError, match=r"holds no vocab.txt or tokenizer.json; give a folder laid out as IDEA"):
        from_pretrained(tmp_path)
