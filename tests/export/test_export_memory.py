"""A long video takes no more memory to export than a short one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic_store import segment_table

from geoflow.geometry.cameras import pinhole
from geoflow.store.index import write_index
from geoflow.store.paths import RunPaths

HEIGHT, WIDTH = 96, 128
SEGMENT, TRACKS = 100, 10  # frames, and tracks that live in each
FRAME_BYTES = HEIGHT * WIDTH * (3 + 4)  # of colour, and of depth as float32
# Encoders take most of the time of vipe, rerun, lerobot and depth_video, which go through frames in the same way.
QUICK = ("tapip3d", "tapvid3d", "colmap", "nerfstudio", "ply", "glb", "mesh", "y2r", "depth", "preview")

_EXPORT = """
    import json, sys
    from pathlib import Path
    from geoflow.export import FORMATS, export_store

    def status(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024

    def peak(to, store, out):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        export_store(store, to, out / f"{Path(store).stem}-{to}{FORMATS[to].suffix}", **OPTIONS.get(to, {}))
        return status("VmHWM")

    # As many points of a short video as of a long one, and windows side by side.
    OPTIONS = {"ply": {"max_points": 50_000}, "glb": {"max_points": 50_000}, "y2r": {"target_size": 48, "stride": 16}}
    OPTIONS["mesh"] = {"voxel": 0.04, "max_blocks": 100, "max_faces": 10_000, "stride": 10}
    short, long, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    found = {}
    for to in sys.argv[4:]:
        before = max(peak(to, short, out / "twice"), peak(to, short, out))  # the first brings its libraries along
        found[to] = peak(to, long, out) - before
    print(json.dumps(found))
"""


_DATASET = """
    import json, sys
    from pathlib import Path
    from geoflow.export.dataset.registry import dataset_kind
    from geoflow.export.dataset.writing import export_dataset

    def peak(to, run, out):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        export_dataset(run, dataset_kind(to, {"shard_mb": 1} if to == "zarr" else {}), out, processes=1, val=0)
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024

    short, long, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    found = {}
    for to in sys.argv[4:]:
        before = max(peak(to, short, out / f"{to}-twice"), peak(to, short, out / f"{to}-short"))
        found[to] = peak(to, long, out / f"{to}-long") - before
    print(json.dumps(found))
"""


def write_moving_store(path: Path, num: int) -> None:
    """A store of any length, written a frame at a time: a picture that slides past a camera that moves sideways."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 255, (HEIGHT // 8, 64, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    count = TRACKS * -(-num // SEGMENT)
    poses = np.tile(np.eye(4, dtype=np.float32), (num, 1, 1))
    poses[:, 0, 3] = -0.01 * np.arange(num)
    k = np.tile(pinhole(100.0, HEIGHT, WIDTH), (num, 1, 1))
    with h5py.File(path, "w") as file:
        frame = {"chunks": (1, HEIGHT, WIDTH)}
        rgb = file.create_dataset("frames/rgb", (num, HEIGHT, WIDTH, 3), np.uint8, chunks=(1, HEIGHT, WIDTH, 3))
        depth = file.create_dataset("geometry/depth", (num, HEIGHT, WIDTH), np.float16, **frame)
        mask = file.create_dataset("geometry/mask", (num, HEIGHT, WIDTH), bool, **frame)
        tile = {"chunks": (32, min(count, 256))}
        xyz = file.create_dataset(
            "tracks/xyz", (num, count, 3), np.float32, fillvalue=np.nan, chunks=(*tile["chunks"], 3)
        )
        uv = file.create_dataset(
            "tracks/uv", (num, count, 2), np.float32, fillvalue=np.nan, chunks=(*tile["chunks"], 2)
        )
        visible = file.create_dataset("tracks/visible", (num, count), bool, **tile)
        for i in range(num):
            rgb[i] = np.roll(texture, -i, axis=1)[:, :WIDTH]
            depth[i], mask[i] = 2.0, True
        for start in range(0, num, SEGMENT):
            part, columns = slice(start, start + SEGMENT), slice(start // SEGMENT * TRACKS, None)
            columns = slice(columns.start, columns.start + TRACKS)
            points = rng.uniform([-0.2, -0.5, 2], [0.2, 0.5, 2.1], (TRACKS, 3)) + [0.01 * start + 0.5, 0, 0]
            seen_from = points + poses[part, None, :3, 3]
            xyz[part, columns], visible[part, columns] = points.astype(np.float32), True
            uv[part, columns] = 100 * seen_from[..., :2] / seen_from[..., 2:] + k[0, :2, 2]
        file["tracks/query"] = np.zeros((count, 4), np.float32)
        file["frames/index"], file["frames/time"] = np.arange(num), np.arange(num) / 30
        file["geometry/intrinsics"] = file["camera/intrinsics"] = k
        file["camera/cam_from_world"], file["camera/valid"] = poses, np.ones(num, bool)
        file["segments"] = segment_table(tuple((s, min(s + SEGMENT, num)) for s in range(0, num, SEGMENT)))
        file.attrs.update(
            geoflow_schema=1, geoflow_version="test", source="none.mp4", source_sha256="", fps=30.0, num_frames=num,
            height=HEIGHT, width=WIDTH, metric=False, status="complete", pipeline="{}",
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_two_thousand_frames_take_little_more_than_two_hundred(tmp_path: Path):
    (tmp_path / "twice").mkdir()
    write_moving_store(tmp_path / "short.h5", 200)
    write_moving_store(tmp_path / "long.h5", 2000)
    arguments = [str(tmp_path / name) for name in ("short.h5", "long.h5", "")] + [*QUICK]
    command = [sys.executable, "-c", textwrap.dedent(_EXPORT), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    grown = json.loads(done.stdout.splitlines()[-1])
    assert set(grown) == set(QUICK)
    video = 2000 * FRAME_BYTES  # 164 MiB: what holding the video would take; 4 to 28 measured
    assert {to: size for to, size in grown.items() if size > video / 3} == {}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_a_dataset_of_a_long_video_takes_little_more_than_of_a_short_one(tmp_path: Path) -> None:
    for name, frames in (("short", 200), ("long", 1200)):
        paths = RunPaths(tmp_path / name)
        paths.videos.mkdir(parents=True)
        write_moving_store(paths.video(name), frames)
        row = {"name": name, "source": "none.mp4", "status": "complete", "reason": ""}
        write_index(paths, [{**row, "path": paths.relative(paths.video(name))}])
    kinds = ["webdataset", "lerobot"] + ["zarr"] * (importlib.util.find_spec("zarr") is not None)
    command = [sys.executable, "-c", textwrap.dedent(_DATASET), *(str(tmp_path / n) for n in ("short", "long", "out"))]
    done = subprocess.run([*command, *kinds], check=True, capture_output=True, text=True, timeout=500)
    grown = json.loads(done.stdout.splitlines()[-1])
    assert set(grown) == set(kinds)
    video = 1000 * FRAME_BYTES  # 82 MiB: what holding the further frames would take; 12 to 19 MB measured
    assert {to: size for to, size in grown.items() if size > video / 3} == {}
