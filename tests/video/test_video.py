from __future__ import annotations

import gc
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import cv2
import numpy as np
import pytest

from geoflow import fields
from geoflow.errors import ConfigError, InputError
from geoflow.segments import Segment, VideoInfo
from geoflow.stages.decode import Decode
from geoflow.video import decoding, images
from geoflow.video.fetched import local_path
from geoflow.video.frame_reader import read_frames, read_masks, read_numbered
from geoflow.video.options import ReadOptions, processed_size, scale_intrinsics
from geoflow.video.probe import choose_frames, probe


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of H.264 at 10 Hz, B-frames, a key frame every 6."""
    return clips.write(tmp_path_factory.mktemp("clips") / "plain.mp4")


def read_all(source: Path | str, **options: object) -> tuple[VideoInfo, dict[str, np.ndarray], np.ndarray]:
    info, arrays = probe(str(source), "v", ReadOptions(**options))  # type: ignore[arg-type]
    fields.check(arrays, tuple(arrays), who="probe")
    return info, arrays, read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames)


def numbers(frames: np.ndarray) -> list[int]:
    return [clips.number_of(frame) for frame in frames]


# Every frame in its place, whatever the container and the pixel format.

READABLE: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4": ("a.mp4", {}),
    "open-gop": ("a.mp4", {"options": {"x264-params": "open-gop=1:keyint=6:bframes=3:b-adapt=0"}}),
    "sound-first": ("a.mp4", {"audio": True}),
    "fragmented": ("a.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
    "hevc-10bit": ("a.mp4", {"codec": "libx265", "pixels": "yuv420p10le"}),
    "444-10bit": ("a.mp4", {"pixels": "yuv444p10le"}),
    "odd-size": ("a.mp4", {"pixels": "yuv444p", "size": (61, 47)}),
    "odd-size-420": ("a.mkv", {"codec": "ffv1", "size": (61, 47)}),
    "grey": ("a.mkv", {"codec": "ffv1", "pixels": "gray"}),
    "grey-16bit": ("a.mkv", {"codec": "ffv1", "pixels": "gray16le"}),
    "alpha": ("a.mov", {"codec": "qtrle", "pixels": "argb"}),
    "rgba-png": ("a.mov", {"codec": "png", "pixels": "rgba"}),
    "full-range": ("a.mp4", {"codec": "mjpeg", "pixels": "yuvj420p"}),
    "vp8-hidden-frames": ("a.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}}),
    "avi-storage-order": ("a.avi", {}),  # B-frames in AVI: time stamps lie, so frames are counted
    "transport-stream": ("a.ts", {}),
    "flash": ("a.flv", {}),
    "no-stamps": ("a.h264", {}),
}


@pytest.mark.parametrize("kind", READABLE)
def test_reads_every_frame_in_order(tmp_path: Path, kind: str) -> None:
    name, how = READABLE[kind]
    info, arrays, frames = read_all(clips.write(tmp_path / name, 14, **how))
    assert numbers(frames) == list(range(14)) == arrays["video.index"].tolist()
    np.testing.assert_allclose(arrays["video.time"], np.arange(14) / 10, atol=1e-3)  # Matroska rounds to 1 ms
    assert (info.width, info.height) == how.get("size", (64, 48)) and info.fps == pytest.approx(10, rel=1e-3)
    # Any part equals that part of the whole: seeking lands where it should.
    for start, stop in ((0, 1), (5, 9), (7, 8), (12, 14)):
        part = read_frames(info, arrays["video.index"], arrays["video.pts"], start, stop)
        np.testing.assert_array_equal(part, frames[start:stop])


def test_colours_survive(plain: Path) -> None:
    _, _, frames = read_all(plain)
    assert np.abs(frames[3, 2:10, 2:14].astype(int) - (230, 20, 20)).max() <= 8  # 4:2:0 and crf 10, 8 of 255


def test_palette(tmp_path: Path) -> None:
    _, _, frames = read_all(clips.write(tmp_path / "a.gif", 12, codec="gif", pixels="pal8"))
    assert frames[0, 2, 2].tolist() == [224, 32, 32]  # red, cut to the palette's 2 bits a channel


def test_variable_rate_has_true_times(tmp_path: Path) -> None:
    ticks = [0, 10, 20, 70, 80, 90, 200, 210, 300, 301]
    clip = clips.write(tmp_path / "vfr.mp4", 10, pts=ticks, time_base=Fraction(1, 100))
    info, arrays, frames = read_all(clip)
    np.testing.assert_allclose(arrays["video.time"], np.array(ticks) / 100, atol=1e-4)
    assert numbers(frames) == list(range(10)) and info.fps == pytest.approx(9 / 3.01)
    _, arrays, frames = read_all(clip, fps=2.0)  # at 0, .5, 1, 1.5, 2, 2.5 and 3 s; 6 is nearest twice
    assert arrays["video.index"].tolist() == [0, 3, 5, 6, 7, 8] == numbers(frames)


def test_time_starts_at_the_first_frame(tmp_path: Path) -> None:
    _, arrays, _ = read_all(clips.write(tmp_path / "late.ts", 8, pts=list(range(50, 58)), time_base=Fraction(1, 10)))
    np.testing.assert_allclose(arrays["video.time"], np.arange(8) / 10, atol=1e-4)
    assert arrays["video.pts"][0] > 0


# Orientation: where the red top-left corner of the stored picture must end up.

TURNS = {
    "clockwise": ((0, 1, -1, 0), 90, (True, "top", "right")),
    "half": ((-1, 0, 0, -1), 180, (False, "bottom", "right")),
    "anticlockwise": ((0, -1, 1, 0), 270, (True, "bottom", "left")),
    "mirrored": ((-1, 0, 0, 1), 0, (False, "top", "right")),
    "upside-down-mirrored": ((1, 0, 0, -1), 180, (False, "bottom", "left")),
}


@pytest.mark.parametrize("turn", TURNS)
def test_display_matrix_is_honoured(plain: Path, tmp_path: Path, turn: str) -> None:
    matrix, rotation, (on_side, vertical, horizontal) = TURNS[turn]
    info, _, frames = read_all(clips.with_matrix(plain, tmp_path / "turned.mp4", *matrix))
    assert frames.shape[1:3] == ((64, 48) if on_side else (48, 64)) == (info.source_height, info.source_width)
    assert info.rotation == rotation
    y, x = np.nonzero(frames[0, ..., 0].astype(int) - frames[0, ..., 1] > 100)
    assert ("top" if y.mean() < info.height / 2 else "bottom") == vertical
    assert ("left" if x.mean() < info.width / 2 else "right") == horizontal


def test_turned_and_resized(plain: Path, tmp_path: Path) -> None:
    info, _, frames = read_all(clips.with_matrix(plain, tmp_path / "turned.mp4", 0, 1, -1, 0), long_side=32)
    assert (info.height, info.width) == (32, 24) == frames.shape[1:3]
    assert frames[0, 2, 21].tolist() == pytest.approx([230, 20, 20], abs=8)


def test_long_pixels_are_made_square(tmp_path: Path) -> None:
    info, _, frames = read_all(clips.write(tmp_path / "wide.mp4", 4, aspect=Fraction(2)))
    assert frames.shape[1:3] == (48, 128) == (info.source_height, info.source_width)


# Options


def test_size_limit_and_intrinsics(plain: Path) -> None:
    info, arrays, frames = read_all(plain, size=(32, 12), limit=5, intrinsics=(60.0, 80.0, 31.5, 23.5))
    assert frames.shape == (5, 12, 32, 3) and info.num_frames == 5 == len(arrays["video.time"])
    assert info.intrinsics == (30.0, 20.0, 15.5, 5.5)
    info, _, _ = read_all(plain, long_side=640)
    assert (info.width, info.height) == (64, 48)  # never enlarged


def test_half_pixel_rule_agrees_with_the_resize() -> None:
    """The centre of a blob moves as `scale_intrinsics` says the principal point does."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:50] = 200  # centre (39.5, 29.5)
    small = images.resize(image, 24, 20)[..., 0].astype(float)
    v, u = np.mgrid[:24, :20]
    _, _, cx, cy = scale_intrinsics((1, 1, 39.5, 29.5), 20 / 80, 24 / 60)
    # 0.01 px: values are rounded to 1/255.
    assert (small * u).sum() / small.sum() == pytest.approx(cx, abs=0.01)
    assert (small * v).sum() / small.sum() == pytest.approx(cy, abs=0.01)


