"""Incremental mapping of keyframes by COLMAP, from a start that is told from its mirror image.

COLMAP's centre of the top-left pixel is (0.5, 0.5), ours (0, 0): half a pixel is added on the way in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.geometry.cameras import USUAL_FOCAL
from geoflow.geometry.motion.bundle import LEAST_VIEWS, Bundle, pose_matrix
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.picture_features import MAX_ERROR_PX
from geoflow.geometry.motion.starts import FOCALS, MappingStart, best_of, both_worlds, windows

SEED = 7
_MANY = 40  # keyframes
FOCAL_RANGE = (0.25, 3.0)  # of the longer side; outside it, self-calibration has failed
_MIN_ANGLE_DEG = 1.0  # between the rays of a point
_MAX_RADIAL = 0.3  # |k1|; lenses of video cameras distort less
_LEAST_BEND = 0.004  # of the half diagonal: distortion that moves the corners less is noise and is ignored
_MOST_MODELS = 4
_SAME_LENS = 0.05  # log ratio of focal lengths
_CLEAR = 0.12  # lead of a start after which no further one is tried


@dataclass(frozen=True)
class MatchedPair:
    """Two keyframes whose matches agree with one motion."""

    a: int
    b: int
    fundamental: np.ndarray  # (3, 3)
    rows: np.ndarray  # (N, 2) keypoints of either


class Mapper:
    """Maps the keyframes of `chains`; files lie below `folder`.

    `keypoints` (N, 2) px of every keyframe begin with its chained points, in the order of their indices. `stated_focal`
    px is tried first if the lens is not known.
    """

    def __init__(
        self,
        folder: Path,
        chains: Chains,
        keypoints: list[np.ndarray],
        pairs: list[MatchedPair],
        known_intrinsics: np.ndarray | None = None,
        stated_focal: float | None = None,
    ) -> None:
        self._folder, self._chains = folder, chains
        self._free = known_intrinsics is None
        self._focals = _focals(chains, stated_focal) if self._free else [0.0]
        self._camera = _camera(chains, known_intrinsics)
        self._keypoints = [np.ascontiguousarray(uv + 0.5, np.float32) for uv in keypoints]
        self._database = folder / "database.db"
        self._runs = 0
        _write_database(self._database, self._camera, self._keypoints, pairs)

    def models(self) -> list[Any]:
        """Return COLMAP's models, the largest first; several where the pictures fall into parts that share no view."""
        left = list(range(len(self._chains.keyframes)))
        found: list[Any] = []
        while len(left) >= LEAST_VIEWS and len(found) < _MOST_MODELS:
            start = self._start(left)
            grown = self._mapped(left, start=start) if start else self._mapped(left)
            if not grown:
                break
            found += grown
            done = {image.image_id - 1 for model in grown for image in model.images.values() if image.has_pose}
            if not start or not done:
                break
            left = [k for k in left if k not in done]
        found = [self._polished(model) for model in found]
        return sorted(found, key=lambda model: -model.num_reg_images())

    def _start(self, left: list[int]) -> MappingStart | None:
        """Return the best start among some runs of the keyframes that are left."""
        best: MappingStart | None = None
        for rows in windows(self._chains, [self._chains.keyframes[k] for k in left]):
            views = np.array(left)[rows]
            start = self._start_of(views)
            if start and (best is None or start.lead > best.lead):
                best = start
            if best and best.lead > _CLEAR:
                break
        return best

    def _start_of(self, views: np.ndarray) -> MappingStart | None:
        """Map a run of keyframes from several focal lengths, and return the best world; None if nothing comes out.

        The first two focal lengths suffice if both lead to the same lens, and its world is clearly the better one.
        """
        worlds: list[Bundle] = []
        best: MappingStart | None = None
        for tried, focal in enumerate(self._focals):
            models = self._mapped(views.tolist(), focal=focal)
            if not models:
                continue
            before, new = best, self._bundle(models[0], views)
            worlds += both_worlds(new, focal=self._free)
            best = best_of(worlds)
            if tried and before and best and best.lead > _CLEAR and _alike(before.bundle, new):
                break
        return best

    def _bundle(self, model: Any, views: np.ndarray) -> Bundle:
        """Return a model of these keyframes with all chained points that enough of its views see."""
        chains = self._chains
        camera = next(iter(model.cameras.values()))
        intrinsics = np.array(camera.calibration_matrix())
        intrinsics[:2, 2] -= 0.5
        posed = sorted(image.image_id - 1 for image in model.images.values() if image.has_pose)
        window = np.isfinite(chains.uv[[chains.keyframes[k] for k in views], :, 0])
        counted = window.sum(0) >= LEAST_VIEWS
        frames = [chains.keyframes[k] for k in posed]
        points = np.flatnonzero(counted & (np.isfinite(chains.uv[frames, :, 0]).sum(0) >= LEAST_VIEWS))
        poses = np.array([pose_matrix(model.images[k + 1].cam_from_world()) for k in posed])
        uv = chains.uv[frames][:, points].astype(np.float64)
        lost = int(window[:, counted].sum()) - int(np.isfinite(uv[..., 0]).sum())
        bundle = Bundle(
            uv=uv,
            size=(chains.height, chains.width),
            intrinsics=intrinsics,
            radial=0.0,
            cam_from_world=poses,
            xyz=np.full((len(points), 3), np.nan),
            views=np.array(posed),
            points=points,
            lost=lost,
        )
        return bundle.triangulated()

    def _mapped(self, views: list[int], *, focal: float = 0.0, start: MappingStart | None = None) -> list[Any]:
        """Run COLMAP on some of the keyframes, the largest model first.

        Long ones are refined only briefly on the way: `_polished` does it thoroughly.
        """
        import pycolmap

        self._runs += 1
        out = self._folder / f"models{self._runs}"
        out.mkdir()
        if focal:
            self._set_focal(focal)
        step = pycolmap.IncrementalPipelineOptions(num_threads=1, random_seed=SEED, extract_colors=False)
        step.min_model_size = 3
        step.max_num_models = _MOST_MODELS
        step.multiple_models = not focal
        step.image_names = [f"{k:04d}" for k in views]
        if len(views) > _MANY:
            step.ba_global_frames_ratio = step.ba_global_points_ratio = 1.3
            step.ba_global_max_refinements, step.ba_local_max_refinements = 2, 1
            step.ba_global_function_tolerance, step.ba_local_function_tolerance = 1e-4, 1e-3
        step.ba_refine_focal_length = step.mapper.abs_pose_refine_focal_length = self._free
        step.ba_refine_extra_params = step.mapper.abs_pose_refine_extra_params = False  # few frames cannot determine it
        step.mapper.min_focal_length_ratio, step.mapper.max_focal_length_ratio = FOCAL_RANGE
        # Hand-held clips rarely have the angles and the numbers of matches that are expected of photo collections.
        step.mapper.init_min_tri_angle = 4.0
        step.mapper.init_min_num_inliers = 50
        step.mapper.abs_pose_min_num_inliers, step.mapper.abs_pose_min_inlier_ratio = 15, 0.15
        step.mapper.filter_max_reproj_error = MAX_ERROR_PX
        where = ""
        if start:
            self._set_focal(float(start.bundle.intrinsics[0, 0]))
            where = str(self._folder / f"start{self._runs}")
            Path(where).mkdir()
            self._as_model(start.bundle).write(where)
        models = pycolmap.incremental_mapping(self._database, self._folder, out, step, input_path=where)
        return sorted(models.values(), key=lambda model: -model.num_reg_images())

    def _set_focal(self, focal: float) -> None:
        import pycolmap

        if self._free:
            self._camera.params = [focal, *self._camera.params[1:]]
            with pycolmap.Database.open(self._database) as database:
                database.update_camera(self._camera)

    def _as_model(self, bundle: Bundle) -> Any:
        """Return COLMAP's form of a start, in the terms of the database."""
        import pycolmap

        model = pycolmap.Reconstruction()
        camera = pycolmap.Camera(
            model=self._camera.model,
            params=self._camera.params,
            width=self._camera.width,
            height=self._camera.height,
            camera_id=self._camera.camera_id,
        )
        camera.has_prior_focal_length = self._camera.has_prior_focal_length
        model.add_camera(camera)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(camera.sensor_id)
        model.add_rig(rig)
        for pose, k in zip(bundle.cam_from_world, bundle.views):
            image = pycolmap.Image(
                name=f"{k:04d}",
                keypoints=self._keypoints[k].astype(np.float64),
                camera_id=camera.camera_id,
                image_id=int(k) + 1,
            )
            image.frame_id = int(k) + 1
            frame = pycolmap.Frame(frame_id=int(k) + 1, rig_id=1)
            frame.add_data_id(image.data_id)
            frame.rig_from_world = pycolmap.Rigid3d(pose[:3])
            model.add_frame(frame)
            model.add_image(image)
            model.register_frame(int(k) + 1)
        ids = {k: np.flatnonzero(np.isfinite(self._chains.uv[self._chains.keyframes[k], :, 0])) for k in bundle.views}
        good = bundle.errors() < MAX_ERROR_PX
        for row, point in enumerate(bundle.points):
            seen = np.flatnonzero(good[:, row])
            if len(seen) >= 2:
                elements = [
                    pycolmap.TrackElement(int(bundle.views[i]) + 1, int(np.searchsorted(ids[bundle.views[i]], point)))
                    for i in seen
                ]
                model.add_point3D(bundle.xyz[row], pycolmap.Track(elements))
        return model

    def _polished(self, model: Any) -> Any:
        """Adjust the bundle until it settles: first without lens distortion, then with it if there is any."""
        _adjust(model, focal=self._free, radial=False)
        if not self._free:
            return model
        straight = next(iter(model.cameras.values())).focal_length
        _adjust(model, focal=True, radial=True)
        camera = next(iter(model.cameras.values()))
        radius = 0.5 * np.hypot(camera.width, camera.height) / camera.focal_length
        radial = abs(camera.params[3])
        if radial * radius**2 < _LEAST_BEND or radial > _MAX_RADIAL:
            camera.params = [straight, camera.params[1], camera.params[2], 0.0]
            _adjust(model, focal=True, radial=False)
        return model


