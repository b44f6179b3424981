"""What a user hands in and gets: any size of frame, known lenses, options, and checkpoints that run nothing."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_lingbot import SIDE, SMALL, moving_frames, publish, small_network, small_streamer  # noqa: E402

from geoflow.errors import ConfigError, InputError  # noqa: E402
from geoflow.geometry.cameras import pinhole  # noqa: E402
from geoflow.models.lingbot import LingbotConfig, StreamOptions, from_checkpoint  # noqa: E402
from geoflow.models.lingbot.bicubic import resize  # noqa: E402
from geoflow.models.lingbot.cache import FrameCache  # noqa: E402
from geoflow.models.lingbot.config import SPECIAL  # noqa: E402
from geoflow.models.lingbot.fitting import Fit  # noqa: E402
from geoflow.models.lingbot.known_lens import KnownLens  # noqa: E402

OPTIONS = {"scale_frames": 2, "side": SIDE}


def run(frames: np.ndarray, **options: Any) -> list[Any]:
    return list(small_streamer().run(frames, **{**OPTIONS, **options}))


@pytest.mark.parametrize("size", [(42, 56), (56, 42), (100, 40), (30, 200), (37, 61)])
@pytest.mark.parametrize("fit", ["whole", "pad"])
def test_every_pixel_of_any_frame_gets_depth(size: tuple[int, int], fit: str) -> None:
    found = run(moving_frames(3, *size), fit=fit)
    assert len(found) == 3
    for one in found:
        assert one.depth.shape == one.confidence.shape == size and one.depth.dtype == np.float32
        assert np.isfinite(one.depth).all() and (one.depth > 0).all() and (one.confidence >= 1).all()
        assert np.isfinite(one.intrinsics).all() and (one.intrinsics[[0, 1], [0, 1]] > 0).all()
        np.testing.assert_allclose(one.intrinsics[:2, 2], [(size[1] - 1) / 2, (size[0] - 1) / 2], atol=1e-4)
    np.testing.assert_allclose(found[0].cam_from_world, np.eye(4), atol=1e-6)
    rotations = np.stack([one.cam_from_world[:3, :3] for one in found])
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.tile(np.eye(3), (3, 1, 1)), atol=1e-5)


def test_the_original_crops_a_portrait_and_says_nothing_of_what_it_lost() -> None:
    for one in run(moving_frames(2, 120, 60), fit="crop"):
        lost = one.depth == 0
        assert lost[:28].all() and lost[-28:].all() and not lost[32:88].any()
        assert (one.confidence[:28] == 0).all() and (one.confidence[32:88] >= 1).all()


def test_a_landscape_is_seen_as_the_original_sees_it() -> None:
    frame = moving_frames(1, 108, 192)[0]
    whole, crop = (Fit.of(frame.shape[:2], 112, mode) for mode in ("whole", "crop"))
    assert whole.picture == crop.picture == (70, 112)
    assert np.array_equal(whole.apply(frame), crop.apply(frame))
    turned = Fit.of((192, 108), 112).apply(frame.transpose(1, 0, 2)).transpose(1, 0, 2)
    assert np.abs(turned - whole.apply(frame).astype(int)).max() <= 2, "the order of width and height shows in rounding"


_FITS = [((96, 128), "whole"), ((160, 60), "crop"), ((160, 60), "pad"), ((50, 90), "pad")]


@pytest.mark.parametrize(("size", "fit"), _FITS)
def test_a_field_of_view_is_that_of_what_the_network_sees(size: tuple[int, int], fit: str) -> None:
    """A pixel's ray is the same, by the network's picture and by the frame."""
    fitted = Fit.of(size, 56, fit)
    fov = np.array([0.9, 1.1])
    matrix = fitted.intrinsics(*fov)
    for frame_px in ((0, 0), (size[1] - 1, size[0] - 1), (11, 17)):
        ray = (np.array(frame_px) - matrix[:2, 2]) / matrix[[0, 1], [0, 1]]
        scale = np.array(fitted.resized[::-1]) / np.array(size[::-1])
        edge = (np.array(frame_px) + 0.5) * scale + np.array(fitted.corner[::-1])  # from the picture's corner
        seen = np.array(fitted.picture[::-1])
        np.testing.assert_allclose(ray, (edge / seen * 2 - 1) * np.tan(fov[::-1] / 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fov", [(0.0, 1.0), (1.0, 3.3), (float("nan"), 1.0), (1.0, 0.01)])
def test_an_impossible_lens_is_no_lens(fov: tuple[float, float]) -> None:
    assert np.isnan(Fit.of((42, 56), 56).intrinsics(*fov)).all()


@pytest.mark.parametrize(
    ("old", "new"), [((108, 192), (70, 112)), ((40, 30), (112, 84)), ((33, 77), (14, 126)), ((90, 40), (30, 28))]
)
def test_pictures_are_resized_as_pillow_does(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    rgb = np.random.default_rng(3).integers(0, 256, (*old, 3), np.uint8)
    wanted = np.asarray(image.fromarray(rgb).resize(new[::-1], image.Resampling.BICUBIC))
    assert np.array_equal(resize(rgb, new), wanted)
    assert np.array_equal(resize(rgb, old), rgb)


def test_a_known_lens_keeps_what_the_pictures_say() -> None:
    """A wall seen by a camera that moves sideways and forward: its pixels stay where they were found."""
    found, known = pinhole(80.0, 48, 64), pinhole(100.0, 48, 64)
    lens, depth = KnownLens(known), np.full((48, 64), 4.0, np.float32)
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, 3] = [[0, 0, 0], [0.2, 0, 0.3], [0.1, 0, 0.9]]
    corrected = [lens.correct(pose, found, depth - np.float32(pose[2, 3])) for pose in poses]
    assert lens.ratio == pytest.approx(1.25)
    for pose, (moved, stretched) in zip(poses, corrected):
        np.testing.assert_allclose(stretched, 1.25 * (4 - pose[2, 3]), rtol=1e-6)
        np.testing.assert_allclose(moved[:3, 3], pose[:3, 3] * [1, 1, 1.25], atol=1e-9)
    point = np.array([0.5, 0.3, 5.0])  # of the wall, 4 m away for the network
    for pose, (moved, _) in zip(poses, corrected):
        before, now = point * [1, 1, 0.8] - pose[:3, 3], point - moved[:3, 3]
        seen, wanted = known @ (now / now[2]), found @ (before / before[2])
        np.testing.assert_allclose(seen[:2] - known[:2, 2], wanted[:2] - found[:2, 2], rtol=1e-6)


def test_a_lens_that_was_not_found_leaves_the_last_factor() -> None:
    lens = KnownLens(pinhole(100.0, 48, 64))
    lens.correct(np.eye(4), pinhole(50.0, 48, 64), np.ones((2, 2), np.float32))
    depth = lens.correct(np.eye(4), np.full((3, 3), np.nan), np.ones((2, 2), np.float32))[1]
    assert lens.ratio == 2 and (depth == 2).all()


def test_a_known_lens_stands_in_every_result() -> None:
    frames, known = moving_frames(4), np.array([[60, 0, 27.0], [0, 61, 21.5], [0, 0, 1]])
    free, told = run(frames), run(frames, intrinsics=known)
    for one, other in zip(free, told):
        assert np.array_equal(other.intrinsics, known.astype(np.float32))
        ratio = np.sqrt(60 * 61 / (one.intrinsics[0, 0] * one.intrinsics[1, 1]))
        assert other.focal_ratio == pytest.approx(ratio, rel=1e-5) and one.focal_ratio == 1
        np.testing.assert_allclose(other.depth, one.depth * ratio, rtol=1e-4)
        assert np.array_equal(one.cam_from_world[:3, :3], other.cam_from_world[:3, :3])
    with pytest.raises(ConfigError, match="pinhole matrix"):
        run(frames, intrinsics=np.diag([0.0, 60, 1]))


def test_depth_in_the_networks_size_is_what_it_sees() -> None:
    frames = moving_frames(3, 84, 112)
    small, large = run(frames, full_size=False), run(frames)
    assert small[0].depth.shape == (42, 56) and large[0].depth.shape == (84, 112)
    np.testing.assert_allclose(np.median(small[1].depth), np.median(large[1].depth), rtol=0.02)
    assert np.array_equal(small[2].intrinsics, large[2].intrinsics)


@pytest.mark.parametrize(
    ("frames", "window_size", "interval"), [(8, 320, 1), (320, 320, 1), (321, 320, 2), (1256, 320, 4), (10**6, 320, 4)]
)
def test_the_interval_spares_a_seam_where_it_can(frames: int, window_size: int, interval: int) -> None:
    plan = StreamOptions(num_frames=frames, window_size=window_size).plan()
    assert plan.interval == interval and plan.length is not None
    assert (plan.length >= frames) == (frames <= 1256)
    assert plan.expected(frames) <= window_size


@pytest.mark.parametrize("count", [3, 12])
def test_a_short_video_takes_as_much_room_as_a_long_one(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of a GPU is measured once, and that may be with a short one."""
    taken = []
    ask = FrameCache._room

    def noted(self: FrameCache, k: Any, tokens: int) -> Any:
        rows = ask(self, k, tokens)
        taken.append(rows.shape[2])
        return rows

    monkeypatch.setattr(FrameCache, "_room", noted)
    run(moving_frames(count), room=20, num_frames=count, window_size=None)
    seen, size = SMALL.window + SMALL.scale_frames, SPECIAL + 3 * 4
    assert set(taken) == {(seen + 1) * size + (20 - seen) * SPECIAL}


