"""Trivial backends for objects and meshes: labels by a threshold, and a box around what each object's pixels show.

`boxed` and `cube` make meshes, `poses` a motion, for tests that need no stage.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoflow.errors import StageError
from geoflow.geometry.labels import numbers_in, with_given
from geoflow.geometry.rigid import apply, invert
from geoflow.segments import Segment, VideoInfo
from geoflow.stage import Fields, Read, Stage, param
from geoflow.values.object_names import name_for

# The corners of a unit cube around the origin in the order of their bits (x, y, z), and its faces seen from outside.
_CORNERS = np.array([[k & 1, k >> 1 & 1, k >> 2] for k in range(8)], np.float32) - 0.5
_FACES = np.array(
    [
        [0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4],
        [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5],
    ],
    np.int32,
)  # fmt: skip


def cube(*, scale: float = 2.0, at: tuple[float, float, float] = (0, 0, 5), frame: int = 0) -> Fields:
    """A coloured cube of `scale` scene units around `at`, turned a quarter about z, as `{"vertices": ..., ...}`."""
    world_from_mesh = np.eye(4, dtype=np.float32)
    world_from_mesh[:3, :3] = scale * np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    world_from_mesh[:3, 3] = at
    return {
        "vertices": _CORNERS.copy(),
        "faces": _FACES.copy(),
        "colours": (255 * (_CORNERS + 0.5)).astype(np.uint8),
        "world_from_mesh": world_from_mesh,
        "frame": np.array([frame], np.int64),
    }


def poses(count: int, *, moves_in: int, unknown_in: int) -> Fields:
    """Poses since frame 2 of an object that stands still, except in one frame, and whose pose is unknown in another."""
    moved = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    moved[moves_in, 0, 3], moved[unknown_in] = 0.25, np.nan
    unknown = np.arange(count) == unknown_in
    return {
        "world_from_object": moved,
        "residual": np.where(unknown, np.nan, 0.01).astype(np.float32),
        "points": np.where(unknown, 0, 9).astype(np.int32),
        "centre": np.ones(3, np.float32),
        "reference": np.array([2]),
    }


def boxed(xyz: np.ndarray, colour: np.ndarray, frame: int) -> Fields:
    """The box around points (K, 3) in the world, as a mesh; `colour` is (3,) uint8."""
    low, high = xyz.min(0), xyz.max(0)
    sides = np.maximum(high - low, 1e-3)
    scale = float(sides.max())
    world_from_mesh = np.diag([scale, scale, scale, 1]).astype(np.float32)
    world_from_mesh[:3, 3] = (low + high) / 2
    return {
        "vertices": (_CORNERS * sides / scale).astype(np.float32),
        "faces": _FACES.copy(),
        "colours": np.tile(colour, (8, 1)).astype(np.uint8),
        "world_from_mesh": world_from_mesh,
        "frame": np.array([frame], np.int64),
    }


class BrightObjects(Stage):
    """Every pixel brighter than a threshold is of one object; what the user labelled stays as it is."""

    slot = "objects"
    inputs = ("frames.rgb",)
    optional = ("objects.label",)
    outputs = ("objects.label",)

    @dataclass(frozen=True)
    class Params(Stage.Params):
        threshold: int = param(200, "mean of the colours above which a pixel is of the object", at_least=0, at_most=255)
        number: int = param(1, "of the object", at_least=1, at_most=255)

    def process(self, segment: Segment, fields: Fields) -> Fields:
        bright = fields["frames.rgb"].mean(-1) > self.params.threshold
        found = bright.astype(np.uint8) * np.uint8(self.params.number)
        return {"objects.label": with_given(found, fields.get("objects.label"))}


class BoxMeshes(Stage):
    """A box around the points that each object's pixels show, in the first posed frame that shows any."""

    slot = "mesh"
    inputs = ("frames.index", "frames.rgb", "objects.label", "camera.cam_from_world", "camera.valid")
    optional = ("geometry.points", "geometry.mask")
    optional_outputs = ("mesh.vertices", "mesh.faces", "mesh.colours", "mesh.world_from_mesh", "mesh.frame")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        out: Fields = {}
        if "geometry.points" not in fields:
            return out
        for number in numbers_in(fields["objects.label"]):
            seen = (fields["objects.label"] == number) & fields["geometry.mask"]
            frames = np.flatnonzero(seen.any((1, 2)) & fields["camera.valid"])
            if not len(frames):
                continue
            t = int(frames[0])
            xyz = fields["geometry.points"][t][seen[t]].astype(np.float64)
            world = apply(invert(fields["camera.cam_from_world"][t].astype(np.float64)), xyz)
            colour = fields["frames.rgb"][t][seen[t]].mean(0)
            mesh = boxed(world, colour, int(fields["frames.index"][t]))
            out |= {name_for(f"mesh.{name}", number): array for name, array in mesh.items()}
        return out


class WholeBoxes(Stage):
    """A box around all pixels that show an object: x, y and the frame's place in the video are taken for the world."""

    slot = "mesh"
    span = "object"
    inputs = ("frames.rgb", "frames.index", "objects.label")
    outputs = ("mesh.vertices", "mesh.faces", "mesh.colours", "mesh.world_from_mesh", "mesh.frame")

    @dataclass(frozen=True)
    class Params(Stage.Params):
        folder: str = param("", "where calls are noted down; empty: nowhere")
        seconds: float = param(0.0, "how long a call takes, until there is a file `hurry` in the folder")
        broken: bool = param(False, "it cannot be started")
        fail_on: int = param(0, "object that cannot have a mesh")
        die_in: str = param("", "end at an object if there is a file of this name in the folder, and remove it")

    def setup(self) -> None:
        if self.params.broken:
            raise StageError("its weights are missing")

    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        folder, low, high, done = Path(self.params.folder), np.full(3, np.inf), np.full(3, -np.inf), 0
        colour, frame = np.zeros(3), -1
        for piece in read():
            t, v, u = np.nonzero(piece["objects.label"] == number)
            if len(t):
                at = np.stack([u, v, t + done], -1)
                low, high = np.minimum(low, at.min(0)), np.maximum(high, at.max(0) + 1)
                if frame < 0:
                    frame = int(piece["frames.index"][t[0]])
                    colour = piece["frames.rgb"][t, v, u].mean(0)
            done += len(piece["frames.index"])
        if self.params.folder:
            with open(folder / "objects", "a") as file:
                file.write(f"{number} {done}\n")
        if self.params.seconds and not (folder / "hurry").exists():
            time.sleep(self.params.seconds)
        if self.params.die_in and (folder / self.params.die_in).exists():
            (folder / self.params.die_in).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.params.fail_on:
            raise StageError(f"object {number} is never seen from behind")
        mesh = boxed(np.stack([low, high]), colour.astype(np.uint8), frame)
        return {f"mesh.{name}": array for name, array in mesh.items()}


class PromptedObjects(Stage):
    """Each object is what its last box holds, in every frame; a box says nothing of how the object moves."""

    slot = "objects"
    inputs = ("frames.rgb",)
    optional = ("objects.label",)
    outputs = ("objects.label",)
    takes_prompts = True

    def process(self, segment: Segment, fields: Fields) -> Fields:
        found = np.zeros(fields["frames.rgb"].shape[:3], np.uint8)
        for prompt in segment.video.prompts:
            if prompt.box is not None:
                left, top, right, bottom = (round(side) for side in prompt.box)
                found[:, max(top, 0) : bottom + 1, max(left, 0) : right + 1] = prompt.object
        return {"objects.label": with_given(found, fields.get("objects.label"))}
