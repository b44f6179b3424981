"""A new field is one edit: a row of the table carries it from the stage's check to the reference page."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from segment_fields import HEIGHT, WIDTH, fields_of, make_truth

import geoflow
from geoflow import fields
from geoflow.backends.contract import made_up
from geoflow.errors import ConfigError, StageError, StoreError
from geoflow.fields import FIELDS
from geoflow.geometry.rigid import Sim3
from geoflow.geometry.seams import Join, move
from geoflow.segments import Segment
from geoflow.stage import SegmentRecord
from geoflow.stages.stitch import Stitch
from geoflow.stages.write import Write
from geoflow.store.reference import field_rows, field_table
from geoflow.store.verify import verify_store
from geoflow.values.field import ANYTHING, CAMERA, MIX, NAN, PLACEMENT, WHOLE, WORLD, Field

ROWS = (
    Field("camera.blur", "float32", "T", "px", "length of the blur", NAN, fade=MIX),
    Field("camera.speed", "float32", "T 3", "scene", "motion to the next frame", NAN, "camera.valid", space=CAMERA),
    Field("camera.up", "float32", "T 3", "", "where up is", NAN, "camera.valid", space=WORLD),
    Field("geometry.normals", "float16", "T H W 3", "", "surface normals", ANYTHING, "geometry.mask", space=CAMERA),
    Field("tracks.colour", "uint8", "T N 3", "", "colour of the point", fade=WHOLE),
    Field("camera.error", "float32", "1", "px", "mean error of the segment's cameras", NAN),
    Field("scene.gravity", "float32", "3", "", "which way is down"),
)


@pytest.fixture(autouse=True)
def _rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one edit."""
    for row in ROWS:
        monkeypatch.setitem(FIELDS, row.name, row)


def new_fields(segment: Segment, tracks: int) -> dict[str, np.ndarray]:
    """What a stage could give: each value tells which segment and frame it is of."""
    frames, k = np.arange(segment.start, segment.stop), segment.index
    blur = (10 * k + frames).astype(np.float32)
    blur[(frames + k) % 5 == 1] = np.nan
    normals = np.zeros((len(frames), HEIGHT, WIDTH, 3), np.float16)
    normals[..., 0] = 1 + k
    normals[:, :2] = np.nan  # where geometry.mask is False, as the row allows
    return {
        "camera.blur": blur,
        "camera.speed": np.full((len(frames), 3), 2, np.float32),
        "camera.up": np.tile(np.array([0, -1, 0], np.float32), (len(frames), 1)),
        "geometry.normals": normals,
        "tracks.colour": np.full((len(frames), tracks, 3), 40 + k, np.uint8),
        "camera.error": np.array([k / 2], np.float32),
        "scene.gravity": np.array([0, 1, 0], np.float32),
    }


def test_a_stage_that_breaks_the_new_row_is_named() -> None:
    wrong = {"camera.blur": np.array([1, np.inf], np.float32)}
    with pytest.raises(StageError, match=r"camera.blur should be finite or NaN"):
        fields.check(wrong, ("camera.blur",), who="blur")
    with pytest.raises(StageError, match=r"geometry.normals should have shape \(T H W 3\)"):
        fields.check({"geometry.normals": np.zeros((2, 3, 4), np.float16)}, ("geometry.normals",), who="normals")


