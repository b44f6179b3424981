"""A few views of followed points as one problem: adjusted, triangulated anew, mirrored in depth, and scored.

A bundle is small (some ten views) and holds every followed point, also those that a mapper rejected. So two hypotheses
about the same views can be compared: the one that explains the points better has the lower `misfit`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geoflow.geometry.rigid import invert

LEAST_VIEWS = 3  # in which a point is seen: two views fit almost any motion
FAR_OFF_PX = 8.0  # an observation further off than this, or behind its camera, tells no more than that it is wrong
_USUAL_ERROR_PX = 0.5  # of a followed point
_NO_PARALLAX = 300.0  # median depths: so far off, a point is seen in the same direction by all cameras of a bundle


@dataclass(frozen=True)
class Bundle:
    """K views of M points, with cameras and places that may explain them."""

    uv: np.ndarray  # (K, M, 2) float64 px; NaN where a point is not seen
    size: tuple[int, int]  # height, width
    intrinsics: np.ndarray  # (3, 3) float64 px
    radial: float  # k1
    cam_from_world: np.ndarray  # (K, 4, 4)
    xyz: np.ndarray  # (M, 3) float64; NaN where unknown
    views: np.ndarray  # (K,) which keyframes these are
    points: np.ndarray  # (M,) which chained points these are
    lost: int = 0  # observations in views that have no camera: they count as far off

    @property
    def seen(self) -> np.ndarray:
        """Return (K, M) bool."""
        return np.isfinite(self.uv[..., 0])

    def in_cameras(self) -> np.ndarray:
        """Return the points in the frame of each camera, (K, M, 3)."""
        return np.einsum("kij,mj->kmi", self.cam_from_world[:, :3, :3], self.xyz) + self.cam_from_world[:, None, :3, 3]

    def errors(self) -> np.ndarray:
        """Return the distance (K, M) px of each observation from its point's image; NaN where nothing is seen.

        It is FAR_OFF_PX at most; also for points that are unknown or behind the camera.
        """
        here = self.in_cameras()
        with np.errstate(divide="ignore", invalid="ignore"):
            x = here[..., :2] / here[..., 2:]
            bent = x * (1 + self.radial * (x**2).sum(-1, keepdims=True))
            off = np.linalg.norm(bent * np.diag(self.intrinsics)[:2] + self.intrinsics[:2, 2] - self.uv, axis=-1)
        off = np.where((here[..., 2] > 0) & (off < FAR_OFF_PX), off, FAR_OFF_PX)
        return np.where(self.seen, off, np.nan)

    def misfit(self) -> float:
        """Return the mean over observations of log(1 + (error / usual error)^2): 0 if all fit exactly."""
        off = np.concatenate([self.errors()[self.seen], np.full(self.lost, FAR_OFF_PX)])
        return float(np.log1p((off / _USUAL_ERROR_PX) ** 2).mean()) if len(off) else np.inf

    def mirrored(self) -> Bundle:
        """Return the depth reversal of the bundle, as the middle view sees it.

        Points keep their pixels there, and depth z becomes z0^2 / z. Under parallel projection the other views would
        see the same if R became S R S, with S = diag(1, 1, -1): the ambiguity of a Necker cube. With perspective it
        is a start from which adjustment finds the reversed solution, if there is one.
        """
        middle = len(self.uv) // 2
        from_middle = invert(self.cam_from_world[middle])
        poses = self.cam_from_world @ from_middle
        xyz = self.in_cameras()[middle]
        depth = np.where(xyz[:, 2] > 0, xyz[:, 2], np.nan)
        centre_depth = float(np.nanmedian(depth))
        reversed_xyz = xyz * (centre_depth**2 / depth / depth)[:, None]
        centre = np.array([0.0, 0.0, centre_depth])
        flip = np.diag([1.0, 1.0, -1.0])
        turned = flip @ poses[:, :3, :3] @ flip
        there = poses[:, :3, :3] @ centre + poses[:, :3, 3]
        mirrored = poses.copy()
        mirrored[:, :3, :3], mirrored[:, :3, 3] = turned, there - turned @ centre
        return replace(self, cam_from_world=mirrored, xyz=reversed_xyz)

    def triangulated(self) -> Bundle:
        """Return the same cameras with every point at the place that fits its rays best, or where it was if that is
        better.

        Each ray's distance is divided by the point's depth, so that near and far views count alike; two rounds.
        """
        k = self.intrinsics
        x = (self.uv - k[:2, 2]) / np.diag(k)[:2]
        for _ in range(3 if self.radial else 0):
            x = ((self.uv - k[:2, 2]) / np.diag(k)[:2]) / (1 + self.radial * (x**2).sum(-1, keepdims=True))
        seen = self.seen
        x = np.where(seen[..., None], x, 0.0)
        p = self.cam_from_world[:, None, :3]  # (K, 1, 3, 4)
        rows = np.stack([x[..., :1] * p[..., 2, :] - p[..., 0, :], x[..., 1:] * p[..., 2, :] - p[..., 1, :]], -2)
        rows = rows * seen[..., None, None]  # (K, M, 2, 4)
        weight = np.ones(seen.shape)
        xyz = np.full_like(self.xyz, np.nan)
        for _ in range(2):
            weighted = rows * weight[..., None, None]
            a, b = weighted[..., :3], -weighted[..., 3]
            xyz = _solved(np.einsum("kmri,kmrj->mij", a, a), np.einsum("kmri,kmr->mi", a, b))
            depth = np.einsum("kj,mj->km", self.cam_from_world[:, 2, :3], xyz) + self.cam_from_world[:, None, 2, 3]
            weight = 1 / np.maximum(np.abs(depth), 1e-3 * np.nanmedian(np.abs(depth)) + 1e-12)
        return self._at_best_of(xyz, self._far_away(x, depth))

    def _at_best_of(self, *places: np.ndarray) -> Bundle:
        """Return the bundle with every point where it fits best: at one of `places` (M, 3), or where it is."""
        best, cost = self.xyz, self._cost_of_points()
        for xyz in places:
            other = replace(self, xyz=xyz)._cost_of_points()
            best, cost = np.where((other < cost)[:, None], xyz, best), np.minimum(cost, other)
        return replace(self, xyz=np.where(np.isfinite(cost)[:, None], best, np.nan))

    def _cost_of_points(self) -> np.ndarray:
        """Return what each point adds to the misfit, (M,); inf if its place is unknown, or it is never seen."""
        cost = np.log1p((np.where(self.seen, self.errors(), 0.0) / _USUAL_ERROR_PX) ** 2).sum(0)
        return np.where(np.isfinite(self.xyz).all(1) & self.seen.any(0), cost, np.inf)

    def _far_away(self, x: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return a place (M, 3) for each point so far off that it shows no parallax, in the mean direction of its rays.

        Rays that run apart by a little, as noise makes them, meet behind the cameras. That speaks for a distant point,
        and not against the cameras. `x` (K, M, 2): the rays at depth 1; `depth` (K, M) of the points so far.
        """
        rays = np.concatenate([x, np.ones((*x.shape[:2], 1))], -1) * self.seen[..., None]
        rays = np.einsum("kji,kmj->kmi", self.cam_from_world[:, :3, :3], rays)
        count = self.seen.sum(0)[:, None]
        mean = np.where(count, rays.sum(0) / np.maximum(count, 1), np.nan)
        usual = depth[self.seen & (depth > 0)]
        far = _NO_PARALLAX * float(np.median(usual)) if len(usual) else np.nan
        return invert(self.cam_from_world)[:, :3, 3].mean(0) + far * mean

    def adjusted(self, *, focal: bool, rounds: int = 2) -> Bundle:
        """Return the bundle after adjustment of poses and points, and of the focal length if `focal`.

        Between rounds the points are triangulated anew, so that points come back that an earlier hypothesis had lost.
        """
        bundle = self._adjusted_once(focal)
        for _ in range(rounds - 1):
            bundle = bundle.triangulated()._adjusted_once(focal)
        return bundle if rounds == 1 else bundle.triangulated()

    def _adjusted_once(self, focal: bool) -> Bundle:
        import pycolmap

        off = self.errors()
        use = self.seen & (off < FAR_OFF_PX)
        points = np.flatnonzero((use.sum(0) >= 2) & np.isfinite(self.xyz).all(1))
        if len(points) < 8:
            return self
        model = _reconstruction(self, use, points)
        options = pycolmap.BundleAdjustmentOptions(print_summary=False)
        options.refine_focal_length, options.refine_extra_params, options.refine_principal_point = focal, False, False
        options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
        options.ceres.solver_options.num_threads = 1
        options.ceres.solver_options.max_num_iterations = 40
        options.ceres.solver_options.function_tolerance = 1e-4
        pycolmap.bundle_adjustment(model, options)
        camera = model.cameras[1]
        intrinsics = self.intrinsics.copy()
        intrinsics[0, 0], intrinsics[1, 1] = camera.focal_length_x, camera.focal_length_y
        poses = np.array([pose_matrix(model.images[i + 1].cam_from_world()) for i in range(len(self.uv))])
        xyz = self.xyz.copy()
        for row in points:
            xyz[row] = model.points3D[int(row) + 1].xyz
        return replace(self, intrinsics=intrinsics, cam_from_world=poses, xyz=xyz)