def test_frames_to_come_may_be_unknown() -> None:
    plan = StreamOptions().plan()
    assert (plan.interval, plan.length, plan.overlap) == (1, 320, 8)
    assert StreamOptions(num_frames=3200, window_size=None).plan().interval == 11


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale_frames": 0}, "scale_frames should be at least 1"),
        ({"keyframe_interval": 0}, "keyframe_interval should be at least 1"),
        ({"window_size": 12, "overlap_keyframes": 10, "scale_frames": 2}, "window_size should be above 12"),
        ({"side": 500}, "side should be a multiple of 14 px, found 500; take 504"),
        ({"fit": "squeeze"}, "fit should be one of whole, crop, pad, found 'squeeze'"),
        ({"flow_threshold": -1.0}, "flow_threshold should be at least 0"),
        ({"side": float("nan")}, "side should be at least 14"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(moving_frames(2), **options)


def test_frames_that_do_not_fit_are_named() -> None:
    frames = [*moving_frames(3), moving_frames(1, 56, 42)[0]]
    with pytest.raises(InputError, match="frame 3 is 42x56, those before were 56x42"):
        list(small_streamer().run(frames, **OPTIONS))
    with pytest.raises(InputError, match=r"frame 1 should be \(H, W, 3\) uint8, found .* float64"):
        list(small_streamer().run([moving_frames(1)[0], np.zeros((42, 56, 3))], **OPTIONS))
    assert list(small_streamer().run([], **OPTIONS)) == []


def test_a_caller_keeps_its_gradients() -> None:
    with torch.inference_mode(False):
        for _ in small_streamer().run(moving_frames(3), **OPTIONS):
            assert not torch.is_inference_mode_enabled()


def test_keyframes_by_flow_answer_every_frame() -> None:
    found = run(moving_frames(12), window_size=8, overlap_keyframes=3, flow_threshold=5.0, max_non_keyframe_gap=3)
    assert len(found) == 12 and all(np.isfinite(one.cam_from_world).all() for one in found)


def test_a_checkpoint_is_read_and_answers_alike(tmp_path: Path) -> None:
    frames = moving_frames(4)
    wanted = run(frames)
    for path in (publish(tmp_path / "own.pt"), tmp_path / "bare.pt"):
        if path.name == "bare.pt":  # without `model`: only the published sizes can be meant
            torch.save(small_network().state_dict(), path)
            with pytest.raises(ConfigError, match=r"bare\.pt is not the LingBot-Map that is expected"):
                from_checkpoint(path)
            continue
        found = list(from_checkpoint(path).run(frames, **OPTIONS))
        assert all(np.array_equal(a.depth, b.depth) for a, b in zip(wanted, found))
    half = from_checkpoint(tmp_path / "own.pt", "cpu", torch.bfloat16).network
    assert half.aggregator.global_blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert torch.float32 in {
        half.aggregator.global_blocks[0].norm1.weight.dtype,
        half.camera_head.embed_pose.weight.dtype,
    }


def _broken(state: dict[str, Any], kind: str) -> Any:
    if kind == "missing":
        del state["camera_head.token_norm.bias"]
    elif kind == "unknown":
        state["point_head.norm.bias"] = torch.zeros(3)
    elif kind == "shape":
        state["aggregator.scale_token"] = torch.zeros(1, 2, 1, 32)
    elif kind == "integers":
        state["aggregator.scale_token"] = state["aggregator.scale_token"].long()
    return {"model": state, "config": dataclasses.asdict(SMALL)}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", r"1 weights are missing \['camera_head.token_norm.bias'\]"),
        ("unknown", r"1 are unknown \['point_head.norm.bias'\]"),
        ("shape", r"scale_token should be a tensor of the shape \(1, 2, 1, 64\); fetch lingbot-map\.pt or"),
        ("integers", "scale_token should hold floating-point numbers, .*; fetch lingbot-map.pt or"),
    ],
)
def test_a_wrong_file_is_an_error(tmp_path: Path, kind: str, said: str) -> None:
    torch.save(_broken(small_network().state_dict(), kind), tmp_path / "wrong.pt")
    with pytest.raises(ConfigError, match=rf"wrong\.pt.*{said}"):
        from_checkpoint(tmp_path / "wrong.pt")


class _Planted:
    """What a pickle would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_that_a_file_names_is_run(tmp_path: Path) -> None:
    torch.save(
        _broken(small_network().state_dict(), "") | {"args": _Planted(tmp_path / "ran")}, tmp_path / "planted.pt"
    )
    assert from_checkpoint(tmp_path / "planted.pt").network.config == SMALL
    assert not (tmp_path / "ran").exists()
    for name, content in (("text.pt", "no checkpoint"), ("empty.pt", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=name):
            from_checkpoint(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ConfigError, match=r"list\.pt is no checkpoint of LingBot-Map.*; fetch lingbot-map\.pt or"):
        from_checkpoint(tmp_path / "list.pt")


@pytest.mark.parametrize(
    "sizes",
    [
        {"heads": 2},
        {"selected": [0, 1, 2, 9]},
        {"selected": [1, 0, 2, 3]},
        {"depth": 0},
        {"dpt_channels": [4, 4, 6, 8]},
        {"x": 1},
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LingbotConfig.from_dict(dataclasses.asdict(SMALL) | sizes)
