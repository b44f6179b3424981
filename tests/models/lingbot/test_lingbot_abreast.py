"""Several videos side by side: each is answered as it would be alone."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_lingbot import SIDE, moving_frames, small_network, small_streamer  # noqa: E402

from geoflow.errors import ConfigError, InputError  # noqa: E402
from geoflow.models.lingbot.network import Seen, Stream, next_abreast  # noqa: E402
from geoflow.models.lingbot.streamer import FrameResult, Streamer  # noqa: E402

ROUNDING = 2e-5  # products of other sizes are summed in another order, as in the test of the stream
LENS = np.array([[60, 0, 27.5], [0, 61, 20.5], [0, 0, 1]])
VALUES = ("cam_from_world", "intrinsics", "depth", "confidence")


def alone(streamer: Streamer, frames: np.ndarray, lens: np.ndarray | None, **options: object) -> list[FrameResult]:
    return list(streamer.run(iter(frames), lens, side=SIDE, scale_frames=2, window_size=None, **options))


@pytest.mark.parametrize("interval", [1, 3])
def test_videos_side_by_side_are_answered_as_if_alone(interval: int) -> None:
    """Of different length, one ends while the others go on; frames leave the cache's window in two of them."""
    streamer = small_streamer()
    videos = [moving_frames(count, seed=seed) for seed, count in enumerate((9, 5, 12, 1))]
    lenses = [None, LENS, None, None]
    options = {"keyframe_interval": interval}
    steps = list(streamer.run_abreast([iter(v) for v in videos], lenses, side=SIDE, scale_frames=2, **options))
    assert len(steps) == 12
    for k, (video, lens) in enumerate(zip(videos, lenses)):
        wanted = alone(streamer, video, lens, **options)
        found = [step[k] for step in steps]
        assert found[len(video) :] == [None] * (12 - len(video))
        for one, other in zip(found, wanted):
            assert one is not None
            for name in VALUES:
                value = getattr(other, name)
                np.testing.assert_allclose(getattr(one, name), value, rtol=ROUNDING, atol=ROUNDING, err_msg=name)
            assert abs(one.focal_ratio - other.focal_ratio) < ROUNDING
    first, last = steps[0][0], steps[8][0]
    assert first is not None and last is not None
    assert np.abs(first.depth - last.depth).max() > 100 * ROUNDING, "frames differ"


def test_streams_side_by_side_may_have_kept_different_numbers_of_frames() -> None:
    net = small_network()
    images = [torch.from_numpy(moving_frames(9, seed=s)).movedim(-1, 1).float() / 255 for s in (3, 4)]
    both: list[tuple[Stream, Stream]] = []
    for kept, rows in zip((3, 8), images):
        pair = (Stream(net), Stream(net))
        for stream in pair:
            stream.begin(rows[:2])
            for k in range(2, kept):
                stream.next(rows[k : k + 1])
        both.append(pair)
    one = next_abreast([pair[0] for pair in both], torch.stack([rows[8] for rows in images]), keep=False)
    other = Seen.joined([pair[1].next(rows[8:9], keep=False) for pair, rows in zip(both, images)])
    for name in ("encoding", "depth", "confidence"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=ROUNDING, rtol=ROUNDING)
    assert [pair[0].kept for pair in both] == [3, 8], "not kept"


def test_what_cannot_go_side_by_side_is_refused() -> None:
    streamer, frames = small_streamer(), moving_frames(4)
    with pytest.raises(ConfigError, match="window_size=None and flow_threshold=0"):
        streamer.run_abreast([frames], window_size=300)
    with pytest.raises(ConfigError, match="window_size=None and flow_threshold=0"):
        streamer.run_abreast([frames], flow_threshold=5.0)
    with pytest.raises(ConfigError, match="2 videos need as many intrinsics, or None, found 1"):
        streamer.run_abreast([frames, frames], [None])
    upright = np.ascontiguousarray(frames.swapaxes(1, 2))
    with pytest.raises(InputError, match=r"one size for the network, found \['42x56', '56x42'\]"):
        list(streamer.run_abreast([frames, upright], side=SIDE, scale_frames=2))
    assert list(streamer.run_abreast([])) == []
    short = next(streamer.run_abreast([frames[:0], frames], side=SIDE, scale_frames=2))
    assert short[0] is None and short[1] is not None
