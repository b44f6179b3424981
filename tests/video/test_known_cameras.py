"""Known cameras: what is read from each format, which frame gets which pose, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import camera_formats as formats
import cv2
import h5py
import numpy as np
import planes
import pytest

from geoflow.errors import ConfigError, InputError
from geoflow.geometry.rigid import invert
from geoflow.planning.preflight import check_cameras
from geoflow.video.known_cameras import known_cameras
from geoflow.video.options import ReadOptions
from geoflow.video.probe import probe
from geoflow.video.source import SourceIndex

COUNT, FPS = 10, 10.0
SIZE = (planes.WIDTH, planes.HEIGHT)
POSES = planes.handheld(COUNT)
NUMBERS = np.arange(COUNT)
K = planes.INTRINSICS.astype(float)
CAMERA = f"{K[0, 0]},{K[1, 1]},{K[0, 2]},{K[1, 2]}"
ROUNDING = {"TUM": 1e-12, "ViPE": 1e-12, "COLMAP": 1e-12, "store": 1e-6}  # a store has float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures; what they show does not matter here."""
    out = tmp_path_factory.mktemp("frames") / formats.NAME
    out.mkdir()
    for i in range(COUNT):
        cv2.imwrite(str(out / f"{i:03d}.png"), np.full((SIZE[1], SIZE[0], 3), 20 * i, np.uint8))
    return out


def _write(kind: str, place: Path, poses: np.ndarray = POSES, numbers: np.ndarray = NUMBERS) -> Path:
    if kind == "TUM":
        return formats.write_tum(place / "poses.txt", poses, numbers / FPS)
    if kind == "COLMAP":
        return formats.write_colmap(place / "model", poses, K, SIZE, numbers)
    if kind == "ViPE":
        return formats.write_vipe(place / "vipe", poses, K, SIZE, numbers)
    return formats.write_store(place / "poses.h5", poses, K, SIZE, numbers)


def _read(folder: Path, cameras: Path, **options):
    intrinsics = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]] if cameras.suffix == ".txt" else None
    options = {"fps": FPS, "intrinsics": intrinsics, **options}
    return probe(str(folder), formats.NAME, ReadOptions(cameras=str(cameras), **options))