def test_resampling() -> None:
    time = np.arange(30) / 30
    assert choose_frames(time, 20).tolist()[:5] == [0, 1, 3, 4, 6]  # ties go to the earlier frame
    assert choose_frames(time, 100).tolist() == list(range(30))  # no frame is invented
    assert choose_frames(time, 30000 / 1001).tolist()[:3] == [0, 1, 2]
    assert choose_frames(time, 0.1).tolist() == [0]


@pytest.mark.parametrize("bad", [{"fps": 0}, {"fps": float("nan")}, {"size": (0, 4)}, {"limit": 0}, {"long_side": 0}])
def test_options_that_mean_nothing(bad: dict) -> None:
    with pytest.raises(ConfigError):
        ReadOptions(**bad)


def test_sizes() -> None:
    assert processed_size(1920, 1080, ReadOptions(long_side=640)) == (640, 360)
    assert processed_size(1920, 1080, ReadOptions(long_side=640, size=(100, 50))) == (50, 100)
    assert processed_size(10, 100_000, ReadOptions(long_side=100)) == (1, 8660)  # of at most 75 x 100 pixels


# Frame folders


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_frame_folder_in_natural_order(tmp_path: Path, suffix: str) -> None:
    folder = clips.frame_folder(tmp_path / "frames", 12, suffix)
    (folder / "._frame1.png").write_bytes(b"what macOS leaves behind")
    (folder / "notes.txt").write_text("no picture")
    info, arrays, frames = read_all(folder, fps=4.0)
    assert numbers(frames) == list(range(12)) and (arrays["video.pts"] == -1).all()
    np.testing.assert_allclose(arrays["video.time"], np.arange(12) / 4)
    assert info.fps == pytest.approx(4)
    assert frames[0, 2, 2].tolist() == pytest.approx([230, 20, 20], abs=20)  # RGB; lossy formats
    assert clips.number_of(read_numbered(str(folder), np.array([9]), (64, 48))[0]) == 9


