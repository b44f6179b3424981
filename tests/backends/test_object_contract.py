"""Backends for objects and meshes: the contract holds them to the field table, and to the user's own labels."""

from __future__ import annotations

import numpy as np
import object_stages
import pytest
from object_stages import BrightObjects, WholeBoxes, cube

from geoflow.backends.contract import problems
from geoflow.errors import StageError
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Read, Stage


class Overruler(BrightObjects):
    """Replaces what the user labelled."""

    def process(self, segment: Segment, fields: Fields) -> Fields:
        return {"objects.label": np.ones(fields["frames.rgb"].shape[:3], np.uint8)}


class Unaware(BrightObjects):
    optional = ()


class Fickle(WholeBoxes):
    """Keeps something of one object for the next."""

    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        self.calls = getattr(self, "calls", 0) + 1
        return {f"mesh.{name}": array for name, array in cube(frame=self.calls).items()}


class Crooked(WholeBoxes):
    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        found = {f"mesh.{name}": array for name, array in cube().items()}
        return {**found, "mesh.faces": found["mesh.faces"] + 1}


class Choosy(WholeBoxes):
    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        assert all((piece["objects.label"] == number).any((1, 2)).all() for piece in read())
        raise StageError("grey things have no shape")


class Unmade(WholeBoxes):
    process_object = Stage.process_object


class Blind(WholeBoxes):
    inputs = ("frames.rgb",)


class Partial(WholeBoxes):
    outputs = ("mesh.vertices", "mesh.faces")


@pytest.mark.parametrize("name", ["BrightObjects", "BoxMeshes", "WholeBoxes", "PromptedObjects"])
def test_the_trivial_backends_keep_to_the_contract(name: str) -> None:
    assert problems(f"object_stages:{name}") == []


def test_a_backend_that_replaces_the_users_labels_is_named() -> None:
    (found,) = problems("test_object_contract:Overruler")
    assert "replaced labels of the user; see geoflow.geometry.labels.with_given" in found
    (found,) = problems("test_object_contract:Unaware")
    assert "objects.label should be optional, too: where the user gave labels, these stay" in found


def test_a_backend_of_objects_is_held_to_the_contract() -> None:
    assert problems("test_object_contract:Choosy") == []
    (found,) = problems("test_object_contract:Fickle")
    assert "gave another mesh.frame for the same object a second time" in found
    (found,) = problems("test_object_contract:Crooked")
    assert "mesh.faces" in found
    (found,) = problems("test_object_contract:Unmade")
    assert found == "process_object is not written yet, and span is object"
    (found,) = problems("test_object_contract:Blind")
    assert found == "inputs should have objects.label, since span is object"
    (found,) = problems("test_object_contract:Partial")
    assert found.startswith(
        "outputs should be mesh.colours, mesh.faces, mesh.frame, mesh.vertices, mesh.world_from_mesh"
    )


def test_a_box_is_put_around_what_an_object_shows() -> None:
    depth = np.full((2, 6, 8), 4.0)
    v, u = np.mgrid[:6, :8]
    points = np.stack([(u - 3.5) / 8 * 4, (v - 2.5) / 8 * 4, np.full(u.shape, 4.0)], -1)
    label = np.zeros((2, 6, 8), np.uint8)
    label[1, 1:3, 2:6] = 7
    pose = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    pose[:, 2, 3] = 1  # the world's origin lies one unit ahead of the camera
    fields = {
        "frames.index": np.array([10, 12]),
        "frames.rgb": np.full((2, 6, 8, 3), 90, np.uint8),
        "objects.label": label,
        "camera.cam_from_world": pose,
        "camera.valid": np.ones(2, bool),
        "geometry.points": np.stack([points] * 2).astype(np.float16),
        "geometry.mask": depth > 0,
    }
    found = object_stages.BoxMeshes().process(Segment(None, 0, 0, 2), fields)  # type: ignore[arg-type]
    assert found["mesh.7.frame"].tolist() == [12]
    matrix, vertices = found["mesh.7.world_from_mesh"], found["mesh.7.vertices"]
    world = vertices @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(world.min(0), [-0.75, -0.75, 3], atol=1e-3)
    np.testing.assert_allclose(world.max(0), [0.75, -0.25, 3], atol=2e-3)
    assert (found["mesh.7.colours"] == 90).all()
