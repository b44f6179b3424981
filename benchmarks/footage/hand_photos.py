"""Hands with annotated joints: a first-person RGB-D video, and collections of photos that are no videos.

Joints of a hand are in the order wrist, then four of thumb, index, middle, ring and little finger from base to tip,
but for egocentric_salt, whose own order `hand_names` tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from clip_files import UNKNOWN, ClipWriter, camera, read, recipe, rigid
from depth_maps import register

_FINGERS = ("thumb", "index", "middle", "ring", "little")
_SALT_JOINTS = [
    "wrist",
    *(f"{finger}_mcp" for finger in _FINGERS),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("pip", "dip", "tip")),
]


@recipe(
    "egocentric_salt",
    "guiggh/hand_pose_action@b0e8557a280d3979da4f8c790c094b6e89fd58c7",
    "bnabnubne/Hand_Activity_Recognition@bdffe548f2c57525b86fe04d862354398376fea8",
    licence="academic, non-commercial, no redistribution",
)
def egocentric_salt(clip: ClipWriter, source: Path, annotation_source: Path) -> None:
    """The First-Person Hand Action benchmark's sample: an SR300 on the shoulder, magnetic sensors on the hand.

    Depth is moved into the colour camera with the calibration of the first repository's README.
    """
    take = "Subject_1/put_salt/1"
    k_depth = camera(475.065948, 475.065857, 315.944855, 245.287079)
    k_colour = camera(1395.749023, 1395.749268, 935.732544, 540.681030)
    colour_from_depth = rigid(
        [
            [0.999988496304, -0.00468848412856, 0.000982563360594, 0.0257],
            [0.00469115935266, 0.999985218048, -0.00273845880292, 0.00122],
            [-0.000969709653873, 0.00274303671904, 0.99999576807, 0.003902],
            [0, 0, 0, 1],
        ]
    )
    rows = np.loadtxt(annotation_source / "Hand_pose_annotation_v1" / take / "skeleton.txt")
    rows = rows[np.argsort(rows[:, 0])]
    for i in rows[:, 0].astype(int):
        depth = read(source / "Video_files" / take / f"depth/depth_{i:04d}.png")
        depth = register(depth, k_depth, k_colour, colour_from_depth, (1920, 1080), grow=2)
        clip.add(source / "Video_files" / take / f"color/color_{i:04d}.jpeg", depth)
    joints = rows[:, 1:].reshape(-1, 21, 3) / 1000 @ colour_from_depth[:3, :3].T + colour_from_depth[:3, 3]
    pixels = joints @ k_colour.T
    known = {"hand_joints": joints, "hand_pixels": pixels[..., :2] / pixels[..., 2:], "hand_names": _SALT_JOINTS}
    clip.finish(None, k_colour, np.arange(clip.count) / 30.0, **known)


@recipe(
    "hand_gestures",
    "3d-hand-shape/hand-graph-cnn@2f59da3e7d9d78b8de0549b9600df6f44ca90fa0",
    licence="Snap Inc., non-commercial research and education",
)
def hand_gestures(clip: ClipWriter, source: Path) -> None:
    """583 crops of one hand after another, with 3D joints and the intrinsics of each crop."""
    from scipy.io import loadmat

    folder = source / "data/real_world_testset"
    params, truth = loadmat(folder / "params.mat"), loadmat(folder / "pose_gt.mat")
    intrinsics = []
    for name, box, (fx, fy, cx, cy) in zip(params["image_path"], params["bbox"].astype(float), params["cam_param"]):
        path = clip.add(folder / name.strip())
        scale = read(path).shape[0] / box[2]  # box: x, y, width and height in the full picture
        intrinsics.append(camera(fx * scale, fy * scale, (cx - box[0]) * scale, (cy - box[1]) * scale))
    joints = truth["pose_gt"].astype(float) / 100  # cm
    pixels = np.einsum("tij,tkj->tki", intrinsics, joints)
    known = {"hand_joints": joints, "hand_pixels": pixels[..., :2] / pixels[..., 2:]}
    clip.finish(None, intrinsics, np.full(clip.count, np.nan), photos=True, **known)


@recipe(
    "hand_photos",
    "open-mmlab/mmpose@759b39c13fea6ba094afc1fa932f51dc1b11cbf9",
    "geopavlakos/hamer@3a01849f4148352e9260b69bf28b65d1671a4905",
    "rolpotamias/WiLoR@819369a764905a26a4e80aae04bbfa9c7e4f6512",
    licence="those of FreiHAND, OneHand10K, CMU Panoptic, COCO, InterHand2.6M and of the demos: research",
)
def hand_photos(clip: ClipWriter, mmpose: Path, hamer: Path, wilor: Path) -> None:
    """Photos with annotated hands from mmpose's tests, and some without annotation from two demos.

    hands.json lists, for each, where it is from, its size, and its hands (null: not annotated).
    """
    notes = []
    tests = mmpose / "tests/data"
    annotated = [
        *coco_style(tests / "freihand", "test_freihand.json", {"keypoints": "right"}),
        *coco_style(tests / "onehand10k", "test_onehand10k.json", {"keypoints": "unknown"}),
        *coco_style(tests / "panoptic", "test_panoptic.json", {"keypoints": "unknown"}),
        *coco_style(tests / "coco", "test_coco_wholebody.json", {"lefthand_kpts": "left", "righthand_kpts": "right"}),
        *interhand(tests / "interhand2.6m"),
    ]
    others = [
        (path, None) for folder in (hamer / "example_data", wilor / "demo_img") for path in sorted(folder.iterdir())
    ]
    for photo, hands in [*annotated, *others]:
        path = clip.add(photo)
        height, width = read(path).shape[:2]
        notes.append(
            {
                "frame": path.name,
                "source": f"{photo.parent.name}/{photo.name}",
                "width": width,
                "height": height,
                "hands": hands,
            }
        )
    clip.finish(None, UNKNOWN, np.full(clip.count, np.nan), photos=True)
    (clip.folder / "hands.json").write_text(json.dumps(notes, indent=1))


Hands = list[dict[str, Any]]


def coco_style(folder: Path, name: str, sides: dict[str, str]) -> Iterator[tuple[Path, Hands]]:
    """Photos of a COCO-style file with their hands; `sides` says which key holds the joints of which side."""
    data = json.loads((folder / name).read_text())
    for image in data["images"]:
        hands = []
        for annotation in data["annotations"]:
            for key, side in sides.items():
                joints = np.array(annotation.get(key) or np.zeros(63), float).reshape(21, 3)
                if annotation["image_id"] == image["id"] and (joints[:, 2] > 0).sum() >= 5:
                    hands.append({"side": side, "keypoints": np.round(joints, 2).tolist()})
        yield folder / image["file_name"], hands


def interhand(folder: Path) -> Iterator[tuple[Path, Hands]]:
    """InterHand2.6M: joints in the world (mm), from tip to base of each finger, the wrist last; right hand first."""
    order = [20, *(4 * finger + joint for finger in range(5) for joint in (3, 2, 1, 0))]
    data, cameras, world = (
        json.loads((folder / f"test_interhand2.6m_{name}.json").read_text()) for name in ("data", "camera", "joint_3d")
    )
    for image in data["images"]:
        annotation = next(row for row in data["annotations"] if row["image_id"] == image["id"])
        taken = {key: np.array(of[image["camera"]]) for key, of in cameras[str(image["capture"])].items()}
        joints = np.array(world[str(image["capture"])][str(image["frame_idx"])]["world_coord"])
        joints = (joints - taken["campos"]) @ taken["camrot"].T
        pixels = joints[:, :2] / joints[:, 2:] * taken["focal"] + taken["princpt"]
        seen = np.array(annotation["joint_valid"]).ravel()
        hands = []
        for side, start in (("right", 0), ("left", 21)):
            which = [start + joint for joint in order]
            if seen[which].sum() >= 5:
                keypoints = np.column_stack([pixels[which], seen[which]])
                in_camera = np.round(joints[which], 1).tolist()
                hands.append(
                    {"side": side, "keypoints": np.round(keypoints, 2).tolist(), "joints_camera_mm": in_camera}
                )
        yield folder / image["file_name"], hands