def test_the_new_fields_reach_the_store_and_its_readers(tmp_path: Path) -> None:
    truth = make_truth()
    stitch, write = Stitch(), Write(Write.Params(out=str(tmp_path)))
    assert {row.name for row in ROWS} <= {*stitch.optional} and {row.name for row in ROWS[:5]} <= {*write.optional}
    stitched = []
    for segment in truth.segments:
        given = fields_of(truth, segment)
        given |= new_fields(segment, given["tracks.xyz"].shape[1])
        stitched.append(stitch.process(segment, given))
        fields.check(stitched[-1], stitch.outputs, optional=stitch.optional_outputs, who="stitch")
        write.process(
            segment, {name: stitched[-1][name] for name in (*write.inputs, *write.optional) if name in stitched[-1]}
        )
    records = [SegmentRecord(s.index, s.start, s.stop, "complete", {}, {}) for s in truth.segments]
    path = write.finish(truth.video, records)["path"]
    assert verify_store(path) == []
    with geoflow.open(path) as video:
        assert {row.name for row in ROWS[:5]} <= {*video.fields}
        seam = slice(truth.segments[1].start, truth.segments[0].stop)
        blur = video.field("camera.blur")[()]
        shown = blur[seam]
        frames = np.arange(seam.start, seam.stop)
        # NaN in one segment: the other one's; else from the first segment's value, the frame, to 10 more.
        assert np.isfinite(shown).all() and (shown >= frames).all() and (shown <= frames + 10).all()
        both = (frames % 5 != 1) & ((frames + 1) % 5 != 1)
        assert (np.diff((shown - frames)[both]) > 0).all()  # mixed, and rising
        scales = np.array([row["scale"] for row in video.segments])
        speed = video.field("camera.speed")[()]
        for segment, scale in zip(truth.segments, scales):
            own = slice(segment.start + segment.overlap_before, segment.stop - segment.overlap_after)
            np.testing.assert_allclose(speed[own], 2 * scale, rtol=1e-6)
        up = video.field("camera.up")[()]
        turn = truth.cam_from_world[0, :3, :3] @ truth.worlds[0].rotation.T  # the first camera's axes are the world's
        np.testing.assert_allclose(up[0], turn @ [0, -1, 0], atol=1e-5)
        normals = video.field("geometry.normals")
        assert normals[0][5, 5, 0] == 1 and not normals[0][:2].any()
        middle = (seam.start + seam.stop) // 2
        assert normals[seam.start][5, 5, 0] == 1 and normals[middle][5, 5, 0] == 2  # chosen, never 1.5
        assert [row["error"] for row in video.segments] == [0, 0.5, 1, 1.5]
        colour = video.field("tracks.colour")
        assert colour.shape == (40, sum(s["tracks.xyz"].shape[1] for s in stitched), 3)
        assert (colour[seam.start, 0] == 40).all() and (colour[seam.stop, 0] == 0).all()
        with pytest.raises(StoreError, match=r"scene.gravity is not kept in stores"):
            video.field("scene.gravity")
        with pytest.raises(StoreError, match=r"only the depth of geometry.points"):
            video.field("geometry.points")
        with pytest.raises(ConfigError, match="unknown field"):
            video.field("camera.bokeh")
    with h5py.File(path) as file:
        assert (
            file["camera/blur"].attrs["unit"] == "px" and "length of the blur" in file["camera/blur"].attrs["meaning"]
        )
        assert file["geometry/normals"].chunks == (1, HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("name", "where", "value", "message"),
    [
        ("camera/blur", 3, np.inf, "camera/blur has 1 values that are not finite"),
        ("camera/speed", 3, np.nan, r"camera/speed is not finite at a valid frame \(3\)"),
        ("geometry/normals", (3, 0, 0), 1, "geometry/normals frame 3 has 3 values outside geometry/mask"),
    ],
)
def test_verify_knows_what_the_new_rows_promise(
    tmp_path: Path, name: str, where: object, value: float, message: str
) -> None:
    truth = make_truth(16)
    write, (segment,) = Write(Write.Params(out=str(tmp_path))), truth.segments
    given = fields_of(truth, segment)
    given |= new_fields(segment, given["tracks.xyz"].shape[1])
    write.process(segment, Stitch().process(segment, given))
    path = write.finish(truth.video, [SegmentRecord(0, 0, 16, "complete", {}, {})])["path"]
    assert verify_store(path) == []
    with h5py.File(path, "r+") as file:
        file[name][where] = value
    (problem,) = verify_store(path)
    assert problem == message.replace("\\", "")


def test_a_segment_without_the_new_field_leaves_it_unknown() -> None:
    truth = make_truth(24)
    first, second = truth.segments[:2]
    stitch = Stitch()
    stitch.process(first, {**fields_of(truth, first), **new_fields(first, 4)})
    result = stitch.process(second, fields_of(truth, second))
    shared = second.overlap_before
    assert np.isfinite(result["camera.speed"][:shared]).all()  # the first segment's
    assert np.isnan(result["camera.speed"][shared:]).all() and np.isnan(result["camera.blur"][shared:]).all()


def test_what_has_no_known_scale_or_world_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        FIELDS, "mesh.place", Field("mesh.place", "float32", "4 4", "scene", "", space=WORLD, form=PLACEMENT)
    )
    given = {
        "camera.speed": np.ones((2, 3), np.float32),
        "camera.up": np.ones((2, 3), np.float32),
        "mesh.place": np.diag([0.5, 0.5, 0.5, 1]).astype(np.float32),
    }
    lost = move(given, Join(None, None, None), known_scale=True)
    assert all(np.isnan(array).all() for array in lost.values())
    world = Sim3(3.0, np.diag([-1.0, -1, 1]), np.array([1.0, 2, 3]))
    moved = move(given, Join(3.0, None, world, world.rotation), known_scale=True)
    assert (moved["camera.speed"] == 3).all() and moved["camera.up"].tolist() == [[-1, -1, 1]] * 2
    # A corner of the mesh at (1, 1, 1) is at 0.5 (1, 1, 1) in the segment's world.
    np.testing.assert_allclose(moved["mesh.place"] @ [1, 1, 1, 1], [*world.apply(np.full(3, 0.5)), 1])


def test_contract_and_page_know_the_new_rows() -> None:
    segment = make_truth(16).segments[0]
    made = made_up(("camera.blur", "geometry.normals", "frames.rgb", "camera.intrinsics"), segment)
    assert np.isnan(made["camera.blur"]).all() and made["camera.blur"].shape == (16,)
    assert made["geometry.normals"].shape == (16, HEIGHT, WIDTH, 3) and not made["geometry.normals"].any()
    assert (made["frames.rgb"] == 128).all() and (made["camera.intrinsics"][:, 0, 0] == WIDTH).all()
    rows = {row.name: row for row in field_rows()}
    assert rows["camera.blur"].store == "`camera/blur`" and rows["camera.blur"].seam == "mixed"
    assert rows["camera.speed"].seam == "of the nearer segment that knows it; scaled as camera"
    assert rows["geometry.normals"].invalid == "anything (0 in the store) where geometry.mask is False"
    assert rows["camera.error"].store == "a column of `segments`: `error`"
    assert "| `camera.blur` | `float32` | `T` | px |" in field_table("camera")
