"""Interlaced film: one frame a frame, of one moment, the same however it was reached."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
import pytest

from geoflow.video.frame_reader import read_frames
from geoflow.video.interlace import fill_lines
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe

WIDTH, HEIGHT, COUNT = 128, 96, 12


def place(moment: int) -> int:
    """Where a bright bar of 16 px begins in one field."""
    return 8 + 4 * moment


def film(path: Path, *, top_first: bool = True, interlaced: bool = True, codec: str = "libx264") -> Path:
    """A bar that moves 4 px from field to field; of the two fields of a frame the first is an even moment."""
    order = "tff=1" if top_first else "bff=1"
    options = {"x264-params": (order if interlaced else "") + ":keyint=4:qp=8".lstrip(":" if not interlaced else "")}
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(COUNT):
            image = np.full((HEIGHT, WIDTH), 60, np.uint8)
            for which in (0, 1):
                lines = slice(which if top_first else 1 - which, None, 2)
                x = place(2 * k + (which if interlaced else 0))
                image[lines, x : x + 16] = 220
            frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
            for plane, value in zip(frame.planes, (image, None, None)):
                whole = np.full((plane.height, plane.line_size), 128, np.uint8)
                if value is not None:
                    whole[:, :WIDTH] = value
                plane.update(whole)
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(flagged(frame, top_first) if interlaced else frame))
        file.mux(stream.encode())
    return path


def flagged(frame: av.VideoFrame, top_first: bool) -> av.VideoFrame:
    """The frame with the flags of interlaced film, by which x264 goes."""
    graph = av.filter.Graph()
    begin = graph.add_buffer(width=WIDTH, height=HEIGHT, format=frame.format, time_base=frame.time_base)
    graph.link_nodes(begin, graph.add("setfield", "tff" if top_first else "bff"), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def read(path: Path, **options: Any) -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    info, arrays = probe(str(path), "v", ReadOptions(**options))
    return info, arrays, read_frames(info, arrays["video.index"], arrays["video.pts"], 0, info.num_frames)


def ghosts(frame: np.ndarray, k: int) -> int:
    """Bright pixels where only the second field has its bar."""
    return int((frame[4:-4, place(2 * k) + 18 : place(2 * k + 1) + 18, 0] > 120).sum())


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
@pytest.mark.parametrize("top_first", [True, False], ids=["top", "bottom"])
def test_a_frame_shows_its_first_field(tmp_path: Path, suffix: str, top_first: bool) -> None:
    info, arrays, frames = read(film(tmp_path / f"a{suffix}", top_first=top_first))
    assert len(frames) == COUNT and arrays["video.index"].tolist() == list(range(COUNT))
    np.testing.assert_allclose(arrays["video.time"], np.arange(COUNT) / 25, atol=1e-3)
    assert any("Frames are interlaced" in note and "first field" in note for note in info.notes)
    for k, frame in enumerate(frames):
        bar = np.flatnonzero(frame[HEIGHT // 2, :, 0] > 150)
        assert abs(bar[0] - place(2 * k)) <= 1 and abs(bar[-1] - place(2 * k) - 15) <= 1
        assert ghosts(frame, k) == 0
    for start, stop in ((0, 1), (4, 5), (5, 9), (11, 12)):  # key frames are 0, 4 and 8
        part = read_frames(info, arrays["video.index"], arrays["video.pts"], start, stop)
        np.testing.assert_array_equal(part, frames[start:stop])


def test_progressive_film_is_left_alone(tmp_path: Path) -> None:
    info, _, frames = read(film(tmp_path / "a.mp4", interlaced=False))
    assert info.notes == () and frames.shape == (COUNT, HEIGHT, WIDTH, 3)


def test_resized(tmp_path: Path) -> None:
    _, _, frames = read(film(tmp_path / "a.mp4"), size=(64, 48))
    bars = [np.flatnonzero(frame[24, :, 0] > 150) for frame in frames]
    assert [round((bar[0] + bar[-1]) / 2 * 2) for bar in bars] == pytest.approx(
        [place(2 * k) + 7 for k in range(COUNT)], abs=2
    )


@pytest.mark.parametrize("parity", [0, 1])
@pytest.mark.parametrize("height", [8, 9])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lines_between(parity: int, height: int, dtype: type) -> None:
    """A slope stays a slope except at the edges, the field's lines stay the same, and nothing overshoots."""
    slope = (10 * np.arange(height)[:, None, None] + np.zeros((1, 4, 3))).astype(dtype)
    filled = fill_lines(np.ascontiguousarray(slope[parity::2]), parity, height)
    assert filled.dtype == dtype and (filled[parity::2] == slope[parity::2]).all()
    inner = slice(3, height - 3)
    assert np.abs(filled[inner].astype(int) - slope[inner]).max() <= 1
    flat = np.full((height - height // 2 - (parity and height % 2), 4, 3), np.iinfo(dtype).max, dtype)
    assert (fill_lines(flat, parity, height) == np.iinfo(dtype).max).all()