def test_pictures_of_every_depth_become_rgb(tmp_path: Path) -> None:
    deep = np.full((10, 12), 0x8000, np.uint16)
    clear = np.dstack([np.full((10, 12, 3), 128, np.uint8), np.zeros((10, 12), np.uint8)])
    for name, image in (("a", deep), ("b", (deep >> 8).astype(np.uint8)), ("c", clear), ("d", np.dstack([deep] * 3))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    _, _, frames = read_all(tmp_path)
    assert frames.dtype == np.uint8 and (frames == 128).all()


def test_exif_turns_pictures(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "frames", 3, ".jpg")
    tiff = b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0" * 4  # orientation 6: clockwise
    for file in folder.iterdir():
        data = file.read_bytes()
        block = b"Exif\0\0" + tiff
        file.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])
    info, _, frames = read_all(folder)
    assert frames.shape == (3, 64, 48, 3) and (info.source_height, info.source_width) == (64, 48)
    assert frames[0, 4, 43, 0] > 200 > 60 > frames[0, 4, 43, 1]  # red is top right


def test_folder_with_an_odd_picture(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".bmp"):
        folder = clips.frame_folder(tmp_path / suffix, 4, suffix)
        cv2.imwrite(str(folder / f"frame9{suffix}"), clips.picture(0, 20, 30))
        with pytest.raises(InputError, match=r"frame9\.\w+ is 30x20, but .*frame1\.\w+ is 64x48"):
            probe(str(folder), "v")


