"""What a stream must keep to: every frame once, bits that repeat, memory that does not grow with the video."""

from __future__ import annotations

import gc
import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_crafter import make_video, small_crafter, small_networks  # noqa: E402

from geoflow.errors import GeoFlowError, InputError  # noqa: E402
from geoflow.models.geometrycrafter import GeometryCrafter  # noqa: E402
from geoflow.models.geometrycrafter.joining import blend_in  # noqa: E402
from geoflow.models.geometrycrafter.options import Options  # noqa: E402
from geoflow.models.geometrycrafter.start import start_noise  # noqa: E402
from geoflow.models.geometrycrafter.windows import split_into_windows  # noqa: E402

pytestmark = pytest.mark.long


class Recorded:
    """An array that notes what is read of it, repeated to any length without being held."""

    def __init__(self, array: np.ndarray, num_frames: int) -> None:
        self._array = array
        self.shape = (num_frames, *array.shape[1:])
        self.reads = np.zeros(num_frames, int)
        self.longest = 0

    def __getitem__(self, part: slice) -> np.ndarray:
        index = np.arange(self.shape[0])[part]
        self.reads[index] += 1
        self.longest = max(self.longest, len(index))
        return self._array[index % len(self._array)]


@pytest.mark.parametrize("model_type", ["diff", "determ"])
def test_the_same_video_gives_the_same_bits_however_it_is_handed_in(model_type: str) -> None:
    crafter = small_crafter(model_type, num_inference_steps=2)
    frames, points, mask = make_video(7)
    for array in (frames, points, mask):
        array.flags.writeable = False  # as the object store hands them out
    first, first_mask = crafter.reconstruct(frames, points, mask).collect()
    again, again_mask = small_crafter(model_type, num_inference_steps=2).reconstruct(frames, points, mask).collect()
    read = [Recorded(array, 7) for array in (frames, points, mask)]
    streamed, streamed_mask = crafter.reconstruct(*read).collect()
    assert first.shape == (7, 64, 64, 3) and first.dtype == np.float32
    assert np.isfinite(first).all() and (first[..., 2] > 0).all()
    assert np.array_equal(first, again) and np.array_equal(first_mask, again_mask)
    assert np.array_equal(first, streamed) and np.array_equal(first_mask, streamed_mask)


def test_frames_are_read_once_priors_twice_and_few_at_a_time() -> None:
    frames, points, mask = (Recorded(array, 11) for array in make_video(3))
    chunks = list(small_crafter().reconstruct(frames, points, mask))
    assert [(chunk.start, len(chunk.depth)) for chunk in chunks] == [(0, 3), (3, 3), (6, 3), (9, 2)]
    looks = 1  # at the first frame, for its type
    assert set(frames.reads[1:]) == {1} and frames.reads[0] == 1 + looks
    assert set(points.reads[1:]) == {2} and set(mask.reads[1:]) == {2}
    assert frames.longest <= 4 and points.longest <= 8


