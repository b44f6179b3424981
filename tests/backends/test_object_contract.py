"""Backends for objects and meshes: the contract holds them to the field table, and to the user's own labels."""

from __future__ import annotations

import numpy as np
import object_stages
import pytest
from object_stages import BrightObjects

from geoflow.backends.contract import problems
from geoflow.segments import Segment
from geoflow.stage import Fields


class Overruler(BrightObjects):
    """Replaces what the user labelled."""

    def process(self, segment: Segment, fields: Fields) -> Fields:
        return {"objects.label": np.ones(fields["frames.rgb"].shape[:3], np.uint8)}


class Unaware(BrightObjects):
    optional = ()


@pytest.mark.parametrize("name", ["BrightObjects", "BoxMeshes", "PromptedObjects"])
def test_the_trivial_backends_keep_to_the_contract(name: str) -> None:
    assert problems(f"object_stages:{name}") == []


def test_a_backend_that_replaces_the_users_labels_is_named() -> None:
    (found,) = problems("test_object_contract:Overruler")
    assert "replaced labels of the user; see geoflow.geometry.labels.with_given" in found
    (found,) = problems("test_object_contract:Unaware")
    assert "objects.label should be optional, too: where the user gave labels, these stay" in found


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
