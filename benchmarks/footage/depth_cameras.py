"""Clips of depth cameras: measured depth and poses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from clip_files import GL_FROM_CV, ClipWriter, camera, numbers, pose, pose_at, read, recipe, rigid
from depth_maps import enlarge, read_half_exr, register


@recipe(
    "kitchen_kinect",
    "andyzeng/tsdf-fusion-python@3f22a940d90f684145b1f29b1feaa92e09eb1db6",
    licence="7-Scenes (Microsoft Research), non-commercial",
)
def kitchen_kinect(clip: ClipWriter, source: Path, first: int = 650, count: int = 300) -> None:
    """Part of 7-Scenes "RedKitchen": a hand-held Kinect, poses of KinectFusion.

    Poses and intrinsics as shipped are those of the depth camera, and depth is not registered to colour. It is moved
    there with the colour camera and calibration that are usual for this data set (as in nianticlabs/ace,
    datasets/setup_7scenes.py; the calibration is from LIRIS).
    """
    k_depth, k_colour = numbers(source / "data/camera-intrinsics.txt"), camera(525, 525, 320, 240)
    colour_from_depth = rigid(
        [
            [0.99996518, 0.00267651, -0.00790410, -0.02555894],
            [-0.00274093, 0.99996303, -0.00815045, 0.00010110],
            [0.00788199, 0.00817183, 0.99993555, 0.00203183],
            [0, 0, 0, 1],
        ]
    )
    poses = []
    for i in range(first, first + count):
        base = source / "data" / f"frame-{i:06d}"
        depth = read(base.with_suffix(".depth.png"))
        depth = np.where(depth == 65535, 0, depth)
        clip.add(base.with_suffix(".color.jpg"), register(depth, k_depth, k_colour, colour_from_depth, (640, 480)))
        poses.append(colour_from_depth @ np.linalg.inv(rigid(numbers(base.with_suffix(".pose.txt")))))
    clip.finish(poses, k_colour, np.arange(count) / 30.0)


@recipe("tum_rpy", "jmstark/gpu_odometry@aec7c853676c7d809d9fd89e728c3f54b725a63e", licence="TUM RGB-D, CC BY 4.0")
def tum_rpy(clip: ClipWriter, source: Path, first: int = 60, count: int = 300) -> None:
    """TUM RGB-D freiburg1_rpy: a hand-held Kinect that mostly turns, fast; poses of motion capture.

    The frames are distorted: intrinsics and distortion are TUM's calibration of this colour camera.
    """
    truth = numbers(source / "data/groundtruth.txt")
    world_from_cam = np.stack([pose(row[4:8], row[1:4]) for row in truth])
    lines = (source / "data/rgbd_assoc.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line.strip()][first : first + count]
    times = np.array([float(row[0]) for row in rows])
    for _, colour, _, depth in rows:
        clip.add(source / "data" / colour, read(source / "data" / depth) / 5.0)  # stored in 1/5000 m
    poses = [np.linalg.inv(pose_at(time, truth[:, 0], world_from_cam, 0.05)) for time in times]
    distortion = np.array([0.2624, -0.9531, -0.0054, 0.0026, 1.1633])
    clip.finish(poses, camera(517.3, 516.5, 318.6, 255.3), times - times[0], distortion=distortion)


@recipe(
    "tabletop_realsense",
    "andyzeng/tsdf-fusion@afbd0d16dcb2afb95e71d19fcddb2f926055d08b",
    licence="BSD-2-Clause (Princeton University)",
)
def tabletop_realsense(clip: ClipWriter, source: Path) -> None:
    """A short-range RealSense on a robot arm around an open box: every second frame of the recording."""
    folder = source / "old-version/data/sample"
    poses, number = [], []
    for colour in sorted(folder.glob("*.color.png")):
        stem = colour.name.removesuffix(".color.png")
        clip.add(colour, read(folder / f"{stem}.depth.png"))
        poses.append(np.linalg.inv(rigid(numbers(folder / f"{stem}.pose.txt"))))
        number.append(int(stem.split("-")[-1]))
    counted = np.array(number)
    clip.finish(poses, numbers(folder / "intrinsics.K.txt"), (counted - counted[0]) / 30.0, number=counted)


@recipe(
    "hololens_office",
    "ardaduz/deep-video-mvs@fa14288f149c5af7b2a49092f729f5c4f44517ba",
    licence="MIT, the repository's; the data has no terms of its own",
)
def hololens_office(clip: ClipWriter, source: Path, count: int = 300) -> None:
    """A HoloLens carried through a large office, with long steps between frames: some 5 to 10 a second, not 30."""
    folder = source / "sample-data/hololens-dataset/000"
    world_from_cam = numbers(folder / "poses.txt").reshape(-1, 4, 4)
    pictures = sorted((folder / "images").iterdir())
    if len(pictures) != len(world_from_cam):
        raise ValueError(f"{folder}: {len(pictures)} pictures, {len(world_from_cam)} poses")
    for picture in pictures[:count]:
        clip.add(picture, read(folder / "depth" / picture.name))
    number = np.array([int(picture.stem) for picture in pictures[:count]])
    poses = [np.linalg.inv(rigid(matrix)) for matrix in world_from_cam[:count]]
    clip.finish(poses, numbers(folder / "K.txt"), (number - number[0]) / 30.0, number=number)


@recipe(
    "iphone_door",
    "YaroslavGladun/door_handle_detection@988f2d4b54d25c2f530130f6dfa2c3bfcab485a8",
    licence="none stated",
)
def iphone_door(clip: ClipWriter, source: Path, count: int = 300) -> None:
    """A portrait iPhone capture by Record3D, close to a door handle: LiDAR depth and ARKit poses (OpenGL axes)."""
    folder = source / "EXR_RGBD"
    meta = json.loads((folder / "metadata.json").read_text())
    number = sorted(int(path.stem) for path in (folder / "rgb").iterdir() if int(path.stem) < count)
    poses = []
    for i in number:
        depth = read_half_exr((folder / f"depth/{i}.exr").read_bytes())
        clip.add(folder / f"rgb/{i}.jpg", enlarge(1000 * depth, (meta["w"], meta["h"])))
        poses.append(GL_FROM_CV @ np.linalg.inv(pose(meta["poses"][i][:4], meta["poses"][i][4:])))
    intrinsics = np.array(meta["K"]).reshape(3, 3).T
    clip.finish(poses, intrinsics, np.array(meta["frameTimestamps"])[number], number=np.array(number))


@recipe(
    "cabinet_sparse",
    "benchun123/cuboid_slam_with_bbox_constraints@d228cfa2cd2bae42d568ee573165999977cc5e61",
    licence="TUM RGB-D, CC BY 4.0",
)
def cabinet_sparse(clip: ClipWriter, source: Path) -> None:
    """Key frames of TUM RGB-D freiburg3_cabinet, 1 to 2 a second, around a bare cabinet on a bare floor; poses of
    motion capture.

    The pictures of freiburg3 come without distortion, and its depth in the colour camera.
    """
    folder = source / "data"
    truth = numbers(folder / "truth_cam_poses.txt")
    for i in range(len(truth)):
        clip.add(folder / f"raw_imgs/{i:04d}_rgb_raw.jpg", read(folder / f"depth_imgs/{i:04d}_depth_raw.png") / 5.0)
    poses = [np.linalg.inv(pose(row[4:8] / np.linalg.norm(row[4:8]), row[1:4])) for row in truth]
    clip.finish(poses, camera(535.4, 539.2, 320.1, 247.6), truth[:, 0] - truth[0, 0])


@recipe(
    "living_room_model",
    "isl-org/open3d_downloads@55705eab54cd30b5162d8f40814159177d300dd2",
    licence="augmented ICL-NUIM, CC BY 3.0",
    held_out=True,
)
def living_room_model(clip: ClipWriter, source: Path) -> None:
    """Rendered pictures of a furnished living room; poses of Open3D's reconstruction of their depth, without noise."""
    folder = source / "tests/reconstruction_system/livingroom1_clean_micro"
    rows = (folder / "test_scene/trajectory.log").read_text().split("\n")
    world_from_cam = [[rows[i + 1 + k].split() for k in range(4)] for i in range(0, len(rows) - 4, 5)]
    pictures = sorted((folder / "image").iterdir())
    if len(pictures) != len(world_from_cam):
        raise ValueError(f"{folder}: {len(pictures)} pictures, {len(world_from_cam)} poses")
    for picture in pictures:
        clip.add(picture, read(folder / "depth" / f"{picture.stem}.png"))
    poses = [np.linalg.inv(rigid(matrix)) for matrix in world_from_cam]
    clip.finish(poses, camera(525, 525, 319.5, 239.5), np.arange(len(poses)) / 30.0)


