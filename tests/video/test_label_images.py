"""The user's labels of objects: read as they are stored, resized and cropped as masks are, and never mixed."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest

from geoflow import fields
from geoflow.errors import InputError
from geoflow.segments import Segment
from geoflow.stages.decode import Decode
from geoflow.video.described import describe_input
from geoflow.video.frame_reader import read_labels
from geoflow.video.inputs import expand_inputs
from geoflow.video.label_images import decode_labels
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

_GREY, _COLOUR, _PALETTE = 0, 2, 3  # colour types of PNG


def png(values: np.ndarray, bits: int, kind: int = _GREY) -> bytes:
    """A PNG file of (H, W) numbers of so many bits, written by hand: OpenCV writes no palettes and no few bits."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        flags = (values[..., None].astype(int) >> np.arange(bits - 1, -1, -1)) & 1
        rows = [np.packbits(row.ravel()).tobytes() for row in flags]
    palette = chunk(b"PLTE", bytes(range(30)) * 8) if kind == _PALETTE and bits == 8 else b""
    palette = palette or (chunk(b"PLTE", bytes([9] * 3 * 2**bits)) if kind == _PALETTE else b"")  # all of one colour
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", [_GREY, _PALETTE])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_values_and_indices_are_the_labels(bits: int, kind: int) -> None:
    values = (np.arange(5 * 7).reshape(5, 7) % min(2**bits, 50)).astype(np.uint8)  # no whole number of bytes in a row
    found = decode_labels(png(values, bits, kind), "l.png")
    assert found.dtype == np.uint8 and np.array_equal(found, values)


def test_sixteen_bits_hold_labels_up_to_255() -> None:
    values = np.array([[0, 255, 3]], np.uint16)
    assert decode_labels(png(values, 16), "l.png").tolist() == [[0, 255, 3]]
    with pytest.raises(InputError, match=r"l.png holds the number 256; objects have numbers up to 255"):
        decode_labels(png(values + 1, 16), "l.png")


def encoded(suffix: str, shape: tuple[int, ...]) -> bytes:
    done, data = cv2.imencode(suffix, np.full(shape, 3, np.uint8))
    assert done
    return data.tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            encoded(".png", (4, 6, 3)),
            "l.png is a picture of 8-bit colour, which numbers no objects; save labels",
        ),
        (encoded(".png", (4, 6, 4)), "8-bit colour with alpha, which numbers no objects"),
        (encoded(".bmp", (4, 6, 3)), "l.png holds colours, which number no objects"),
        (encoded(".jpg", (8, 8)), "l.png is a JPEG, which changes the numbers of pixels near edges"),
        (b"", "l.png is empty"),
        (b"no picture", "l.png is damaged"),
        (png(np.ones((4, 6), np.uint8), 8)[:50], "l.png is damaged"),
        (png(np.ones((4, 6), np.uint8), 8, _PALETTE)[:60], "l.png is"),
    ],
)
def test_what_holds_no_labels_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_labels(data, "l.png")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.write(tmp_path_factory.mktemp("clip") / "plain.mp4", 20)


def lay(folder: Path, pictures: list[np.ndarray], name: str = "v") -> Path:
    (folder / name).mkdir(parents=True)
    for k, picture in enumerate(pictures):
        (folder / name / f"{k}.png").write_bytes(png(picture, 8))
    return folder


def test_decode_gives_labels_of_the_frames_that_are_kept(plain: Path, tmp_path: Path) -> None:
    """Label 200 in k columns of frame k, label 100 beside it: every label keeps its number at any size."""
    pictures = []
    for k in range(20):
        picture = np.full((48, 64), 100, np.uint8)
        picture[:, :k] = 200
        pictures.append(picture)
    info, arrays = probe(
        str(plain), "v", ReadOptions(objects=str(lay(tmp_path / "l", pictures)), fps=5.0, size=(128, 96))
    )
    assert info.labels == str(tmp_path / "l" / "v") and len(info.labels_sha256) == 64
    stage = Decode()
    stage.setup()
    out = stage.process(Segment(info, 1, 2, 6), arrays)
    fields.check(out, stage.outputs, who="decode", optional=stage.optional_outputs, num_frames=4)
    label = out["objects.label"]
    assert label.shape == (4, 96, 128) and set(np.unique(label)) == {100, 200}
    assert ((label == 200).sum(-1) == 2 * out["frames.index"][:, None]).all()
    stage.teardown()


@pytest.mark.parametrize("size", [(64, 48), (48, 48), (30, 60), (33, 21)])
def test_resizing_makes_no_new_labels(plain: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).choice(np.array([0, 7, 250], np.uint8), (48, 64))
    info, arrays = probe(str(plain), "v", ReadOptions(objects=str(lay(tmp_path, [picture] * 20)), size=size))
    labels = read_labels(info, arrays["video.index"], 0, 2)
    assert labels.shape == (2, size[1], size[0]) and set(np.unique(labels)) == {0, 7, 250}