@pytest.mark.parametrize("kind", ROUNDING)
def test_each_format_gives_the_poses_and_the_camera(folder: Path, tmp_path: Path, kind: str) -> None:
    info, arrays = _read(folder, _write(kind, tmp_path))
    np.testing.assert_allclose(arrays["video.cam_from_world"], POSES, atol=ROUNDING[kind])
    np.testing.assert_allclose(arrays["video.intrinsics"], np.tile(K, (COUNT, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(info.intrinsics, [K[0, 0], K[1, 1], K[0, 2], K[1, 2]], atol=1e-4)
    assert info.cameras_sha256 and not info.cameras_metric and not info.metric and not info.given_world
    assert f"a pose for {COUNT} of {COUNT} frames" in info.notes[0]


@pytest.mark.parametrize("kind", ROUNDING)
def test_frames_that_a_file_lacks_have_no_pose(folder: Path, tmp_path: Path, kind: str) -> None:
    has = np.array([1, 2, 5, 9])
    _, arrays = _read(folder, _write(kind, tmp_path, POSES[has], has))
    posed = np.isfinite(arrays["video.cam_from_world"]).all((1, 2))
    assert np.flatnonzero(posed).tolist() == has.tolist()
    np.testing.assert_allclose(arrays["video.cam_from_world"][has], POSES[has], atol=ROUNDING[kind])
    assert np.isnan(arrays["video.cam_from_world"][~posed]).all()


def test_intrinsics_go_with_the_processed_size_and_frames_by_their_source_number(folder: Path, tmp_path: Path) -> None:
    info, arrays = _read(folder, _write("COLMAP", tmp_path), size=(80, 30), limit=5)
    fx, fy, cx, cy = info.intrinsics
    expected = (K[0, 0] / 2, K[1, 1] / 4, (K[0, 2] + 0.5) / 2 - 0.5, (K[1, 2] + 0.5) / 4 - 0.5)
    np.testing.assert_allclose((fx, fy, cx, cy), expected)
    np.testing.assert_allclose(arrays["video.cam_from_world"], POSES[:5], atol=1e-12)


def test_numbers_are_those_of_the_source_where_frames_are_left_out(tmp_path: Path) -> None:
    source = SourceIndex("", np.arange(COUNT), NUMBERS / FPS, SIZE[1], SIZE[0])
    keep = np.array([0, 3, 6, 9])
    options = ReadOptions(cameras=str(_write("ViPE", tmp_path)))
    found = known_cameras(formats.NAME, "clip.mp4", options, source, keep, SIZE, None)
    np.testing.assert_allclose(found.cam_from_world, POSES[keep], atol=1e-12)
    assert "were taken as the source's" in found.notes[1]


def test_a_model_of_larger_pictures_of_the_same_shape_is_scaled(folder: Path, tmp_path: Path) -> None:
    double = K.copy()
    double[:2] *= 2
    double[:2, 2] += 0.5  # of the picture's corner at (-0.5, -0.5)
    formats.write_colmap(tmp_path / "m", POSES, double, (2 * SIZE[0], 2 * SIZE[1]), NUMBERS)
    info, _ = _read(folder, tmp_path / "m")
    np.testing.assert_allclose(info.intrinsics, [K[0, 0], K[1, 1], K[0, 2], K[1, 2]], atol=1e-9)


def test_pictures_of_a_folder_are_known_by_their_names(folder: Path, tmp_path: Path) -> None:
    formats.write_colmap(tmp_path / "m", POSES[[4, 7]], K, SIZE, np.array([4, 7]), form="{:03d}.png", text=True)
    _, arrays = _read(folder, tmp_path / "m")
    assert np.flatnonzero(np.isfinite(arrays["video.cam_from_world"][:, 0, 0])).tolist() == [4, 7]


@pytest.mark.parametrize(
    ("off", "posed"),
    [(0.049, range(10)), (-0.049, range(10)), (0.051, range(1, 10)), (0.351, range(4, 10)), (-0.349, range(7))],
)
def test_the_nearest_time_stamp_within_half_a_frame_counts(
    folder: Path, tmp_path: Path, off: float, posed: range
) -> None:
    path = formats.write_tum(tmp_path / "p.txt", POSES, NUMBERS / FPS + off)
    _, arrays = _read(folder, path)
    found = np.isfinite(arrays["video.cam_from_world"][:, 0, 0])
    assert np.flatnonzero(found).tolist() == list(posed)
    shift = int(np.rint(off * FPS - np.sign(off) * 1e-9))
    np.testing.assert_allclose(arrays["video.cam_from_world"][found], POSES[np.array(posed) - shift], atol=1e-12)


def test_pictures_that_are_named_after_their_times(tmp_path: Path) -> None:
    frames, times = tmp_path / formats.NAME, 1305031102.1753 + np.array([0, 0.033, 0.069, 0.1])
    frames.mkdir()
    for time in times:
        cv2.imwrite(str(frames / f"{time:.4f}.png"), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    path = formats.write_tum(tmp_path / "p.txt", POSES[:3], times[[0, 1, 3]] + 0.002)
    _, arrays = _read(frames, path)
    assert np.isfinite(arrays["video.cam_from_world"][:, 0, 0]).tolist() == [True, True, False, True]


def test_scale_makes_metres_of_units_and_a_metric_store_says_so_itself(folder: Path, tmp_path: Path) -> None:
    model = _write("COLMAP", tmp_path)
    info, arrays = _read(folder, model, scale=2.5)
    np.testing.assert_allclose(arrays["video.cam_from_world"][:, :3, 3], 2.5 * POSES[:, :3, 3])
    np.testing.assert_allclose(arrays["video.cam_from_world"][:, :3, :3], POSES[:, :3, :3], atol=1e-12)
    assert info.cameras_metric
    store = formats.write_store(tmp_path / "m.h5", POSES, K, SIZE, NUMBERS, metric=True, source_sha256="other")
    info, _ = _read(folder, store)
    assert info.cameras_metric and any("another file" in note for note in info.notes)
    with pytest.raises(InputError, match="states metres already"):
        _read(folder, store, scale=2.0)


def test_what_is_read_identifies_the_work_and_where_it_lies_does_not(folder: Path, tmp_path: Path) -> None:
    plain, _ = probe(str(folder), formats.NAME, ReadOptions(fps=FPS))
    one, _ = _read(folder, _write("COLMAP", tmp_path))
    (tmp_path / "b").mkdir()
    same, _ = _read(folder, _write("COLMAP", tmp_path / "b"))
    moved = POSES.copy()
    moved[3, 0, 3] += 1e-3
    (tmp_path / "c").mkdir()
    other, _ = _read(folder, _write("COLMAP", tmp_path / "c", moved))
    assert one.content() == same.content() != other.content()
    assert not {"cameras_sha256", "distortion", "given_world", "cameras_metric"} & plain.content().keys()
    assert ReadOptions(fps=FPS).described().keys() == {
        "fps", "size", "long_side", "limit", "intrinsics", "masks", "stream", "pattern"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "extra", "expected"),
    [
        ("SIMPLE_RADIAL", (-0.1,), (-0.1, 0, 0, 0, 0)),
        ("RADIAL", (-0.1, 0.02), (-0.1, 0.02, 0, 0, 0)),
        ("OPENCV", (-0.1, 0.02, 1e-3, -2e-3), (-0.1, 0.02, 1e-3, -2e-3, 0)),
        ("FULL_OPENCV", (-0.1, 0.02, 1e-3, -2e-3, 0.01, 0, 0, 0), (-0.1, 0.02, 1e-3, -2e-3, 0.01)),
        ("SIMPLE_PINHOLE", (), None),
    ],
)
def test_lenses_of_colmap(folder: Path, tmp_path: Path, model: str, extra: tuple, expected: tuple | None) -> None:
    formats.write_colmap(tmp_path / "m", POSES, K, SIZE, NUMBERS, model=model, extra=extra)
    info, _ = _read(folder, tmp_path / "m")
    assert info.distortion == expected
    stated, _ = _read(folder, tmp_path / "m", intrinsics=[200, 200, 80, 60])
    assert stated.intrinsics == (200, 200, 80, 60) and stated.distortion is None
    assert any("another focal length" in note and "33%" not in note for note in stated.notes)
    assert any("lens with distortion" in note for note in stated.notes) == (expected is not None)


def test_intrinsics_that_change_stay_with_their_frames(folder: Path, tmp_path: Path) -> None:
    path = formats.write_vipe(tmp_path / "v", POSES, K, SIZE, NUMBERS)
    rows = np.tile([150.0, 150, 79.5, 59.5], (COUNT, 1)) * np.linspace(1, 1.2, COUNT)[:, None]
    np.savez(path / "intrinsics" / f"{formats.NAME}.npz", data=rows[1:], inds=NUMBERS[1:])
    info, arrays = _read(folder, path)
    assert info.intrinsics is None
    np.testing.assert_allclose(arrays["video.intrinsics"][1:, 0, 0], rows[1:, 0])
    assert np.isnan(arrays["video.intrinsics"][0]).all()


def test_vipe_counts_the_principal_point_from_the_pictures_edge(folder: Path, tmp_path: Path) -> None:
    path = formats.write_vipe(tmp_path / "v", POSES, K, SIZE, NUMBERS)
    centred = np.tile([150.0, 150, SIZE[0] / 2, SIZE[1] / 2], (COUNT, 1))
    np.savez(path / "intrinsics" / f"{formats.NAME}.npz", data=centred, inds=NUMBERS)
    info, _ = _read(folder, path)
    assert info.intrinsics == (150, 150, (SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)


class _Trap:
    def __reduce__(self):
        return Path.touch, (Path(self.mark),)

    def __init__(self, mark: str) -> None:
        self.mark = mark


def test_the_pickle_among_vipe_artefacts_is_not_opened(folder: Path, tmp_path: Path) -> None:
    path, mark = formats.write_vipe(tmp_path / "v", POSES, K, SIZE, NUMBERS), tmp_path / "opened"
    (path / "vipe").mkdir()
    (path / "vipe" / f"{formats.NAME}_info.pkl").write_bytes(pickle.dumps(_Trap(str(mark))))
    _read(folder, path)
    assert not mark.exists()
    np.savez(path / "pose" / f"{formats.NAME}.npz", data=np.array([_Trap(str(mark))], object), inds=NUMBERS)
    with pytest.raises(InputError, match="should hold the arrays"):
        _read(folder, path)
    assert not mark.exists()


def _bad_tum(place: Path, text: str) -> Path:
    (place / "p.txt").write_text(text)
    return place / "p.txt"


ROW = "0 0 0 0 0 0 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"0.0 {ROW} 5\n", "line 1: expected eight numbers"),
        (f"# poses\n0.0 {ROW}\n0.1 x 0 0 0 0 0 1\n", "line 3: expected eight numbers"),
        (f"0.0 {ROW}\n0.0 {ROW}\n", "0 s comes after 0 s; times should rise"),
        ("0.0 0 0 0 0 0 0 0.2\n", "quaternion at 0 s has length 0.2"),
        ("", "holds no pose"),
        (f"1305031102.1 {ROW}\n", "time stamps should be seconds since the first frame"),
        (f"nan {ROW}\n", "line 1: expected eight numbers"),
    ],
)
def test_trajectories_that_cannot_work(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        _read(folder, _bad_tum(tmp_path, text))
    assert "p.txt" in str(raised.value)


def test_files_that_cannot_be_of_this_video(folder: Path, tmp_path: Path) -> None:
    def refused(cameras: Path, message: str, **options) -> None:
        with pytest.raises(InputError, match=message):
            _read(folder, cameras, **options)

    tall = formats.write_colmap(tmp_path / "tall", POSES, K, (SIZE[1], SIZE[0]), NUMBERS)
    refused(tall, "is for pictures of 120x160, but the video is shown at 160x120")
    fish = formats.write_colmap(
        tmp_path / "fish", POSES, K, SIZE, NUMBERS, model="OPENCV_FISHEYE", extra=(0.1, 0, 0, 0)
    )
    refused(fish, "the model OPENCV_FISHEYE.*image_undistorter")
    refused(formats.write_colmap(tmp_path / "late", POSES, K, SIZE, NUMBERS + 1), "counted from 0")
    refused(
        formats.write_colmap(tmp_path / "fold", POSES, K, SIZE, NUMBERS, model="SIMPLE_RADIAL", extra=(-3.0,)), "folds"
    )
    (tmp_path / "late" / "sparse/0/images.bin").write_bytes(b"123")
    refused(tmp_path / "late", "no whole COLMAP model")
    refused(formats.write_tum(tmp_path / "p.txt", POSES, NUMBERS / FPS), "add --intrinsics", intrinsics=None)
    vipe = formats.write_vipe(tmp_path / "v", POSES, K, SIZE, NUMBERS)
    (vipe / "rgb" / f"{formats.NAME}.mp4").unlink()
    refused(vipe, "does not tell the size")
    assert _read(folder, vipe, intrinsics=[150, 150, 80, 60])[0].intrinsics == (150, 150, 80, 60)
    (vipe / "pose" / f"{formats.NAME}.npz").write_bytes(b"PK")
    refused(vipe, "cannot be read|should hold the arrays")
    scaled = POSES.copy()
    scaled[:, :3, :3] *= 1.5
    np.savez(vipe / "pose" / f"{formats.NAME}.npz", data=scaled, inds=NUMBERS)
    refused(vipe, "pose 0 is no rotation")
    np.savez(vipe / "pose" / f"{formats.NAME}.npz", data=POSES, inds=NUMBERS // 2)
    refused(vipe, "frame 0 more than once")
    (tmp_path / "s.h5").write_bytes(b"no store")
    refused(tmp_path / "s.h5", "no whole GeoFlow store")


def test_one_entry_per_video(tmp_path: Path, folder: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    formats.write_tum(many / "clip.txt", POSES, NUMBERS / FPS)
    formats.write_colmap(many / "other", POSES, K, SIZE, NUMBERS)
    check_cameras(str(many), ["clip", "other", "third"])
    assert _read(folder, many, intrinsics=[150, 150, 80, 60])[0].cameras_sha256
    info, _ = probe(str(folder), "other", ReadOptions(fps=FPS, cameras=str(many)))
    assert "COLMAP" in info.notes[0]
    with pytest.raises(InputError, match=r"holds nothing for the video third: expected third\.txt"):
        probe(str(folder), "third", ReadOptions(fps=FPS, cameras=str(many)))
    with pytest.raises(ConfigError, match="holds nothing for any of the videos"):
        check_cameras(str(many), ["a", "b"])
    with pytest.raises(ConfigError, match="is of one video, but there are 2"):
        check_cameras(str(many / "clip.txt"), ["clip", "other"])
    with pytest.raises(InputError, match=r"bad\.txt, line 1: expected eight numbers"):
        (tmp_path / "bad.txt").write_text("no poses\n")
        check_cameras(str(tmp_path / "bad.txt"), ["clip"])
    with pytest.raises(ConfigError, match="does not exist"):
        check_cameras(str(many / "absent"), ["clip"])
    formats.write_store(many / "clip.h5", POSES, K, SIZE, NUMBERS)
    with pytest.raises(InputError, match="more than once"):
        _read(folder, many)


def test_what_geoflow_exports_is_read_again(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("OpenEXR")
    from full_store import write_full_store

    import geoflow
    from geoflow.export import export_store
    from geoflow.synth import render

    clip = render(num_frames=8, width=64, height=48, fps=FPS)
    write_full_store(tmp_path / "clip.h5", clip)
    frames = tmp_path / "f"
    frames.mkdir()
    for i, rgb in enumerate(clip.frames):
        cv2.imwrite(str(frames / f"{i:03d}.png"), rgb[..., ::-1])
    export_store(tmp_path / "clip.h5", "vipe", tmp_path / "vipe")
    export_store(tmp_path / "clip.h5", "colmap", tmp_path / "colmap")
    with geoflow.open(tmp_path / "clip.h5") as video:
        expected, posed = video.cameras.cam_from_world, video.cameras.valid
    later = 2 * np.arange(8) + 1  # the store is of every second frame of its source
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        file["frames/index"][:] = later
    export_store(tmp_path / "clip.h5", "vipe", tmp_path / "vipe2")
    export_store(tmp_path / "clip.h5", "colmap", tmp_path / "colmap2")
    for path in (tmp_path / "vipe2", tmp_path / "colmap2", tmp_path / "clip.h5"):
        source = SourceIndex("", np.arange(17), np.arange(17) / FPS, 48, 64)
        known = known_cameras("clip", "clip.mp4", ReadOptions(cameras=str(path)), source, np.arange(17), (64, 48), None)
        assert np.flatnonzero(np.isfinite(known.cam_from_world[:, 0, 0])).tolist() == later[posed].tolist()
    with h5py.File(tmp_path / "clip.h5", "a") as file:
        file["frames/index"][:] = np.arange(8)
    for path in (tmp_path / "vipe", tmp_path / "colmap", tmp_path / "clip.h5"):
        _, arrays = probe(str(frames), "clip", ReadOptions(fps=FPS, cameras=str(path)))
        found = arrays["video.cam_from_world"]
        assert np.isfinite(found[posed]).all() and np.isnan(found[~posed]).all()
        np.testing.assert_allclose(invert(found[posed]), invert(expected[posed]), atol=1e-5)  # float32, twice inverted
