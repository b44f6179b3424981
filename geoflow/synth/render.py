"""The ray caster: exact depth and body per ray, and shaded pictures of the scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.rigid import invert
from geoflow.synth.scene import Body, Scene
from geoflow.synth.texture import Atlas

_NEAR = 0.05  # metres; nothing closer is seen
_AMBIENT = 0.55


@dataclass(frozen=True)
class View:
    """The camera and all bodies at one instant."""

    scene: Scene
    intrinsics: np.ndarray  # (3, 3) px
    cam_from_world: np.ndarray  # (4, 4)
    world_from_body: np.ndarray  # (B, 4, 4)

    @classmethod
    def at(cls, scene: Scene, intrinsics: np.ndarray, cam_from_world: np.ndarray, time_s: float) -> View:
        """Return the view of the scene at a time."""
        return cls(scene, intrinsics, cam_from_world, np.stack([b.world_from_body(time_s) for b in scene.bodies]))

    def body_ray(self, b: int, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Camera-frame rays (3, ...) with z = 1, in a body's frame: origin (3,) and directions (3, ...) float32.

        The rays keep their length, so the parameter along them is the camera's depth z.
        """
        body_from_cam = invert(self.world_from_body[b]) @ invert(self.cam_from_world)
        r = body_from_cam[:3, :3].astype(np.float32)
        x, y, z = rays
        directions = np.stack([r[k, 0] * x + r[k, 1] * y + r[k, 2] * z for k in range(3)])
        return body_from_cam[:3, 3].astype(np.float32), directions


