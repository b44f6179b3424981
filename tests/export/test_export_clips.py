"""`vipe`, `rerun` and `depth`, read with OpenEXR and PyAV, Rerun's own reader, and OpenCV."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import av
import cv2
import h5py
import numpy as np
import pytest
from full_store import ONLY_CAMERA_DEPTH, UNPOSED

from geoflow.errors import ConfigError, StoreError
from geoflow.export import export_store
from geoflow.geometry.rigid import invert

Arrays = dict[str, np.ndarray]


def mean_grey_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean difference in brightness, of 255; video has its colours at half the resolution."""
    weights = np.array([0.299, 0.587, 0.114])
    return float(np.abs(found @ weights - expected @ weights).mean())


def test_vipe_artefacts_open_as_vipe_opens_them(store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path):
    openexr, imath = pytest.importorskip("OpenEXR"), pytest.importorskip("Imath")
    done = export_store(store, "vipe", tmp_path)
    assert done.frames == 7
    pose, intrinsics = np.load(tmp_path / "pose/clip.npz"), np.load(tmp_path / "intrinsics/clip.npz")
    assert np.array_equal(pose["inds"], posed) and np.array_equal(intrinsics["inds"], posed)
    np.testing.assert_allclose(pose["data"], invert(stored["camera/cam_from_world"][posed]), atol=1e-5)
    k = stored["camera/intrinsics"][0]
    assert np.array_equal(intrinsics["data"][0], [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5])  # from the edge
    lines = (tmp_path / "intrinsics/clip_camera.txt").read_text().splitlines()
    assert lines[:4] == ["0: PINHOLE", "1: PINHOLE", "2: PINHOLE", "4: PINHOLE"]
    with zipfile.ZipFile(tmp_path / "depth/clip.zip") as archive:
        assert sorted(archive.namelist()) == [f"{i:05d}.exr" for i in posed]
        for i in posed:
            picture = openexr.InputFile(io.BytesIO(archive.read(f"{i:05d}.exr")))
            half = picture.channel("Z", imath.PixelType(imath.PixelType.HALF))
            assert np.array_equal(np.frombuffer(half, np.float16).reshape(48, 64), stored["depth"][i])
    with av.open(str(tmp_path / "rgb/clip.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 4
    assert len(frames) == 8
    assert mean_grey_error(np.stack(frames), stored["frames/rgb"]) < 3  # H.264; 1.6 measured


def test_clips_of_one_vipe_folder_lie_side_by_side(store: Path, tmp_path: Path):
    pytest.importorskip("OpenEXR")
    (tmp_path / "other.h5").write_bytes(store.read_bytes())
    export_store(store, "vipe", tmp_path / "out")
    export_store(tmp_path / "other.h5", "vipe", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out/rgb").iterdir()) == ["clip.mp4", "other.mp4"]


def read_rrd(path: Path) -> dict[tuple[str, str], dict[int, object]]:
    """(entity, component) -> frame number -> value, as Rerun's own reader gives them; frame -1 is static."""
    chunks = pytest.importorskip("rerun.chunk")
    found: dict[tuple[str, str], dict[int, object]] = {}
    for chunk in chunks.RrdReader(path).stream():
        batch = chunk.to_record_batch()
        rows = [-1] * batch.num_rows if chunk.is_static else batch["frame"].to_pylist()
        for name in batch.schema.names:
            if ":" in name:
                values = dict(zip(rows, batch[name].to_pylist()))
                known = {row: value for row, value in values.items() if value is not None}
                found.setdefault((str(chunk.entity_path), name), {}).update(known)
    return found


def test_rerun_reads_its_recording(store: Path, stored: Arrays, posed: np.ndarray, tmp_path: Path):
    done = export_store(store, "rerun", tmp_path / "clip.rrd")
    assert done.frames == 8
    found = read_rrd(tmp_path / "clip.rrd")
    places = found["/world/camera", "Transform3D:translation"]
    assert sorted(places) == posed.tolist()
    turns = found["/world/camera", "Transform3D:mat3x3"]
    world_from_cam = invert(stored["camera/cam_from_world"])
    for i in posed:
        np.testing.assert_allclose(np.ravel(places[i]), world_from_cam[i, :3, 3], atol=1e-6)
        np.testing.assert_allclose(np.ravel(turns[i]), world_from_cam[i, :3, :3].T.ravel(), atol=1e-6)  # by columns
    assert UNPOSED in found["/world/camera", "Clear:is_recursive"]
    pinhole = found["/world/camera/depth", "Pinhole:image_from_camera"]
    np.testing.assert_allclose(np.ravel(pinhole[2]), stored["camera/intrinsics"][2].T.ravel())
    for i, buffer in found["/world/camera/depth", "DepthImage:buffer"].items():
        depth = np.frombuffer(bytes(np.ravel(buffer).astype(np.uint8)), np.float32).reshape(48, 64)
        assert np.array_equal(depth, stored["depth"][i])
    assert len(found["/world/camera/depth", "DepthImage:buffer"]) == 8
    for i, blob in found["/world/camera/image", "EncodedImage:blob"].items():
        picture = cv2.imdecode(np.ravel(blob).astype(np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert mean_grey_error(picture, stored["frames/rgb"][i]) < 5  # JPEG at quality 85
    for i, points in found["/world/tracks", "Points3D:positions"].items():
        seen = stored["tracks/visible"][i]
        assert np.array_equal(np.array(points, np.float32), stored["tracks/xyz"][i, seen])
    hands = found["/world/camera/hands/left", "Points3D:positions"]
    assert sorted(hands) == [4, 5, 6, 7]
    assert np.array_equal(np.array(hands[6], np.float32), stored["hands/left/joints"][6])
    strips = found["/world/path", "LineStrips3D:strips"][-1]
    assert [len(strip) for strip in strips] == [3, 4]  # a gap where there is no pose


def test_a_recording_of_what_there_is(store: Path, tmp_path: Path):
    pytest.importorskip("rerun")
    path = tmp_path / "bare.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        for group in ("tracks", "hands", "camera", "geometry"):
            del file[group]
    export_store(path, "rerun", tmp_path / "bare.rrd", stride=3)
    found = read_rrd(tmp_path / "bare.rrd")
    assert sorted(found["/world/camera/image", "EncodedImage:blob"]) == [0, 3, 6]
    assert not any(entity in ("/world/camera/depth", "/world/tracks") for entity, _ in found)
    with pytest.raises(StoreError, match="neither cameras nor depth"):
        export_store(path, "rerun", tmp_path / "none.rrd", images=False)


@pytest.mark.parametrize("output_format", ["npy", "png", "pfm"])
def test_a_depth_map_per_frame(store: Path, stored: Arrays, tmp_path: Path, output_format: str):
    export_store(store, "depth", tmp_path, output_format=output_format)
    folder = tmp_path / "depth/GeometryCrafter"
    assert sorted(p.name for p in folder.iterdir()) == [f"{i:03d}.{output_format}" for i in range(1, 9)]
    whole = json.loads((tmp_path / "depth/depth_metadata.json").read_text())
    assert (whole["num_frames"], whole["height"], whole["width"]) == (8, 48, 64)
    assert whole["output_format"] == output_format and whole["metric"] is False
    for i in (0, ONLY_CAMERA_DEPTH):
        name = folder / f"{i + 1:03d}.{output_format}"
        if output_format == "npy":
            depth, step = np.load(name, allow_pickle=False), 0.0
            assert depth.dtype == np.float32
        else:
            depth = cv2.imread(str(name), cv2.IMREAD_UNCHANGED)
            step = whole["png_scale"] or 0.0
            depth = depth * step if step else depth
        np.testing.assert_allclose(depth, stored["depth"][i], atol=step / 2 + 1e-9)
        assert np.array_equal(depth > 0, stored["depth"][i] > 0)


def test_metadata_of_every_segment(small_clip: object, tmp_path: Path):
    from synthetic_store import Flaws, write_store

    write_store(tmp_path / "clip.h5", small_clip, Flaws(segments=((0, 5), (3, 8))))  # type: ignore[arg-type]
    export_store(tmp_path / "clip.h5", "depth", tmp_path / "out")
    names = sorted(p.name for p in (tmp_path / "out/depth").glob("*.json"))
    segments = ["depth_metadata_segment_000000_000005.json", "depth_metadata_segment_000003_000008.json"]
    assert names == ["depth_metadata.json", *segments]
    second = json.loads((tmp_path / "out/depth" / segments[1]).read_text())
    assert [second[f"segment_{end}"] for end in ("start", "end")] == [3, 8]
    assert (second["num_frames"], second["total_frames"]) == (5, 8)
    with pytest.raises(ConfigError, match="output_format=exr: expected one of npy, png, pfm"):
        export_store(tmp_path / "clip.h5", "depth", tmp_path / "other", output_format="exr")