def _focals(chains: Chains, stated: float | None) -> list[float]:
    """Return the focal lengths that mapping is started from, px."""
    longer = max(chains.height, chains.width)
    return [*([] if stated is None else [stated]), *(focal * longer for focal in FOCALS)]


def _alike(a: Bundle, b: Bundle) -> bool:
    """Return whether two bundles have nearly the same focal length."""
    return bool(abs(np.log(a.intrinsics[0, 0] / b.intrinsics[0, 0])) < _SAME_LENS)


def _adjust(model: Any, *, focal: bool, radial: bool) -> None:
    import pycolmap

    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length, options.refine_extra_params, options.refine_principal_point = focal, radial, False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = 100
    options.ceres.solver_options.function_tolerance = 1e-5
    pycolmap.bundle_adjustment(model, options)
    pycolmap.ObservationManager(model).filter_all_points3D(MAX_ERROR_PX, _MIN_ANGLE_DEG)


def _camera(chains: Chains, known_intrinsics: np.ndarray | None) -> Any:
    import pycolmap

    size = {"width": chains.width, "height": chains.height}
    if known_intrinsics is None:
        params = [USUAL_FOCAL * max(chains.width, chains.height), chains.width / 2, chains.height / 2, 0.0]
        return pycolmap.Camera(model="SIMPLE_RADIAL", params=params, **size)
    k = np.asarray(known_intrinsics, float)
    params = [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]
    return pycolmap.Camera(model="PINHOLE", params=params, has_prior_focal_length=True, **size)


def _write_database(path: Path, camera: Any, keypoints: list[np.ndarray], pairs: list[MatchedPair]) -> None:
    """Write keypoints (N, 2) float32 per image, with COLMAP's pixel centres; the camera gets its number."""
    import pycolmap

    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        camera.camera_id = database.write_camera(camera)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(camera.sensor_id)
        database.write_rig(rig, use_rig_id=True)
        for k, uv in enumerate(keypoints):
            image = pycolmap.Image(image_id=k + 1, name=f"{k:04d}", camera_id=camera.camera_id)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=k + 1, rig_id=1)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(k + 1, uv)
        for pair in pairs:
            geometry = pycolmap.TwoViewGeometry()
            geometry.config, geometry.F = pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED, pair.fundamental
            geometry.inlier_matches = pair.rows.astype(np.uint32)
            database.write_matches(pair.a + 1, pair.b + 1, geometry.inlier_matches)
            database.write_two_view_geometry(pair.a + 1, pair.b + 1, geometry)
