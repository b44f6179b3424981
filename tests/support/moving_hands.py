"""Hands of a made-up hand model that move before a moving camera, with exact depth, and what a network says of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import made_up_mano
import numpy as np

from geoflow.geometry.cameras import project
from geoflow.geometry.hands.hand_finding import TrackRules, linked
from geoflow.geometry.hands.hand_sides import PALM, Detection, sides_of
from geoflow.geometry.hands.posed_hands import HandStates, PosedHand
from geoflow.geometry.rigid import invert
from geoflow.models.mano.body import HandBody
from geoflow.models.mano.rotations import from_axis_angle, mirrored

HEIGHT, WIDTH, FPS, OFFSET = 240, 320, 30.0, 0.02
BACKGROUND = 2.5  # m
K = np.array([[300, 0, (WIDTH - 1) / 2], [0, 300, (HEIGHT - 1) / 2], [0, 0, 1]], np.float32)
BODY: HandBody = made_up_mano.body()
_BONES = (*PALM, *((j, j + 1) for f in range(5) for j in range(1 + 4 * f, 4 + 4 * f)))


@dataclass(frozen=True)
class MovingHand:
    """The truth of one hand in T frames."""

    side: str
    size: float  # over that of its shape
    betas: np.ndarray  # (10,)
    rotations: np.ndarray  # (T, 16, 3, 3), the first is cam_from_hand
    wrist: np.ndarray  # (T, 3) camera frame, metres
    joints: np.ndarray  # (T, 21, 3) camera frame, metres
    uv: np.ndarray  # (T, 21, 2) px
    cam_from_world: np.ndarray  # (T, 4, 4)

    @property
    def wrist_in_world(self) -> np.ndarray:
        back = invert(self.cam_from_world)
        return (back[:, :3, :3] @ self.wrist[..., None])[..., 0] + back[:, :3, 3]


def cameras(count: int, mirror: bool = False) -> np.ndarray:
    """Return cam_from_world (T, 4, 4) of a camera that turns and moves sideways; `mirror` is what a mirror shows."""
    share = np.arange(count) / FPS
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = from_axis_angle(np.c_[0 * share, 0.1 * np.sin(2 * share), 0 * share])
    poses[:, 0, 3] = 0.05 * np.sin(1.5 * share)
    flip = np.diag([-1.0, 1, 1, 1])
    return flip @ poses @ flip if mirror else poses


def moving_hand(count: int = 60, side: str = "right", size: float = 1.12, seed: int = 0) -> MovingHand:
    """Return a hand that waves slowly, half a metre away. A left hand is exactly the mirror image of the right one."""
    rng = np.random.default_rng(seed)
    t = np.arange(count)[:, None] / FPS
    bend = from_axis_angle(0.15 * np.sin(2 * t[..., None] + rng.uniform(0, 6, (16, 3))))
    facing = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # fingers up, the palm to the camera
    world = np.c_[0.06 * np.sin(2 * t), 0.08 + 0.03 * np.cos(1.7 * t), 0.55 + 0.04 * np.sin(1.3 * t)]
    poses = cameras(count)
    bend[:, 0] = poses[:, :3, :3] @ bend[:, 0] @ facing
    wrist = (poses[:, :3, :3] @ world[..., None])[..., 0] + poses[:, :3, 3]
    betas = rng.normal(0, 0.5, 10)
    if side == "left":
        bend, wrist, poses = mirrored(bend), wrist * [-1, 1, 1], cameras(count, mirror=True)
    joints = BODY.of_side(bend, np.tile(betas, (count, 1)), side)[0]
    joints = (joints - joints[:, :1]) * size + wrist[:, None]
    return MovingHand(side, size, betas, bend, wrist, joints, np.stack([project(one, K) for one in joints]), poses)


def depth_of(hand: MovingHand) -> np.ndarray:
    """Return depth (T, H, W) float16: the skin, `OFFSET` before the joints, and a wall behind it."""
    maps = np.full((len(hand.joints), HEIGHT, WIDTH), BACKGROUND, np.float32)
    for depth, uv, z in zip(maps, hand.uv, hand.joints[..., 2]):
        for a, b in _BONES:
            for share in np.linspace(0, 1, 12):
                centre = np.rint(uv[a] + share * (uv[b] - uv[a])).astype(int)
                cv2.circle(depth, centre.tolist(), 4, float(z[a] + share * (z[b] - z[a]) - OFFSET), -1)
    return maps.astype(np.float16)


def seen(
    hand: MovingHand, hidden: range = range(0), *, seed: int = 1, distance: float = 0.03, turn: float = 0.04
) -> PosedHand:
    """Return what a network says of a hand: of usual size, so nearer than it is; it trembles in distance and turns.

    In `hidden` frames it is not seen. Frames are linked over time as a backend links them.
    """
    rng = np.random.default_rng(seed)
    count = len(hand.wrist)
    # The noise of a left hand is the mirror image of that of a right one.
    noise = from_axis_angle(turn * rng.normal(size=(count, 16, 3)))
    rotations = hand.rotations @ (mirrored(noise) if hand.side == "left" else noise)
    wrist = hand.wrist / hand.size * np.exp(distance * rng.normal(size=(count, 1)))
    betas = hand.betas + 0.1 * rng.normal(size=(count, 10))
    right = 0.9 if hand.side == "right" else 0.1
    detections = [
        [] if i in hidden else [Detection(hand.uv[i], hand.joints[i] - hand.joints[i].mean(0), right, 0.9)]
        for i in range(count)
    ]
    (track,) = linked(detections, TrackRules(fps=FPS))
    (side,) = sides_of([track], count)
    frames = np.array(track.frames)
    score = np.array([detection.score for detection in track.detections])
    states = HandStates(frames, rotations[frames], betas[frames], wrist[frames], np.ones(len(frames)), score)
    return PosedHand(side, track.right(), track.strength(), states)