def pose_matrix(rigid: Any) -> np.ndarray:
    """Return COLMAP's rigid transform as a matrix (4, 4)."""
    return np.vstack([rigid.matrix(), [0, 0, 0, 1]])


def _solved(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions (M, 3) of normal equations (M, 3, 3) and (M, 3); NaN where they are not finite.

    A little is added to the diagonal, relative to its sum: rays that are all parallel do not tell where a point lies,
    and it then comes to lie far away instead of nowhere.
    """
    trace = np.trace(normal, axis1=1, axis2=2)
    good = np.isfinite(normal).all((1, 2)) & np.isfinite(right).all(1) & (trace > 0)
    solution = np.full_like(right, np.nan)
    steady = normal[good] / trace[good, None, None] + 1e-12 * np.eye(3)
    solution[good] = np.linalg.solve(steady, (right[good] / trace[good, None])[..., None])[..., 0]
    return solution


def _reconstruction(bundle: Bundle, use: np.ndarray, points: np.ndarray) -> Any:
    """Return COLMAP's form of a bundle: image k + 1 is view k, point m + 1 is point m of those in `points`."""
    import pycolmap

    k = bundle.intrinsics
    size = {"height": bundle.size[0], "width": bundle.size[1]}
    same = np.isclose(k[0, 0], k[1, 1])
    if same:
        camera = pycolmap.Camera(
            model="SIMPLE_RADIAL", params=[k[0, 0], k[0, 2] + 0.5, k[1, 2] + 0.5, bundle.radial], **size
        )
    else:
        camera = pycolmap.Camera(model="PINHOLE", params=[k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5], **size)
    camera.camera_id = 1
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    where = np.full(use.shape, -1)
    for i, uv in enumerate(bundle.uv):
        rows = points[use[i, points]]
        where[i, rows] = np.arange(len(rows))
        image = pycolmap.Image(name=str(i), keypoints=uv[rows] + 0.5, camera_id=1, image_id=i + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(bundle.cam_from_world[i, :3]))
    for row in points:
        elements = [pycolmap.TrackElement(i + 1, int(where[i, row])) for i in np.flatnonzero(use[:, row])]
        model.add_point3D_with_id(int(row) + 1, pycolmap.Point3D(xyz=bundle.xyz[row], track=pycolmap.Track(elements)))
    return model