def live_tensor_bytes() -> int:
    """Of all tensors that Python knows, each storage once."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def test_what_is_held_does_not_grow_with_the_video() -> None:
    crafter = small_crafter("diff", window_size=8, overlap=2, num_inference_steps=1, decode_chunk_size=8)
    before = live_tensor_bytes()
    peaks = {}
    for num_frames in (14, 32):
        found = crafter.reconstruct(*(Recorded(array, num_frames) for array in make_video(4)))
        peaks[num_frames] = max(live_tensor_bytes() - before for _ in found)
    numbers_per_frame = 5 * 8 + 16 * 2 / 8  # five float64 of the survey, two sums per group of eight
    assert peaks[32] <= peaks[14] + 18 * numbers_per_frame + 1024
    assert peaks[14] < 1e6  # 12 latent maps of 8 x 8 and the maps of a group, not frames


def test_the_focal_length_of_the_video_is_known_at_its_end() -> None:
    found = small_crafter().reconstruct(*make_video(5))
    chunks = iter(found)
    assert next(chunks).diagonal is None
    with pytest.raises(GeoFlowError, match="after its last chunk"):
        _ = found.diagonal
    list(chunks)
    assert np.isfinite(found.diagonal)


def test_consumers_keep_their_own_mode() -> None:
    with torch.inference_mode(False):
        for _ in small_crafter().reconstruct(*make_video(2)):
            assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("num_frames", [1, 3])
@pytest.mark.parametrize("model_type", ["diff", "determ"])
def test_videos_shorter_than_a_window(model_type: str, num_frames: int) -> None:
    points, mask = small_crafter(model_type, num_inference_steps=2).reconstruct(*make_video(num_frames)).collect()
    assert points.shape == (num_frames, 64, 64, 3) and mask.shape == (num_frames, 64, 64)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("model_type", ["diff", "determ"])
def test_windows_may_stand_side_by_side(model_type: str) -> None:
    """Without overlap each window is as if it were alone, except for what the whole video shares."""
    video = make_video(8)
    crafter = small_crafter(model_type, overlap=0, decode_chunk_size=4, num_inference_steps=2)
    depth = [chunk.depth for chunk in crafter.reconstruct(*video)]
    same = tuple(np.concatenate([array[:4], array[:4]]) for array in video)
    twice = [chunk.depth for chunk in crafter.reconstruct(*same)]
    assert np.array_equal(twice[0], twice[1])
    assert not np.array_equal(depth[0], depth[1])


def test_windows_cover_every_frame_once_beyond_their_overlap() -> None:
    for num_frames in (1, 7, 8, 9, 40):
        for overlap in (0, 1, 3, 7):
            windows = list(split_into_windows(num_frames, 8, overlap))
            assert windows[0][0] == 0 and windows[-1][1] == num_frames
            assert all(a[1] - b[0] == overlap for a, b in itertools.pairwise(windows))
            assert all(stop - start > (overlap if start else 0) for start, stop in windows)


def test_the_first_shared_frame_is_the_old_windows_and_the_last_the_new_ones() -> None:
    old, new = torch.zeros(3, 1, 1, 1), torch.ones(5, 1, 1, 1)
    assert blend_in(old, new).flatten().tolist() == [0, 0.5, 1, 1, 1]
    assert blend_in(old[:1], new).flatten().tolist() == [0, 1, 1, 1, 1]


def test_noise_depends_on_the_seed_alone() -> None:
    options = Options(height=64, width=64, window_size=6, overlap=1)
    np.random.seed(1)
    noise = start_noise(options, 100)
    np.random.seed(2)
    assert noise.shape == (6, 4, 8, 8) and noise.dtype == np.float32
    assert np.array_equal(noise, start_noise(options, 6))
    assert np.array_equal(noise[:3], start_noise(options, 3))  # a shorter video has the same noise
    assert not np.array_equal(noise, start_noise(options.replace(seed=43), 6))


@pytest.mark.parametrize("size", [(51, 77), (50, 77), (64, 64)])
def test_any_size_of_video(size: tuple[int, int]) -> None:
    points, mask = small_crafter().reconstruct(*make_video(2, *size)).collect()
    assert points.shape == (2, *size, 3) and mask.shape == (2, *size)
    assert np.isfinite(points).all()


@pytest.mark.parametrize("settings", [{}, {"force_fixed_focal": False}, {"force_projection": False}])
def test_a_video_made_smaller_first_comes_back_at_its_size(settings: dict[str, Any]) -> None:
    video = make_video(2, 101, 90)
    points, _ = small_crafter(downsample_ratio=1.5, **settings).reconstruct(*video).collect()
    full, _ = small_crafter(**settings).reconstruct(*video).collect()
    assert points.shape == (2, 101, 90, 3)
    # Frames of noise lose most of their detail, but the scene is the same.
    assert np.median(np.abs(np.log(points[..., 2] / full[..., 2]))) < 0.1


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_low_memory_changes_nothing_but_rounding(guidance: float) -> None:
    video = make_video(5, 128, 128)  # of smaller ones the deepest latents are 1 x 1, and norms magnify all rounding
    settings: dict[str, Any] = {"height": 128, "width": 128, "num_inference_steps": 2, "guidance_scale": guidance}
    usual, _ = small_crafter("diff", **settings).reconstruct(*video).collect()
    cheap, _ = small_crafter("diff", low_memory_usage=True, **settings).reconstruct(*video).collect()
    error = np.abs(np.log(usual[..., 2] / cheap[..., 2]))
    assert np.median(error) < 1e-5 and error.max() < 1e-3  # batches of another size round otherwise


def test_channels_may_come_last() -> None:
    video, options = make_video(4), Options("diff", 64, 64, window_size=4, overlap=1, num_inference_steps=1)
    first, last = (
        GeometryCrafter(small_networks("diff"), options, channels_last=order).reconstruct(*video).collect()[0]
        for order in (False, True)
    )
    assert np.median(np.abs(np.log(first[..., 2] / last[..., 2]))) < 2e-3  # as far as the norms' lost digits


def test_half_precision_stays_near_full() -> None:
    size = {"height": 192, "width": 192}  # latents are 3 x 3 at the deepest level; of 1 x 1, norms make too much
    video = make_video(3, 192, 192)
    full, _ = small_crafter("diff", num_inference_steps=1, **size).reconstruct(*video).collect()
    half, _ = small_crafter("diff", torch.float16, num_inference_steps=1, **size).reconstruct(*video).collect()
    error = np.abs(np.log(half[..., 2] / full[..., 2]))
    assert 0 < np.median(error) < 5e-3  # float16 has a step of 1e-3, through some twenty layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, p, m: (f[:0], p[:0], m[:0]), "and not empty"),
        (lambda f, p, m: (f, p[:2], m), "prior points should be"),
        (lambda f, p, m: (f, p, m[:, :8]), "prior mask should be"),
        (lambda f, p, m: (f / 255, p, m), "frames should be uint8"),
        (lambda f, p, m: (f, p, m.astype(np.float32)), "prior mask should be bool"),
        (lambda f, p, m: (f, np.where(m[..., None], p, p * 0 + np.nan), m | True), "frame 0 has 336 valid pixels"),
    ],
)
def test_what_cannot_be_used_is_said(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_crafter().reconstruct(*change(*make_video(3))).collect()
