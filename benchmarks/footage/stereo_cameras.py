"""Clips of stereo cameras: poses are measured, depth is matched here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml
from clip_files import ClipWriter, numbers, pose, pose_at, read, recipe, rigid
from depth_maps import from_stereo

_KITTI = "KITTI odometry, CC BY-NC-SA 3.0"
_FAR_MM = 60_000  # one step of disparity is 2.5 m there


@recipe("kitti_road", "niconielsen32/VisualSLAM@13122eaadb0764a65a267598ce3a0e979427ccaa", licence=_KITTI)
def kitti_road(clip: ClipWriter, source: Path) -> None:
    """A car drives straight on, others come towards it."""
    folder = source / "KITTI_sequence_1"
    left, right = numbers(folder / "calib.txt").reshape(2, 3, 4)
    drive(clip, folder / "image_l", folder / "image_r", folder / "poses.txt", left[:, :3], -right[0, 3] / right[0, 0])


@recipe(
    "kitti_street", "polygon-software/python-visual-odometry@fc59d4d8cef612fd87a16481dd71c72826f19b27", licence=_KITTI
)
def kitti_street(clip: ClipWriter, source: Path) -> None:
    """A car drives down a residential street."""
    folder = source / "img/chapter_8/data"
    drive(clip, folder / "left", folder / "right", folder / "poses.txt", numbers(folder / "K.txt").reshape(3, 3), 0.54)


def drive(clip: ClipWriter, left: Path, right: Path, truth: Path, intrinsics: np.ndarray, baseline_m: float) -> None:
    """KITTI's rectified grey pairs at 10 frames a second; poses (T, 12), the left camera in the world."""
    rows = numbers(truth).reshape(-1, 3, 4)
    world_from_cam = np.concatenate([rows, np.tile([[[0, 0, 0, 1.0]]], (len(rows), 1, 1))], axis=1)
    pictures = sorted(left.glob("*.png"))[: len(rows)]
    for picture in pictures:
        depth = from_stereo(read(picture), read(right / picture.name), intrinsics[0, 0], baseline_m)
        clip.add(picture, np.where(depth > _FAR_MM, 0, depth))
    poses = [np.linalg.inv(rigid(matrix)) for matrix in world_from_cam[: len(pictures)]]
    clip.finish(poses, intrinsics, np.arange(len(pictures)) / 10.0)


@recipe(
    "euroc_standing",
    "MIT-SPARK/Kimera-VIO@ce8c59b7b273ab5ac29db7e5572e1623760e19c7",
    "princeton-vl/DROID-SLAM@2dfd39f0dcad44012ca7bbb8aa70b55edbfa9c99",
    licence="EuRoC (ETH Zurich), research",
)
def euroc_standing(clip: ClipWriter, source: Path, truth_source: Path) -> None:
    """The start of EuRoC V1_01_easy, where the vehicle stands on the floor; poses of motion capture.

    The pair is rectified here, so the frames have no distortion. The ground truth is in the second repository.
    """
    folder = source / "tests/data/MicroEurocDataset/mav0"
    (body0, k0, d0, size), (body1, k1, d1, _) = (_sensor(folder / f"cam{i}/sensor.yaml") for i in (0, 1))
    right_from_left = np.linalg.inv(body1) @ body0
    r0, r1, p0, p1, *_ = cv2.stereoRectify(
        k0, d0, k1, d1, size, right_from_left[:3, :3], right_from_left[:3, 3:], alpha=0
    )
    maps = [
        cv2.initUndistortRectifyMap(k, d, r, p, size, cv2.CV_32FC1)
        for k, d, r, p in ((k0, d0, r0, p0), (k1, d1, r1, p1))
    ]
    cam_from_body = np.eye(4)
    cam_from_body[:3, :3] = r0
    cam_from_body = cam_from_body @ np.linalg.inv(body0)
    rows = numbers(truth_source / "data/euroc_groundtruth/V1_01_easy.txt")  # ns, position, quaternion w x y z
    world_from_body = np.stack([pose(row[[5, 6, 7, 4]], row[1:4]) for row in rows])
    poses, times = [], []
    for picture in sorted((folder / "cam0/data").iterdir()):
        left, right = (
            cv2.remap(read(folder / f"cam{i}/data" / picture.name), *maps[i], cv2.INTER_LINEAR) for i in (0, 1)
        )
        clip.add(left, from_stereo(left, right, p0[0, 0], -p1[0, 3] / p1[0, 0]), lossless=True)
        times.append(int(picture.stem) * 1e-9)
        body = pose_at(times[-1], rows[:, 0] * 1e-9, world_from_body, 0.06)
        poses.append(cam_from_body @ np.linalg.inv(body))
    clip.finish(poses, p0[:, :3], np.array(times) - times[0], motion="still")


def _sensor(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Body-from-camera (4, 4), intrinsics (3, 3), distortion (4,) and (width, height) of a EuRoC sensor.yaml."""
    lines = path.read_text().splitlines()
    known = yaml.safe_load("\n".join(line for line in lines if not line.startswith("%")))
    fx, fy, cx, cy = known["intrinsics"]
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    width, height = known["resolution"]
    body_from_cam = np.array(known["T_BS"]["data"], float).reshape(4, 4)
    return body_from_cam, intrinsics, np.array(known["distortion_coefficients"], float), (width, height)
