"""The camera's path through the scene: in 3D for the page's script, and as drawings from above and from the side."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from geoflow.evaluate.pixels import lift, sample_grid
from geoflow.geometry.mesh import surface_points
from geoflow.geometry.rigid import apply, invert
from geoflow.geometry.upright import upright_from_world
from geoflow.report import markup
from geoflow.report.figures import path_figure
from geoflow.report.samples import Sample
from geoflow.store.lazy import Cameras
from geoflow.store.reader import Video

_FRAME_POINTS = 16_000  # at most about as many of each frame shown: 24 frames take some 2 MB of the page
_CLOUD_STEPS = 8191  # finer than what the canvas shows of the whole scene; more would be bytes for noise
_MOST_CENTRES = 600
_MOST_TRACKS = 1200
_MESH_POINTS = 6000  # of all meshes together
_VIEWS = (  # the script's name of it, sign, words
    ("in", "+", "closer"),
    ("out", "&minus;", "further away"),
    ("top", "Top", "from above"),
    ("reset", "Reset", "reset the view"),
)
_FINEST = 65535  # places are written in steps: the scene's size divided by this


class SceneSection:
    """Points of the frames shown, in colour, collected one frame at a time."""

    def __init__(self, video: Video) -> None:
        self._video = video
        self._xyz: list[np.ndarray] = []
        self._rgb: list[np.ndarray] = []
        self._shown: list[int] = []

    def add(self, sample: Sample) -> None:
        self._shown.append(sample.i)
        cameras = self._video.cameras
        depth = sample.depths.get("geometry", sample.depths.get("camera"))
        if cameras is None or depth is None or not cameras.valid[sample.i]:
            return
        intrinsics = self._video.intrinsics if "geometry" in sample.depths else cameras.intrinsics
        if not np.isfinite(intrinsics[sample.i]).all():  # the motion did not determine the focal length
            return
        pixels = sample_grid(depth.shape[0], depth.shape[1], _FRAME_POINTS)
        pixels = pixels[depth.ravel()[pixels] > 0]
        xyz = lift(depth.ravel()[pixels], pixels, depth.shape[1], intrinsics[sample.i])
        self._xyz.append(apply(invert(cameras.cam_from_world[sample.i]), xyz).astype(np.float32))
        grey = np.full((len(pixels), 3), 128, np.uint8)
        self._rgb.append(grey if sample.rgb is None else sample.rgb.reshape(-1, 3)[pixels])

    def html(self) -> str:
        """Return the section; "" without cameras."""
        cameras = self._video.cameras
        if cameras is None:
            return ""
        if not cameras.valid.any():
            why = "No frame has a pose: the camera branch could not determine how the camera moved."
            return f'<section id="path"><h2>Camera path</h2><p>{why}</p></section>'
        unit = "m" if self._video.metric else "units"
        missing = int((~cameras.valid).sum())
        gap = f" {missing:,} of {len(cameras.valid):,} frames have no pose." if missing else ""
        return (
            '<section id="path"><h2>Camera path</h2>'
            f"{self._canvas(cameras, unit)}{_flat(cameras, unit)}"
            '<p class="soft">Green: start, red: end. '
            f'<span class="scripted">Orange: the camera of the frame shown above.</span>{gap}</p></section>'
        )

    def _canvas(self, cameras: Cameras, unit: str) -> str:
        data = self._data(cameras, unit)
        layers = [
            ("points", bool(data["cloud"]["count"])),
            ("objects", bool(data["meshes"]["count"])),
            ("tracks", bool(data["tracks"]["count"])),
            ("cameras", True),
        ]
        boxes = "".join(
            f'<label><input type="checkbox" data-scene="{name}" {"" if name == "tracks" else "checked"}> {name}</label>'
            for name, there in layers
            if there
        )
        buttons = "".join(
            f'<button type="button" data-view="{view}" aria-label="{label}">{sign}</button>'
            for view, sign, label in _VIEWS
        )
        label = f"Camera path in 3D: {data['posed']} camera centres, {data['cloud']['count']} points of the scene"
        return (
            f'<div class="scene scripted"><canvas tabindex="0" role="img" aria-label="{label}" '
            'aria-describedby="scene-keys"></canvas>'
            f'<div class="controls">{buttons}{boxes}</div>'
            '<p class="soft" id="scene-keys">Drag to turn, two fingers or + and &minus; to zoom; with the keyboard: '
            f"arrows, + and &minus;, 0 to reset. A square of the grid is {data['grid']:g} {unit} wide.</p></div>"
            f"{markup.embedded('scene-data', data)}"
        )

    def _data(self, cameras: Cameras, unit: str) -> dict[str, Any]:
        centers = np.where(cameras.valid[:, None], cameras.centers, np.nan)
        upright = upright_from_world(cameras.cam_from_world[cameras.valid])
        cloud = np.concatenate([np.zeros((0, 3)), *self._xyz])
        colours = np.concatenate([np.zeros((0, 3), np.uint8), *self._rgb])
        meshes, own = self._mesh_points()
        low, high = _box(centers[cameras.valid], cloud)
        if len(meshes):
            low, high = np.minimum(low, meshes.min(0)), np.maximum(high, meshes.max(0))
        size = float(np.max(high - low))
        near = _inside(cloud, low, high)
        cloud, colours, tracks = cloud[near], colours[near], self._track_points()
        tracks = tracks[_inside(tracks, low, high)]
        stride = max(1, -(-len(centers) // _MOST_CENTRES))
        path = centers[::stride]
        return {
            "unit": unit,
            "up": upright.tolist(),
            "low": low.tolist(),
            "size": size,
            "middle": np.median(np.concatenate([centers[cameras.valid], cloud]), axis=0).tolist(),
            "posed": int(cameras.valid.sum()),
            "path": _places(path),
            "frusta": [self._frustum(cameras, i) for i in self._shown if cameras.valid[i]],
            "cloud": packed_cloud(cloud, colours, low, size),
            "meshes": {**_points(meshes, low, size), "rgb": _base64(own, "u1")},
            "tracks": _points(tracks, low, size),
            "grid": round_length(size / 8),
        }

    def _frustum(self, cameras: Cameras, i: int) -> dict[str, Any]:
        """Return the frame's number, its centre, and the rays through the corners of its picture, in the world."""
        width, height = self._video.width, self._video.height
        corners = np.array([[0, 0, 1], [width - 1, 0, 1], [width - 1, height - 1, 1], [0, height - 1, 1]], float)
        intrinsics = cameras.intrinsics[i].astype(np.float64)
        if not np.isfinite(intrinsics).all():
            intrinsics = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], float)
        rays = np.linalg.solve(intrinsics, corners.T).T @ cameras.cam_from_world[i, :3, :3]
        return {"i": int(i), "at": _places(cameras.centers[i : i + 1])[0], "rays": _places(rays)}

    def _mesh_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return points on the surfaces of the objects' meshes, (K, 3) world, and their colours, (K, 3) uint8."""
        objects = self._video.objects
        meshes = list(objects.meshes.values()) if objects is not None else []
        xyz, rgb = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)]
        for mesh in meshes:
            numbers, weights = surface_points(mesh.world_vertices, mesh.faces, _MESH_POINTS // len(meshes))
            xyz.append((mesh.world_vertices[numbers] * weights[..., None]).sum(1))
            rgb.append((mesh.colours[numbers] * weights[..., None]).sum(1).round().astype(np.uint8))
        return np.concatenate(xyz), np.concatenate(rgb)

    def _track_points(self) -> np.ndarray:
        """Return one place for each track, where it was queried: (N, 3) world."""
        tracks = self._video.tracks
        if tracks is None or not len(tracks):
            return np.zeros((0, 3))
        xyz = tracks.query[:: max(1, -(-len(tracks) // _MOST_TRACKS)), 1:]
        return xyz[np.isfinite(xyz).all(1)]


def round_length(about: float) -> float:
    """Return the largest of 1, 2, 5, 10, 20, ... (times any power of ten) that is not above `about`.

    >>> round_length(0.37), round_length(7.0)
    (0.2, 5.0)
    """
    power = 10.0 ** np.floor(np.log10(about))
    return float(max(step for step in (power, 2 * power, 5 * power) if step <= about * 1.0001))


def _box(centers: np.ndarray, cloud: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the box around the cameras and nearly all points: a few points lie far away."""
    low, high = centers.min(0), centers.max(0)
    if len(cloud):
        near, far = np.percentile(cloud, [2, 98], axis=0)
        low, high = np.minimum(low, near), np.maximum(high, far)
    return low.astype(np.float64), np.maximum(high, low + 1e-6).astype(np.float64)


def _inside(xyz: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.all((xyz >= low) & (xyz <= high), axis=1)


def _points(xyz: np.ndarray, low: np.ndarray, size: float) -> dict[str, Any]:
    """Write places as 16-bit steps from `low`."""
    return {"count": len(xyz), "xyz": _base64(np.rint((xyz - low) / size * _FINEST), "<u2")}


def packed_cloud(xyz: np.ndarray, rgb: np.ndarray, low: np.ndarray, size: float) -> dict[str, Any]:
    """Write points (N, 3) and colours (N, 3) uint8 as compressed columns: x, y, z, each as low and high bytes, r, g, b.

    A value is the difference from the point before, since neighbours in a picture are mostly neighbours in the scene;
    places are in 8191 steps of `size` from `low`, their differences folded, so that small ones of both signs are small
    numbers.
    """
    steps = np.rint((xyz - low) / size * _CLOUD_STEPS).astype(np.int32)
    change = np.diff(steps, axis=0, prepend=np.zeros((1, 3), np.int32))
    folded = ((change << 1) ^ (change >> 31)).astype("<u2")
    places = np.ascontiguousarray(folded.T).view(np.uint8).reshape(3, -1, 2).transpose(0, 2, 1)
    colours = np.diff(rgb, axis=0, prepend=np.zeros((1, 3), np.uint8)).T  # modulo 256
    packed = zlib.compress(places.tobytes() + colours.tobytes(), 9)
    return {"count": len(xyz), "steps": _CLOUD_STEPS, "packed": base64.b64encode(packed).decode("ascii")}


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array.astype(dtype)).tobytes()).decode("ascii")


def _places(xyz: np.ndarray) -> list[Any]:
    """Write rows of numbers as JSON can hold them, NaN as null."""
    return [[round(float(v), 5) for v in row] if np.isfinite(row).all() else None for row in xyz]


def _flat(cameras: Cameras, unit: str) -> str:
    """Return drawings of the path, for pages without scripts."""
    centers = np.where(cameras.valid[:, None], cameras.centers, np.nan)
    looks = cameras.cam_from_world[:, 2, :3]  # the camera's z axis in the world
    return (
        '<div class="plots unscripted">'
        + path_figure(centers, looks, (0, 2), flip=False, unit=unit, label="from above")
        + path_figure(centers, looks, (2, 1), flip=True, unit=unit, label="from the side")
        + "</div>"
    )
