"""`preview` and `depth_video`, decoded again: their size and number, one range of colours, and what is drawn where."""

from __future__ import annotations

from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from full_store import UNPOSED, write_full_store

from geoflow.errors import StoreError
from geoflow.export import export_store
from geoflow.export.depth_video import STRIP, legend_strip, panel_size, whole_range
from geoflow.export.frames import Depths
from geoflow.export.path_inset import PathInset
from geoflow.store.depth_colours import GREY, colour_depth
from geoflow.store.reader import open_video
from geoflow.synth import Clip

SIZE = (64, 48)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"  # what every player shows
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def lose_depth(file: h5py.File) -> None:
    del file["geometry"], file["camera/depth"]


def test_depth_has_one_range_of_colours_for_the_whole_video(change, tmp_path: Path):
    """A wall that comes nearer by the frame takes all colours, and each frame has one of them."""

    def edit(file: h5py.File) -> None:
        for k, z in enumerate(np.linspace(4, 1, 8)):
            file["geometry/depth"][k], file["geometry/mask"][k] = z, True
        file["geometry/mask"][:, :, :8] = False
        file["camera/depth"][:] = file["geometry/depth"][:]

    path = change(edit)
    done = export_store(path, "depth_video", tmp_path / "d.mp4", legend=False, crf=1)
    frames = decoded(done.path).astype(int)
    assert done.frames == 8 and frames.shape == (8, 48, 64, 3)
    with open_video(path) as video:
        ends = whole_range(video, Depths(video))
        wanted = [colour_depth(video.depth[i], ends) for i in range(8)]
    assert np.abs(frames[:, 8:40, 16:56] - np.stack(wanted)[:, 8:40, 16:56]).mean() < 6  # colour at half resolution
    assert np.abs(frames[:, :, :4] - GREY).mean() < 6
    far, near = frames[0, 24, 32], frames[-1, 24, 32]
    assert near[0] > near[2] + 60 and far[0] < 80, "red is near, and the first frame is not"


def test_a_preview_is_the_frame_beside_its_depth(store: Path, tmp_path: Path):
    done = export_store(store, "preview", tmp_path / "p.mp4", crf=1, tracks=False, hands=False, path=False)
    frames = decoded(done.path).astype(int)
    assert done.frames == done.of == 8 and frames.shape == (8, 48 + STRIP, 128, 3)
    with open_video(store) as video, h5py.File(store) as file:
        ends = whole_range(video, Depths(video))
        grey = np.array([0.299, 0.587, 0.114])
        for i in range(8):
            assert np.abs((frames[i, :48, :64] - file["frames/rgb"][i]) @ grey).mean() < 4
            shown = colour_depth(Depths(video)[i][0], ends)
            assert np.abs((frames[i, :48, 64:] - shown) @ grey).mean() < 6


@pytest.mark.parametrize("name", ["tracks", "hands", "path"])
def test_what_is_drawn_is_what_was_asked_for(store: Path, tmp_path: Path, name: str):
    none = {"tracks": False, "hands": False, "path": False}
    bare = decoded(export_store(store, "preview", tmp_path / "bare.mp4", crf=1, **none).path).astype(int)
    drawn = decoded(export_store(store, "preview", tmp_path / "drawn.mp4", crf=1, **{**none, name: True}).path)
    changed = np.abs(drawn[:, :48] - bare[:, :48]).max(-1) > 60
    assert changed[:, :, :64].any((1, 2))[4:].all() and not changed[:, :, 66:].any()
    if name == "hands":  # the left one, from frame 4 on
        assert not changed[:4].any()
    if name == "path":  # in the lower left corner alone
        assert not changed[:, :20].any() and not changed[:, :, 30:64].any()


def test_without_depth_a_preview_has_the_frame_alone(change, tmp_path: Path):
    frames = decoded(export_store(change(lose_depth), "preview", tmp_path / "p.mp4").path)
    assert frames.shape == (8, 48 + STRIP, 64, 3)


def test_depth_that_no_frame_knows_is_said(change, tmp_path: Path):
    def edit(file: h5py.File) -> None:
        file["geometry/mask"][:] = False
        file["camera/depth"][:] = 0

    with pytest.raises(StoreError, match=r"changed.h5 knows the depth of no pixel .*`geoflow info` may say why"):
        export_store(change(edit), "depth_video", tmp_path / "d.mp4")
    assert not (tmp_path / "d.mp4").exists()


def test_the_path_ends_where_a_frame_has_no_pose(store: Path, change):
    with open_video(store) as video:
        inset = PathInset.of(video, SIZE)
    assert inset is not None and np.isnan(inset.places[UNPOSED]).all()
    assert [len(run) for run in inset._runs(8)] == [3, 4]
    known = np.delete(inset.places, UNPOSED, axis=0)
    assert known.min() >= 0 and known.max() <= inset.side

    def rest(file: h5py.File) -> None:
        file["camera/cam_from_world"][:] = np.eye(4)

    with open_video(change(rest)) as video:
        assert PathInset.of(video, SIZE) is None


@pytest.mark.parametrize("width", [1, 17, 64, 5000])
def test_sizes_are_even_and_no_larger_than_the_frames(store: Path, width: int):
    with open_video(store) as video:
        wide, high = panel_size(video, width)
    assert wide % 2 == high % 2 == 0 and 2 <= wide <= 64 and 2 <= high <= 48


def test_the_legend_shows_the_colours_from_far_to_near():
    strip = legend_strip((0.25, 1.0), True, 640).astype(int)
    row = strip[STRIP // 2]
    ramp = row[np.ptp(row, axis=1) > 60]
    assert ramp[4, 2] > ramp[4, 0] and ramp[-1, 0] > ramp[-1, 2] and len(ramp) > 120
    assert not (legend_strip(None, True, 640) > 40).any() and legend_strip((0.25, 1.0), True, 2).shape == (STRIP, 2, 3)


def test_odd_frames_are_shown_at_even_sizes(small_clip: Clip, tmp_path: Path):
    write_full_store(tmp_path / "odd.h5", small_clip)
    with h5py.File(tmp_path / "odd.h5", "a") as file:
        for name in ("frames/rgb", "geometry/depth", "geometry/mask", "camera/depth", "prior/depth", "prior/mask"):
            array = file[name][:, :47, :63]
            del file[name]
            file[name] = array
        file.attrs.update(height=47, width=63)
    assert decoded(export_store(tmp_path / "odd.h5", "preview", tmp_path / "p.mp4").path).shape[1:3] == (
        46 + STRIP,
        124,
    )