def test_labels_of_stored_pixels_fit_too(tmp_path: Path) -> None:
    clip = clips.write(tmp_path / "wide.mp4", 4, aspect=Fraction(2))
    for name, shape in (("stored", (48, 64)), ("shown", (48, 128))):
        picture = np.zeros(shape, np.uint8)
        picture[:, : shape[1] // 2] = 5
        info, arrays = probe(str(clip), "v", ReadOptions(objects=str(lay(tmp_path / name, [picture] * 4))))
        labels = read_labels(info, arrays["video.index"], 0, 4)
        assert labels.shape == (4, 48, 128) and (labels[:, :, :64] == 5).all() and not labels[:, :, 64:].any()


def test_what_is_wrong_is_said_before_work_starts(plain: Path, tmp_path: Path) -> None:
    flat, upright = np.zeros((48, 64), np.uint8), np.zeros((64, 48), np.uint8)
    with pytest.raises(InputError, match=r"v should hold this video's label images, but is not a folder"):
        probe(str(plain), "v", ReadOptions(objects=str(tmp_path)))
    many = lay(tmp_path / "many", [flat] * 21)
    with pytest.raises(InputError, match=r"21 label images, but the video has 20 frames; .* one per frame"):
        probe(str(plain), "v", ReadOptions(objects=str(many)))
    side = lay(tmp_path / "side", [flat] * 19 + [upright])
    with pytest.raises(InputError, match=r"19.png is 48x64, which fits neither the source of 64x48 .* label images"):
        probe(str(plain), "v", ReadOptions(objects=str(side)))
    colours = lay(tmp_path / "colours", [flat] * 20)
    (colours / "v" / "7.png").write_bytes(encoded(".png", (48, 64, 3)))
    with pytest.raises(InputError, match=r"7.png is a picture of 8-bit colour"):
        probe(str(plain), "v", ReadOptions(objects=str(colours)))


def test_other_labels_are_another_content(plain: Path, tmp_path: Path) -> None:
    flat = np.zeros((48, 64), np.uint8)
    found = []
    for name, picture in (("a", flat), ("b", flat + 1), ("c", flat)):
        folder = lay(tmp_path / name, [flat] * 19 + [picture])
        found.append(probe(str(plain), "v", ReadOptions(objects=str(folder)))[0].content())
    assert found[0] == found[2] != found[1]


def test_labels_of_some_frames_are_named_by_their_frames(plain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "l" / "v"
    folder.mkdir(parents=True)
    for frame, value in ((0, 3), (12, 9)):
        (folder / f"label_{frame:05d}.png").write_bytes(png(np.full((48, 64), value, np.uint8), 8))
    info, arrays = probe(str(plain), "v", ReadOptions(objects=str(tmp_path / "l"), fps=5.0))
    assert info.labelled == (0, 12)
    labels = read_labels(info, arrays["video.index"], 0, info.num_frames)
    assert {int(i): int(label.max()) for i, label in zip(arrays["video.index"], labels) if label.any()} == {0: 3, 12: 9}
    item = next(iter(expand_inputs([str(plain)])[0]))
    with pytest.raises(InputError, match="not one for each frame of the video, but no stage of the pipeline finds"):
        describe_input(replace(item, name="v"), ReadOptions(objects=str(tmp_path / "l")), {})
    assert describe_input(replace(item, name="v"), ReadOptions(objects=str(tmp_path / "l")), {}, carries=True)
    (folder / "label_00012.png").rename(folder / "label_00013.png")
    with pytest.raises(InputError, match="held 2 label images"):
        (folder / "label_00000.png").unlink()
        read_labels(info, arrays["video.index"], 0, 2)


def test_labels_are_named_as_the_pictures_of_a_folder(tmp_path: Path) -> None:
    frames, folder = tmp_path / "frames", tmp_path / "l" / "v"
    for place in (frames, folder):
        place.mkdir(parents=True)
    for k in range(4):
        (frames / f"{k + 100}.png").write_bytes(encoded(".png", (48, 64, 3)))
    (folder / "102.png").write_bytes(png(np.full((48, 64), 5, np.uint8), 8))
    info, arrays = probe(str(frames), "v", ReadOptions(objects=str(tmp_path / "l")))
    assert info.labelled == (2,)
    assert [int(label.max()) for label in read_labels(info, arrays["video.index"], 0, 4)] == [0, 0, 5, 0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("first.png",), r"first.png states no frame in its name; .* such as 00000.png"),
        (("a1.png", "b01.png"), "are both for frame 1; fewer label images"),
        (("20.png",), "20.png is for frame 20, but the video ends at 19"),
        ((), "holds 0 label images, but the video has 20 frames"),
        (("1.png",), r"labels for frames 1, none of which is processed"),
    ],
)
def test_labels_of_no_frame_are_refused(plain: Path, tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    (tmp_path / "v").mkdir()
    for name in names:
        (tmp_path / "v" / name).write_bytes(png(np.zeros((48, 64), np.uint8), 8))
    with pytest.raises(InputError, match=message):
        probe(str(plain), "v", ReadOptions(objects=str(tmp_path), fps=5.0))
