"""The state and the action of a demonstration by hand: where the wrists are, and where they go next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.export.frames import cameras_of
from geoflow.geometry.rigid import invert
from geoflow.store.lazy import Hand
from geoflow.store.reader import Video

SIDES = {"hands": ("left", "right"), "left": ("left",), "right": ("right",)}
FRAMES = ("camera", "world")
_PARTS = ("x", "y", "z", "r00", "r10", "r20", "r01", "r11", "r21", "valid")


@dataclass(frozen=True)
class HandState:
    """For each side ten numbers: the wrist's place, the first two columns of its rotation, and whether it is known."""

    names: list[str]  # "left.x" and so on
    values: np.ndarray  # (T, 10 sides) float32; place and rotation are NaN where the hand is not known
    unit: str  # of the place: "m" or "scene"
    frame: str  # "camera", of the same frame, or "world"

    @property
    def actions(self) -> np.ndarray:
        """Return the next frame's state for each frame: like `values`; the last frame's is not known."""
        last = np.full_like(self.values[:1], np.nan)
        last[:, len(_PARTS) - 1 :: len(_PARTS)] = 0
        return np.concatenate([self.values[1:], last])


def hand_state(video: Video, which: str, frame: str, metres_per_unit: float | None) -> HandState:
    """Return the wrists of `which` hands, a key of SIDES; "hands" are those that the store has.

    `metres_per_unit` are the metres in a scene unit, None if that is not known. In the camera's frame, places are in
    metres: by `metres_per_unit`, else as the hand itself says. In the world's, they are in the scene's unit, or metres
    if `metres_per_unit` is known, and a wrist is known only where the frame has a pose and the hand the scene's unit.

    Raises StoreError that names the remedy if the store lacks such a hand, or does not say its unit; ConfigError for
    another word.
    """
    if which not in SIDES or frame not in FRAMES:
        wrong, known = (f"state={which}", SIDES) if which not in SIDES else (f"state_frame={frame}", FRAMES)
        raise ConfigError(f"--set {wrong}: expected one of {', '.join(known)}")
    hands = {side: _hand(video, side) for side in SIDES[which]}
    found = {side: hand for side, hand in hands.items() if hand is not None}
    if not found or (which != "hands" and len(found) < len(hands)):
        raise StoreError(
            f"{video.path} holds no {'hand' if which == 'hands' else f'{which} hand'}, so there is no state to export; "
            "run a pipeline that has the slot hands, or leave --set state out"
        )
    placed = _in_camera if frame == "camera" else _in_world
    values = np.concatenate([placed(video, hand, metres_per_unit) for hand in found.values()], axis=1)
    unit = "m" if frame == "camera" or metres_per_unit is not None else "scene"
    return HandState([f"{side}.{part}" for side in found for part in _PARTS], values.astype(np.float32), unit, frame)


def _hand(video: Video, side: str) -> Hand | None:
    hand: Hand | None = getattr(video.hands, side, None)
    return hand if hand is not None and hand.valid.any() else None


def _in_camera(video: Video, hand: Hand, metres_per_unit: float | None) -> np.ndarray:
    factor = hand.metres_per_unit
    if metres_per_unit is not None:
        factor = np.where(hand.in_scene_units(video.metric), metres_per_unit, 1)
    if factor is None:
        raise StoreError(
            f"{video.path} does not say in which unit its hands are, since an earlier version wrote it; run the "
            "pipeline again, or take --set state_frame=world, which has the scene's unit"
        )
    return _rows(hand.wrist.astype(np.float64), hand.valid, factor)


def _in_world(video: Video, hand: Hand, metres_per_unit: float | None) -> np.ndarray:
    cameras = cameras_of(video)
    known = hand.in_scene_units(video.metric) & cameras.valid
    if not known.any():
        raise StoreError(
            f"{video.path} has no frame in which a hand has a place in the world: it needs the camera's pose, and a "
            "hand in the scene's unit; take --set state_frame=camera"
        )
    world_from_cam = invert(cameras.cam_from_world.astype(np.float64))
    return _rows(world_from_cam @ hand.wrist, known, np.full(len(video), metres_per_unit or 1.0))


def _rows(wrist: np.ndarray, known: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return the ten numbers (T, 10) of wrists (T, 4, 4); the place is times `factor` (T,)."""
    place, rotation = wrist[:, :3, 3] * factor[:, None], wrist[:, :3, :2].transpose(0, 2, 1).reshape(-1, 6)
    pose = np.concatenate([place, rotation], axis=1)
    known = known & np.isfinite(pose).all(1)
    return np.concatenate([np.where(known[:, None], pose, np.nan), known[:, None]], axis=1)
