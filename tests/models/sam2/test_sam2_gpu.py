"""SAM 2 on a real GPU with small made-up weights: the same bits again, also after a new actor took over."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from geoflow.bench.sam2.made_up_sam2 import moving_discs, small_network  # noqa: E402
from geoflow.models.sam2 import Sam2, Shown, Sight, VideoPass  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.usefixtures("single_precision"),
]
SHOWN = {1: Shown(box=(6, 8, 22, 24)), 2: Shown(points=((46.0, 34.0, True),))}
FRAMES, CUT = 24, 18


def follow(video_pass: VideoPass, start: int, stop: int) -> list[dict[int, Sight]]:
    clip = moving_discs(FRAMES)
    return [video_pass.step(t, clip[t], {} if t else SHOWN) for t in range(start, stop)]


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(half: torch.dtype | None) -> None:
    torch.backends.cudnn.deterministic = True
    model = Sam2(small_network().to("cuda"), half)
    expected = follow(model.begin(), 0, FRAMES)
    before, after = model.begin(), model.begin()
    found = follow(before, 0, CUT)
    after.restore(before.state())
    found += follow(after, CUT, FRAMES)
    for one, other in zip(found, expected):
        assert all(torch.equal(one[number].logits, other[number].logits) for number in SHOWN)
    assert any((sights[1].logits > 0).any() and (sights[1].logits < 0).any() for sights in expected)