@recipe(
    "shelf_arm",
    "andyzeng/apc-vision-toolbox@de8ac38b93d9a06c1cb3c2d20e94d241bead62e9",
    licence="BSD-2-Clause (Princeton University)",
    held_out=True,
)
def shelf_arm(clip: ClipWriter, source: Path) -> None:
    """The RealSense at a robot arm's wrist looks into a bin of a shelf from 15 places.

    The poses of the arm are left out: features miss their epipolar lines by 7 px in neighbouring frames.

    Depth is in tenths of a millimetre; its 16 bits are rotated by three.
    """
    folder = source / "data/sample/scene-0000"
    matrices = re.findall(r"# ([^\n]*)\n((?:[ \t]*[-+.\de \t]+\n)+)", (folder / "cam.info.txt").read_text() + "\n")
    known = {
        name.strip(): np.array([line.split() for line in text.split("\n") if line], float) for name, text in matrices
    }
    intrinsics = next(matrix for name, matrix in known.items() if name.startswith("Color camera intrinsic"))
    bases = [folder / name.split()[-1] for name in known if name.startswith("Camera-to-world")]
    for base in bases:
        stored = read(base.with_suffix(".depth.png"))
        clip.add(base.with_suffix(".color.png"), ((stored >> 3) | (stored << 13)) / 10.0)
    clip.finish(None, intrinsics, np.full(len(bases), np.nan))