def test_folder_with_a_broken_picture(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "frames", 4)
    data = (folder / "frame3.png").read_bytes()
    (folder / "frame3.png").write_bytes(data[: len(data) // 2])  # its header is whole, so only reading can tell
    info, arrays = probe(str(folder), "v")
    with pytest.raises(InputError, match=r"frame3\.png is damaged"):
        read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 4)
    (folder / "frame4.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"frame4\.png is empty"):
        probe(str(folder), "v")


def test_hash_follows_names_and_content(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "frames", 3)
    before = probe(str(folder), "v")[0].source_sha256
    (folder / "frame3.png").rename(folder / "frame4.png")
    after = probe(str(folder), "v")[0].source_sha256
    assert before != after and len(before) == 64


# Masks


def test_masks(plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "masks" / "v"
    folder.mkdir(parents=True)
    for k in range(20):
        mask = np.zeros((48, 64), np.uint16)
        mask[:, :k] = 1  # a label image: only the lowest bit is set
        cv2.imwrite(str(folder / f"{k}.png"), mask)
    options = ReadOptions(masks=str(tmp_path / "masks"), fps=5.0, size=(128, 96))
    info, arrays = probe(str(plain), "v", options)
    stage = Decode()
    stage.setup()
    out = stage.process(Segment(info, 1, 2, 6), arrays)
    fields.check(out, stage.outputs, who="decode", optional=stage.optional_outputs, num_frames=4)
    assert out["frames.index"].tolist() == [4, 6, 8, 10]
    assert out["frames.mask"].shape == (4, 96, 128)
    # Mask k marks k columns of 64, so twice as many of 128, in every row.
    assert (out["frames.mask"].sum(axis=-1) == 2 * out["frames.index"][:, None]).all()


@pytest.mark.parametrize("size", [(64, 48), (48, 48), (64, 16), (30, 60), (128, 50)])
def test_masks_of_the_sources_size_fit_every_size(plain: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    folder = tmp_path / "masks" / "v"
    folder.mkdir(parents=True)
    for k in range(20):
        mask = np.zeros((48, 64), np.uint8)
        mask[12:24, 16:48] = 255
        cv2.imwrite(str(folder / f"{k}.png"), mask)
    info, arrays = probe(str(plain), "v", ReadOptions(masks=str(tmp_path / "masks"), size=size))
    masks = read_masks(info, arrays["video.index"], 0, 3)
    assert masks.shape == (3, size[1], size[0])
    expected = np.zeros((size[1], size[0]), bool)  # pixels whose centres lie in the same part of the picture
    v, u = (np.arange(size[1]) + 0.5) / size[1], (np.arange(size[0]) + 0.5) / size[0]
    expected[np.ix_((v > 0.25) & (v < 0.5), (u > 0.25) & (u < 0.75))] = True
    assert (masks == expected).mean() > 0.97  # edges may fall to either side


def test_masks_of_stored_pixels_fit_too(tmp_path: Path) -> None:
    clip = clips.write(tmp_path / "wide.mp4", 4, aspect=Fraction(2))
    for name, shape in (("stored", (48, 64)), ("shown", (48, 128))):
        folder = tmp_path / name / "v"
        folder.mkdir(parents=True)
        for k in range(4):
            cv2.imwrite(str(folder / f"{k}.png"), np.eye(*shape, dtype=np.uint8))
        info, arrays = probe(str(clip), "v", ReadOptions(masks=str(tmp_path / name)))
        assert read_masks(info, arrays["video.index"], 0, 4).shape == (4, 48, 128)


def test_masks_that_do_not_fit(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masks"):
        probe(str(plain), "v", ReadOptions(masks=str(tmp_path)))
    clips.frame_folder(tmp_path / "v", 19)
    with pytest.raises(InputError, match="19 masks, but the video has 20 frames"):
        probe(str(plain), "v", ReadOptions(masks=str(tmp_path)))
    for k in range(20):
        (tmp_path / "side" / "v").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "side" / "v" / f"{k}.png"), np.zeros((64, 48), np.uint8))
    info, arrays = probe(str(plain), "v", ReadOptions(masks=str(tmp_path / "side"), size=(40, 40)))
    with pytest.raises(InputError, match=r"48x64, which fits neither the source of 64x48 .* nor frames of 40x40"):
        read_masks(info, arrays["video.index"], 0, 2)


# The stage


def test_decode_stage(plain: Path) -> None:
    info, arrays = probe(str(plain), "v", ReadOptions(fps=5.0))
    stage = Decode()
    stage.setup()
    out = stage.process(Segment(info, 0, 3, 8), arrays)
    fields.check(out, stage.outputs, who="decode", num_frames=5)
    assert numbers(out["frames.rgb"]) == [6, 8, 10, 12, 14] == out["frames.index"].tolist()
    np.testing.assert_allclose(out["frames.time"], np.array([0.6, 0.8, 1.0, 1.2, 1.4]), atol=1e-6)
    assert all(array.flags.c_contiguous for array in out.values())


def test_only_the_needed_frames_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, arrays = probe(str(clips.write(tmp_path / "long.mp4", 60)), "v")
    seen = []
    decoded = decoding.decoded

    def count(*args):
        for item in decoded(*args):
            seen.append(item[0].pts)
            yield item

    monkeypatch.setattr(decoding, "decoded", count)
    read_frames(info, arrays["video.index"], arrays["video.pts"], 50, 52)
    # At most two groups of 6 before the wanted frame (a seek goes by decoding time), then the frames themselves.
    assert len(seen) <= 2 * 6 + 2


def test_no_decoded_frame_outlives_its_turn(plain: Path) -> None:
    """Frames that wait for the garbage collector would make memory grow with the video's length."""
    info, arrays = probe(str(plain), "v")
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())  # decoders that other tests left
        for start in range(0, 20, 5):
            read_frames(info, arrays["video.index"], arrays["video.pts"], start, start + 5)
        assert sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects()) <= before
    finally:
        gc.enable()


def test_single_frame(plain: Path) -> None:
    assert clips.number_of(read_numbered(str(plain), np.array([13]), (32, 24))[0]) == 13
    with pytest.raises(InputError, match="no frame 20"):
        read_numbered(str(plain), np.array([20]), (32, 24))[0]


# URIs


def test_uris(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    monkeypatch.setenv("GEOFLOW_CACHE", str(tmp_path / "cache"))
    with fsspec.open("memory://bucket/a clip.mp4", "wb") as file:
        file.write(plain.read_bytes())
    info, _, frames = read_all("memory://bucket/a clip.mp4", limit=3)
    assert info.source == "memory://bucket/a clip.mp4" and numbers(frames) == [0, 1, 2]
    assert info.source_sha256 == probe(str(plain), "v")[0].source_sha256
    assert len(list((tmp_path / "cache" / "inputs").iterdir())) == 1  # fetched once, nothing left beside it
    assert local_path(plain.as_uri()) == str(plain)
    with pytest.raises(InputError, match=r"memory://bucket/none\.mp4 cannot be fetched"):
        probe("memory://bucket/none.mp4", "v")
    with pytest.raises(InputError, match="nonsense://x"):
        probe("nonsense://x/y.mp4", "v")
    with fsspec.open("memory://bucket/empty.mp4", "wb") as file:
        file.write(b"")
    with pytest.raises(InputError, match=r"memory://bucket/empty\.mp4 is empty"):
        probe("memory://bucket/empty.mp4", "v")


# Bad input: each is refused before work starts, with the file's name.


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    plain = clips.write(folder / "plain.mp4", audio=True)
    streamable = clips.write(folder / "fast.mp4", container={"movflags": "faststart"}, audio=True)
    (folder / "zero.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("this is no video\n" * 50)
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile plain.mp4\n")
    (folder / "empty").mkdir()
    return {
        "missing": (folder / "none.mp4", "does not exist"),
        "zero": (folder / "zero.mp4", "0 bytes"),
        "text": (folder / "text.mp4", "not a video"),
        "playlist": (folder / "list.mp4", "not a video"),  # a file is data, never a script
        "no-index": (clips.cut(plain, folder / "no-index.mp4", 0.5), "cut off"),
        "streamable-cut": (clips.cut(streamable, folder / "half.mp4", 0.5), "cut off"),
        "last-byte": (clips.cut(streamable, folder / "last.mp4", 0.999), "cut off"),
        "mkv-cut": (clips.cut(clips.write(folder / "a.mkv"), folder / "cut.mkv", 0.7), "cut off"),
        "avi-cut": (clips.cut(clips.write(folder / "a.avi", codec="mpeg4"), folder / "cut.avi", 0.7), "cut off"),
        "flv-cut": (clips.cut(clips.write(folder / "a.flv", 30), folder / "cut.flv", 0.5), "cut off|damaged"),
        "gif-cut": (
            clips.cut(clips.write(folder / "a.gif", codec="gif", pixels="pal8"), folder / "cut.gif", 0.7),
            "cut off",
        ),
        "raw-cut": (clips.cut(clips.write(folder / "a.h264"), folder / "cut.h264", 0.9), "damaged"),
        "audio-only": (clips.write(folder / "sound.m4a", audio=True, video=False), "no video stream"),
        "no-pictures": (folder / "empty", "no pictures"),
    }


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    for kind, (path, reason) in bad_files(tmp_path).items():
        with pytest.raises(InputError) as caught:
            probe(str(path), "v")
        assert str(path) in str(caught.value), kind
        assert any(part in str(caught.value) for part in reason.split("|")), (kind, str(caught.value))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_one_frame_is_read_and_said_to_show_no_motion(tmp_path: Path, kind: str) -> None:
    path = clips.write(tmp_path / "one.mp4", 1) if kind == "file" else clips.frame_folder(tmp_path / "one", 1)
    info, arrays, frames = read_all(path)
    assert (info.num_frames, len(frames), arrays["video.time"].tolist()) == (1, 1, [0.0])
    assert info.fps > 0
    assert [note for note in info.notes if "one frame: a single picture shows no motion" in note]
    assert read_all(path, fps=4.0)[0].fps == 4.0


def test_a_rate_or_a_limit_that_leaves_one_frame_says_so(plain: Path) -> None:
    info, _ = probe(str(plain), "v", ReadOptions(fps=0.1))
    assert info.num_frames == 1 and "raise --fps to keep more" in info.notes[-1]
    info, _ = probe(str(plain), "v", ReadOptions(limit=1))
    assert info.num_frames == 1 and "frames one is processed" in info.notes[-1] and "--fps" not in info.notes[-1]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        probe(str(tmp_path / "pipe.mp4"), "v")


def test_damage_in_the_middle_names_the_frame(plain: Path, tmp_path: Path) -> None:
    clip = clips.write(tmp_path / "tail.mp4", container={"movflags": "faststart"})
    hurt = clips.damaged(clip, tmp_path / "hurt.mp4", 0.5)
    info, arrays = probe(str(hurt), "v")
    with pytest.raises(InputError, match=r"frame \d+ of .*hurt\.mp4 cannot be decoded"):
        read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 20)
    first = read_frames(info, arrays["video.index"], arrays["video.pts"], 0, 4)
    assert numbers(first) == [0, 1, 2, 3]  # what lies before the damage is unharmed


def test_unreadable_permission(plain: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked.mp4"
    locked.write_bytes(plain.read_bytes())
    locked.chmod(0)
    whoever = os.geteuid()
    if whoever == 0:  # root reads everything, so become nobody for a while
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"locked\.mp4 may not be read"):
            probe(str(locked), "v")
    finally:
        os.seteuid(whoever)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    folder = clips.frame_folder(tmp_path / "frames")
    (folder / "frame13.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"frame13\.png cannot be read"):
        probe(str(folder), "v")
