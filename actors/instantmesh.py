"""InstantMesh (Xu et al. 2024, arXiv:2404.07191) with Zero123++ (Shi et al. 2023) in `runtime_envs/instantmesh.yaml`.

One picture of an object becomes six views of it, and these a mesh. The networks are in `geoflow/models/zero123plus` and
`geoflow/models/instantmesh`. Not run with the published weights yet: the tests run it on a CPU with small made-up ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from geoflow.backends import loading, weights
from geoflow.backends.torch_stage import TorchStage
from geoflow.errors import ConfigError, InputError, StageError
from geoflow.geometry.cameras import unproject
from geoflow.geometry.rigid import invert
from geoflow.models.instantmesh.cameras import looking_at_origin, view_cameras
from geoflow.models.instantmesh.config import published
from geoflow.models.instantmesh.config_file import Files, read_config_file
from geoflow.models.instantmesh.mesh import Mesh, obj_text
from geoflow.segments import VideoInfo
from geoflow.stage import Fields, Read, Stage, param
from geoflow.store.whole import write_whole
from geoflow.values.object_names import MESH_FIELDS
from geoflow.workers.declaration import BackendWorker, option

if TYPE_CHECKING:
    from geoflow.geometry.object_view import ObjectView

_ELEVATIONS = range(-30, 61, 15)  # degrees of the camera over the object, which the picture does not tell
_CHECKPOINTS = "instant_mesh_{}.ckpt"
_UNET = "diffusion_pytorch_model.bin"


class InstantMesh(TorchStage):
    """A mesh of each object, made from the frame that shows it best, and placed where its depth is.

    The mesh's size and pose are found from the object's depth in that frame. If it does not fit there, the object has
    no mesh, and the store says why. The side that the frame does not show is made up by the network.
    """

    slot = "mesh"
    span = "object"
    inputs = (
        "frames.rgb",
        "frames.index",
        "objects.label",
        "camera.depth",
        "camera.intrinsics",
        "camera.cam_from_world",
        "camera.valid",
    )
    outputs = MESH_FIELDS
    ladder = ({"half_reconstruction": True}, {"grid_res": 96})
    packages = ("torch", "safetensors", "pillow")

    @dataclass(frozen=True)
    class Params(TorchStage.Params):
        model: Literal["large", "base"] = param("large", "base takes a fifth less memory and is less detailed")
        num_inference_steps: int = param(75, "of the six views; fewer are quicker and rougher", at_least=1)
        guidance_scale: float = param(4.0, "how closely the views keep to the picture, 1: not guided", at_least=1)
        seed: int = param(42, "of the noise that the views are made from", at_least=0)
        grid_res: int | None = param(
            None, "cells of the mesh's grid along each side; as the network's, 128, if not given", at_least=8
        )
        half_reconstruction: bool = param(False, "the mesh's network computes in float16, too, on a GPU")
        max_residual: float = param(
            0.05, "largest distance, as a share of the object's radius, at which a mesh counts as placed", at_least=0
        )
        config: str = param(
            "", "YAML file of InstantMesh's own program: networks of your own; empty: those of `model`, as published"
        )
        weights: str = param("", "folder laid out as TencentARC/InstantMesh; empty: from the hub, as pinned")
        views_weights: str = param("", "the same for sudo-ai/zero123plus-v1.2")

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        self.files: Files | None = None  # which networks to load; None: those of the parameters

    def weights(self) -> dict[str, str]:
        """Of what the configuration file names, the folders are given, so that other content counts as other work."""
        own, files = self.params.weights, self._files()
        needed = {"zero123plus": self.params.views_weights}
        if files.unet is None:
            needed["white_background"] = own
        else:
            needed["own_unet"] = str(files.unet.parent)
        if files.model is None:
            needed[files.name or self.params.model] = own
        else:
            needed["own_model"] = str(files.model.parent)
        return needed

    def _files(self) -> Files:
        """Return which networks to load."""
        if self.files is not None:
            return self.files
        if self.params.config:
            return read_config_file(Path(self.params.config))
        return Files(published(self.params.model))

    def load(self) -> Any:
        from geoflow.models.instantmesh import from_checkpoint
        from geoflow.models.zero123plus import from_pretrained

        files = self._files()
        name = files.name or self.params.model
        model = files.model or self._folder(name) / _CHECKPOINTS.format(name)
        unet = files.unet or self._folder("white_background") / _UNET
        dtype = self.dtype if self.params.half_reconstruction else None
        views = from_pretrained(self._folder("zero123plus"), unet, "cpu", self.dtype)
        reconstructor = from_checkpoint(model, files.config, "cpu", dtype, self.params.grid_res)
        return ObjectMaker(views, reconstructor, self.device, self.params)

    def _folder(self, name: str) -> Path:
        """Return the folder with these weights, fetched if needed."""
        own = self.params.views_weights if name == "zero123plus" else self.params.weights
        return weights.locate(loading.name_of(type(self)), name, own)

    def use_files(self, files: Files | None) -> None:
        """Load these networks, None for those of the parameters, unless they are loaded already."""
        if files != self.files:
            self.files = files
            self.model = None  # before others come
            self.model = self.load()

    def process_object(self, video: VideoInfo, number: int, read: Read) -> Fields:
        view = best_view(read(), number)
        if view is None:
            raise StageError(f"object {number} is nowhere seen large enough in a frame with known camera and depth")
        try:
            mesh = self.model.make(view.rgba)[1].referenced()
        except InputError as error:
            raise StageError(f"object {number} (frame {view.frame}): {error}") from error
        world_from_mesh = self._placed(mesh, view, number)
        return {
            "mesh.vertices": mesh.vertices,
            "mesh.faces": mesh.faces,
            "mesh.colours": mesh.colours,
            "mesh.world_from_mesh": world_from_mesh,
            "mesh.frame": np.array([view.frame], np.int64),
        }

    def _placed(self, mesh: Mesh, view: ObjectView, number: int) -> np.ndarray:
        """Return world_from_mesh (4, 4) float32. Raises StageError if the mesh does not fit what the frame shows."""
        from geoflow.geometry.mesh_placing import place_mesh

        found = place_mesh(view.points, mesh.vertices, mesh.faces, starts(view.points))
        if found is None or not found.residual <= self.params.max_residual:
            why = "too little of it is seen" if found is None else f"it is off by {found.residual:.3f} of its radius"
            raise StageError(
                f"object {number} has a mesh (frame {view.frame}) that fits its depth nowhere: {why}, allowed is "
                f"{self.params.max_residual:g} (mesh.max_residual)"
            )
        cam_from_mesh = np.eye(4)
        cam_from_mesh[:3, :3] = found.cam_from_mesh.scale * found.cam_from_mesh.rotation
        cam_from_mesh[:3, 3] = found.cam_from_mesh.translation
        return (view.world_from_cam.astype(np.float64) @ cam_from_mesh).astype(np.float32)


@dataclass
class ObjectMaker:
    """Both models. On a GPU only the one that computes is there; the other waits in host memory."""

    views: Any
    reconstructor: Any
    device: str
    params: InstantMesh.Params

    def make(self, rgba: np.ndarray, steps: int | None = None, seed: int | None = None) -> tuple[np.ndarray, Mesh]:
        """Return the picture of six views (960, 640, 3) uint8, and the mesh; rgba (H, W, 4) uint8, cut out.

        Raises InputError for a picture without an object, and for one of which no mesh can be made.
        """
        from geoflow.models.instantmesh import split_views
        from geoflow.models.zero123plus import square_foreground

        given, params = square_foreground(rgba), self.params
        settings = (steps or params.num_inference_steps, params.guidance_scale, params.seed if seed is None else seed)
        self.views.to(self.device)
        picture = self.views.generate(given, *settings)
        self.views.to("cpu")
        self.reconstructor.to(self.device)
        try:
            return picture, self.reconstructor.mesh(split_views(picture), view_cameras())
        finally:
            self.reconstructor.to("cpu")


def best_view(pieces: Iterator[Fields], number: int) -> ObjectView | None:
    """Return the best view of an object in a video, None if there is none; one frame is kept at a time."""
    from geoflow.geometry.object_view import ObjectView, cut_out, view_score, without_outline

    best: ObjectView | None = None
    for piece in pieces:
        shown = piece["objects.label"] == number
        for i in np.flatnonzero(shown.any((1, 2)) & piece["camera.valid"]):
            depth = piece["camera.depth"][i].astype(np.float32)
            score = view_score(piece["frames.rgb"][i], shown[i], depth)
            if score > (best.score if best else 0.0):
                points = unproject(depth, piece["camera.intrinsics"][i])
                best = ObjectView(
                    int(piece["frames.index"][i]),
                    score,
                    cut_out(piece["frames.rgb"][i], shown[i]),
                    points[without_outline(shown[i]) & (depth > 0)],
                    invert(piece["camera.cam_from_world"][i]),
                )
    return best


def starts(points: np.ndarray) -> list[np.ndarray]:
    """Return rotations (3, 3) cam_from_mesh to start from: the input view's, at several elevations.

    The network takes the picture for one with the object in its middle, so the view's axis is the ray to the object.
    """
    axis = np.median(points, axis=0).astype(np.float64)
    forward = axis / np.linalg.norm(axis)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    cam_from_view = np.stack([right, np.cross(forward, right), forward], axis=1)
    opengl = np.diag([1.0, -1.0, -1.0])
    poses = looking_at_origin([0.0] * len(_ELEVATIONS), list(_ELEVATIONS), 1.0)[:, :3, :3].astype(np.float64)
    return [cam_from_view @ opengl @ pose.T for pose in poses]


class InstantMeshWorker(BackendWorker):
    """A mesh from a picture of an object by InstantMesh: prints {"mesh": OUT.obj}."""

    persistent = True
    writes = ("output_mesh",)

    @dataclass(frozen=True)
    class Request:
        input_image: str = option("RGBA.png", "picture of the object, transparent around it")
        output_mesh: str = option("OUT.obj", "where to write the mesh, with colours of its vertices")
        name: str | None = option("N", "of the object, in the name of the six views", default=None)
        config_path: str | None = option("C", "YAML file of InstantMesh's own program, with infer_config", default=None)
        save_dir: str | None = option("D", "folder for the six views, 6_views_N.png", default=None)
        num_inference_steps: int | None = option("S", "of the six views, 75 if not given", default=None)
        seed: int | None = option("SEED", "of the noise, 42 if not given", default=None)
        axes: str = option(
            "AXES", "mirrored, as InstantMesh's own program writes it, or upright, with y up", default="mirrored"
        )

    def read(self, request: Request) -> tuple[Request, np.ndarray, Files | None]:
        from geoflow.video.images import decode_rgba, read_bytes

        if request.axes not in _AXES:
            raise ConfigError(f"axes should be {' or '.join(_AXES)}, found {request.axes!r}")
        if not request.output_mesh.lower().endswith(".obj"):
            raise InputError(f"{request.output_mesh} should end in .obj, the only format written here")
        for name in ("num_inference_steps", "seed"):
            value, least = getattr(request, name), 0 if name == "seed" else 1
            if value is not None and value < least:
                raise ConfigError(f"{name} should be at least {least}, found {value}")
        _view_name(request)
        rgba = decode_rgba(read_bytes(request.input_image), request.input_image)
        if rgba[..., 3].min() == 255:
            raise InputError(
                f"{request.input_image} is opaque everywhere; cut the object out and make the rest transparent, "
                "for instance with the package rembg[cpu]"
            )
        files = read_config_file(Path(request.config_path)) if request.config_path else None
        if self.stage.model is None:
            self.stage.files = files  # for the one request of a command line, before anything is loaded
        return request, rgba, files

    def answer(self, given: tuple[Request, np.ndarray, Files | None]) -> dict[str, Any]:
        from geoflow.video.images import encode_png

        request, rgba, files = given
        self.stage.use_files(files)
        self.log(f"{request.input_image}: {rgba.shape[1]}x{rgba.shape[0]}")
        picture, mesh = self.stage.model.make(rgba, request.num_inference_steps, request.seed)
        found = {"mesh": request.output_mesh}
        if request.save_dir:
            found["views"] = str(Path(request.save_dir) / f"6_views_{_view_name(request)}.png")
            write_whole(Path(found["views"]), encode_png(picture))
        whole = _AXES[request.axes](mesh.referenced())
        self.log(f"{len(whole.vertices)} vertices, {len(whole.faces)} faces")
        write_whole(Path(request.output_mesh), obj_text(whole).encode())
        return found


_AXES = {"mirrored": Mesh.mirrored, "upright": Mesh.upright}


def _view_name(request: InstantMeshWorker.Request) -> str:
    """Return the object's name, which becomes part of a file's. Raises InputError if it cannot."""
    name = request.name if request.name is not None else Path(request.input_image).stem
    if not name or set(name) & set("/\\\0"):
        raise InputError(f"name should be a plain name, since it becomes part of a file's, found {name!r}")
    return name