def camera_rays(u: np.ndarray, v: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Rays with z = 1 through pixels u, v of any one shape: (3, ...) float32."""
    x = (u - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    return np.stack([x, y, np.ones_like(x)]).astype(np.float32)


def camera_grid(u: np.ndarray, v: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Rays through every pixel of columns u (W,) and rows v (H,): (3, H, W) float32."""
    across, down = np.meshgrid(u, v)
    return camera_rays(across, down, intrinsics)


def cast(view: View, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First hits of the rays through pixels u (W,) and v (H,): depth (H, W) float32 m and body (H, W) uint8.

    The room is closed, so every ray hits something.
    """
    rays = camera_grid(u, v, view.intrinsics)
    depth = np.full(rays.shape[1:], np.inf, np.float32)
    owner = np.zeros(rays.shape[1:], np.uint8)
    for b, body in enumerate(view.scene.bodies):
        rows, cols = _screen_window(view, b, body, u, v)
        window = rays[:, rows, cols]
        if window.size == 0:
            continue
        hit = _intersect(body, *view.body_ray(b, window))
        closer = hit < depth[rows, cols]
        np.copyto(depth[rows, cols], hit, where=closer)
        owner[rows, cols][closer] = b
    return depth, owner


def depth_along(view: View, uv: np.ndarray) -> np.ndarray:
    """Depth of the first hit through single pixels uv (N, 2): (N,) float32 m."""
    rays = camera_rays(uv[:, 0], uv[:, 1], view.intrinsics)
    hits = [_intersect(body, *view.body_ray(b, rays)) for b, body in enumerate(view.scene.bodies)]
    return np.min(hits, axis=0)


def shade(view: View, atlas: Atlas, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The picture at pixels u (W,), v (H,): (H, W, 3) float32 in 0..255."""
    depth, owner = cast(view, u, v)
    rays = camera_grid(u, v, view.intrinsics).reshape(3, -1)
    depth, owner = depth.ravel(), owner.ravel()
    picture = np.empty((len(depth), 3), np.float32)
    step_px = float(u[1] - u[0]) if len(u) > 1 else 1.0
    for b, body in enumerate(view.scene.bodies):
        (index,) = np.nonzero(owner == b)
        if len(index) == 0:
            continue
        picture[index] = _shade_body(view, atlas, b, body, rays[:, index], depth[index], step_px)
    return picture.reshape(len(v), len(u), 3)


def _screen_window(view: View, b: int, body: Body, u: np.ndarray, v: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns that can see a body: the box of its projected corners, or all if one is behind."""
    everything = slice(0, len(v)), slice(0, len(u))
    if body.inside:
        return everything
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1)
    cam_from_body = view.cam_from_world @ view.world_from_body[b]
    corners = cam_from_body[:3, :3] @ (signs * body.half[:, None]) + cam_from_body[:3, 3:]
    if np.all(corners[2] < _NEAR):
        return slice(0, 0), slice(0, 0)
    if np.any(corners[2] < _NEAR):
        return everything
    k = view.intrinsics
    x = k[0, 0] * corners[0] / corners[2] + k[0, 2]
    y = k[1, 1] * corners[1] / corners[2] + k[1, 2]
    cols = slice(int(np.searchsorted(u, x.min() - 1e-3)), int(np.searchsorted(u, x.max() + 1e-3)))
    rows = slice(int(np.searchsorted(v, y.min() - 1e-3)), int(np.searchsorted(v, y.max() + 1e-3)))
    return rows, cols


def _intersect(body: Body, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Ray parameter of the first hit, inf where the ray misses; slabs for boxes (Kay and Kajiya, 1986)."""
    if body.kind == "sphere":
        a = (direction * direction).sum(0)
        half_b = np.tensordot(origin, direction, 1)
        c = float(origin @ origin) - float(body.half[0]) ** 2
        root = half_b * half_b - a * np.float32(c)
        near = (-half_b - np.sqrt(np.maximum(root, 0))) / a
        return np.where((root > 0) & (near > _NEAR), near, np.float32(np.inf))
    with np.errstate(divide="ignore"):
        inverse = np.float32(1) / direction
    enter = leave = None
    for axis in range(3):
        half = np.float32(body.half[axis])
        one, two = (-half - origin[axis]) * inverse[axis], (half - origin[axis]) * inverse[axis]
        low, high = np.minimum(one, two), np.maximum(one, two)
        enter = low if enter is None else np.maximum(enter, low)
        leave = high if leave is None else np.minimum(leave, high)
    assert enter is not None and leave is not None
    if body.inside:
        return leave
    return np.where((enter < leave) & (enter > _NEAR), enter, np.float32(np.inf))


def _shade_body(
    view: View, atlas: Atlas, b: int, body: Body, rays: np.ndarray, depth: np.ndarray, step_px: float
) -> np.ndarray:
    """Colours (N, 3) float32 of one body's hits: its texture under a lamp (Lambert) and ambient light."""
    origin, direction = view.body_ray(b, rays)
    xyz = origin[:, None] + direction * depth
    face, xy_m, normal = _surface(body, xyz)
    body_from_world = invert(view.world_from_body[b])
    lamp = (body_from_world[:3, :3] @ view.scene.light + body_from_world[:3, 3]).astype(np.float32)
    to_lamp = lamp[:, None] - xyz
    lambert = np.abs((normal * to_lamp).sum(0)) if body.inside else np.maximum((normal * to_lamp).sum(0), 0)
    lambert /= np.sqrt((to_lamp * to_lamp).sum(0)) + 1e-6
    slant = np.abs((normal * direction).sum(0)) / np.sqrt((direction * direction).sum(0))
    # Isotropic mip-mapping must choose between blur and aliasing on slanted faces; the square root is a compromise.
    footprint = depth * np.float32(step_px / view.intrinsics[0, 0]) / np.sqrt(np.maximum(slant, 0.05))
    colour = atlas.sample(face + atlas.first_face[b], xy_m, footprint)
    return colour * (_AMBIENT + (1 - _AMBIENT) * lambert)[:, None]


def _surface(body: Body, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face (N,), position on it (N, 2) metres and outward normal (3, N) of surface points (3, N), body frame."""
    if body.kind == "sphere":
        radius = np.float32(body.half[0])
        normal = xyz / radius
        longitude = np.arctan2(normal[0], normal[2]) + np.float32(np.pi)
        latitude = np.arcsin(np.clip(normal[1], -1, 1)) + np.float32(np.pi / 2)
        return np.zeros(xyz.shape[1], int), radius * np.stack([longitude, latitude], axis=1), normal
    half = body.half.astype(np.float32)[:, None]
    axis = np.argmax(np.abs(xyz) / half, axis=0)
    columns = np.arange(xyz.shape[1])
    positive = xyz[axis, columns] > 0
    from_corner = xyz + half
    first, second = np.array([2, 0, 0])[axis], np.array([1, 2, 1])[axis]  # as in Body.face_sizes
    normal = np.zeros_like(xyz)
    normal[axis, columns] = np.where(positive, 1, -1)
    xy = np.stack([from_corner[first, columns], from_corner[second, columns]], axis=1)
    return 2 * axis + positive, xy, normal
