"""Stitch: one world frame and one scale for the whole video. Each segment is aligned to the one before by overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import StageError
from geoflow.fields import FIELDS, MOTION_STILL, UNIT_PRIOR
from geoflow.segments import Segment
from geoflow.stage import Fields, Stage, param
from geoflow.values.field import BRANCHES, PAST

if TYPE_CHECKING:
    from geoflow.geometry.rigid import Sim3
    from geoflow.geometry.seams import Join

_HELD = "held."  # prefix of held fields in the state
_POINTS = "points."  # prefix of held points
_METRES, _FREE = "metres", "free"  # the units of a video's lengths; "" until the first lengths are found
_JOINT = ("joint.frame", "joint.before", "joint.after")
_LEAST_JUDGED = 2  # frames with prior and camera depth, before one is held against the other
_MAX_BRIDGE_GAP = 0.15  # median relative depth gap above which two views are not the same still view


class Stitch(Stage):
    """Joins segments: Sim(3) between neighbouring worlds, one scale, cross-faded seams.

    The frames that a segment shares with the next segment are held back until the next segment comes. So the frames up
    to the start of the next segment are returned. Points stay whole, and a point that both segments follow fades from
    the one's places to the other's. A field's row in the field table says how the field moves and fades. The prior
    passes unchanged, since it has its own scale in every frame. If the camera's poses are known poses, their world and
    unit become the video's. Segments with cameras in the same world are joined exactly, by these cameras. Other
    segments are joined by the depth of the frames that they share.

    What cannot be known is not made up. If a segment's camera shares no valid frame with the frames before, the segment
    gets `camera.valid` False, unless the camera stood still in between. Orientations, which a camera that only turns
    also has, are kept if shared frames connect them. If a segment's depth shares no pixel with the frames before, its
    depth is masked out and its `stitch.scale` is NaN.

    Where two chapters meet, both poses of the frames that they share are given on (`joint.*`): once the whole video is
    known, the store's path is bent until they agree.

    A hand keeps its number and its row if it is seen in frames that two segments share.

    The user's labels are never lost: if a backend for objects was given them and failed, they are read again.
    """

    slot = "stitch"
    inputs = ("frames.index", "frames.time")
    outputs = ("frames.index", "frames.time", "stitch.scale", "stitch.seam_residual")
    ordered = True
    version = "6"

    @dataclass(frozen=True)
    class Params(Stage.Params):
        median_depth: float = param(
            2.0, "median depth of the first segment after scaling, when depth is not metric", at_least=1e-3, at_most=1e4
        )
        metric: tuple[str, ...] = param((), "the branches whose lengths are metres", bound_by_run=True)
        camera_unit: tuple[str, ...] = param(
            (), "the branches whose lengths have the unit that `camera.unit` says", bound_by_run=True
        )

    def __init__(self, params: Stage.Params | None = None) -> None:
        super().__init__(params)
        passing = (name for name, row in FIELDS.items() if row.fade != PAST and name not in self.inputs)
        self.optional = tuple(passing)
        self.optional_outputs = (*self.optional, *_JOINT, "stitch.metric", "stitch.depth_ratio")

    def process(self, segment: Segment, fields: Fields) -> Fields:
        """Align one segment, fade it into the held frames, return all frames that are final now."""
        from geoflow.geometry import seams
        from geoflow.geometry.track_seams import faded_points

        if segment.is_first:
            self.carried = {}
        fields = _judged_by_prior(_with_users_labels(segment, fields))
        shared = self._shared_frames(segment, fields["frames.index"])
        count = len(segment) - segment.overlap_after
        held, points = self._kept(_HELD), self._kept(_POINTS)
        held, fields = seams.complete(held, shared, fields, len(segment))
        fields = self._with_known_hands(held, fields, shared)
        metric = self._metric(segment, fields)
        join = self._join(segment, held, fields, shared, metric)
        moved = seams.move(fields, join, known_scale=bool(self.carried.get("scaled")))
        gap = seams.seam_gap(held, moved, shared)
        chapters = self._two_opinions(segment, held, fields, moved, shared)
        for name, faded in seams.fade(held, moved, shared).items():
            if moved[name] is fields[name]:  # the input itself, which is read-only
                moved[name] = moved[name].copy()
            moved[name][:shared] = faded
        moved |= faded_points(points, moved, shared)
        self._remember(fields["frames.index"], moved, join, count, metric)
        result = {name: array[:count] if FIELDS[name].cut else array for name, array in moved.items()}
        scale = join.camera_scale if join.camera_scale is not None else join.geometry_scale
        result["stitch.scale"] = np.array([np.nan if scale is None else scale], np.float32)
        result["stitch.seam_residual"] = np.array([gap], np.float32)
        result |= chapters
        if self._claimed(segment, fields):
            result["stitch.metric"] = np.array([self.carried["units"] != _FREE])
        if metric >= {*BRANCHES}:
            ratio = _ratio(fields.get("camera.depth"), seams.depth_of(fields))
            result["stitch.depth_ratio"] = np.array([np.nan if ratio is None else ratio], np.float32)
        return result

    def _two_opinions(self, segment: Segment, held: Fields, fields: Fields, moved: Fields, shared: int) -> Fields:
        """Return `joint.*` of the frames that have two poses; {} where both sides are of one chapter."""
        if segment.video.given_world or not {"camera.valid", "camera.cam_from_world"} <= held.keys():
            return {}
        if self._same_world(held, {name: fields[name][:shared] for name in ("camera.valid", "camera.cam_from_world")}):
            return {}
        both = np.flatnonzero(held["camera.valid"] & moved["camera.valid"][:shared])
        if len(both) < 2:
            return {}
        poses = (part["camera.cam_from_world"][both] for part in (held, moved))
        return dict(zip(_JOINT, (segment.start + both, *poses)))

    def _kept(self, prefix: str) -> Fields:
        return {name.removeprefix(prefix): value for name, value in self.carried.items() if name.startswith(prefix)}

    def _with_known_hands(self, held: Fields, fields: Fields, shared: int) -> Fields:
        """Return the fields with the hands numbered through the video, those of the shared frames by their numbers."""
        if "hands.all.id" not in fields:
            return fields
        from geoflow.geometry.hands.hand_identity import continued

        fields, self.carried["hands.next"] = continued(held, fields, shared, int(self.carried.get("hands.next", 1)))
        return fields

    def _claimed(self, segment: Segment, fields: Fields) -> set[str]:
        """Return the branches whose lengths are metres, as their stages or the user state it.

        For known poses only the user can state it. Otherwise their unit is the video's unit, whatever a stage states.
        """
        if segment.video.given_world:
            return {"camera", *self.params.metric} if segment.video.metric else set()
        whole_video = {"camera" if "camera.valid" in fields else "geometry"} if segment.video.metric else set()
        return {*self.params.metric, *whole_video}

    def _metric(self, segment: Segment, fields: Fields) -> set[str]:
        """Return the branches of this segment that are in metres and stay in metres.

        There are none if the video's scale was chosen before any branch in metres came: a video has only one scale.
        """
        claimed = self._claimed(segment, fields)
        if segment.video.given_world:
            return claimed
        if self.carried.get("units") == _FREE:
            return set()
        if not _keeps_unit(fields):
            claimed = claimed - {"camera", *self.params.camera_unit}
        return {branch for branch in claimed if any(FIELDS[n].slot == branch for n in fields)}

    def _shared_frames(self, segment: Segment, index: np.ndarray) -> int:
        kept = self.carried.get("kept.index", np.zeros(0, np.int64))
        if len(kept) != segment.overlap_before or not np.array_equal(kept, index[: len(kept)]):
            raise StageError(
                f"stitch got {segment} with {segment.overlap_before} shared frames from source frame {index[:1]}, but "
                f"kept {len(kept)} from {kept[:1]}; segments of a video must come in order, without gaps"
            )
        return len(kept)

    def _join(self, segment: Segment, held: Fields, fields: Fields, shared: int, metric: set[str]) -> Join:
        from geoflow.geometry.seams import Join, depth_of, joined

        geometry = depth_of(fields)
        own = _ratio(fields.get("camera.depth"), geometry)  # brings geometry to the camera branch's scale
        if segment.video.given_world:
            return self._in_given_world(held, fields, shared, own, metric)
        now = {name: fields[name][:shared] for name in joined(fields)}
        turn = self._turn(held, fields, now)
        if metric or self.carried.get("units") == _METRES:
            return self._in_metres(held, fields, now, own, turn, metric)
        if not self.carried.get("scaled"):
            return self._found(held, fields, now, own, turn)
        world = self._same_world(held, now)
        camera_scale = world.scale if world is not None else _camera_scale(held, now, own)
        if camera_scale is None and not self.carried.get("world") and fields.get("camera.valid", np.zeros(1)).any():
            camera_scale = self._first_scale(fields)  # the first poses of the video define its world
        world = world or self._world(held, fields, now, camera_scale, turn)
        if world is None and (bridge := self._bridge(fields)) is not None:
            world, camera_scale = bridge, bridge.scale
        if camera_scale is not None and own is not None:
            geometry_scale: float | None = camera_scale * own
        else:
            geometry_scale = _ratio(depth_of(held), depth_of(now)) or _ratio(held.get("camera.depth"), depth_of(now))
        return Join(camera_scale, geometry_scale, world, turn if world is None else world.rotation)

    def _in_given_world(self, held: Fields, fields: Fields, shared: int, own: float | None, metric: set[str]) -> Join:
        """Return the join for known poses: they and their unit stay unchanged. Geometry is scaled to them by shared
        depth, unless both are in metres.

        Geometry that shares no depth with the segment's cameras or with the frames before has no known scale.
        """
        from geoflow.geometry.rigid import Sim3
        from geoflow.geometry.seams import Join, depth_of

        now = {name: value[:shared] for name, value in fields.items() if name.startswith("geometry.")}
        scale = 1.0 if "geometry" in metric else own
        scale = scale or _ratio(depth_of(held), depth_of(now)) or _ratio(held.get("camera.depth"), depth_of(now))
        return Join(1.0, scale, Sim3.identity(), np.eye(3))

    def _in_metres(
        self,
        held: Fields,
        fields: Fields,
        now: Fields,
        own: float | None,
        turn: np.ndarray | None,
        metric: set[str],
    ) -> Join:
        """Return the join for branches in metres: they keep their scale. The other branch is scaled to them by the
        depth of the same pixels.

        Without such pixels its scale comes from the frames before. If these do not give it either, it cannot be
        connected.
        """
        from geoflow.geometry.seams import Join, depth_of

        camera_scale: float | None = 1.0 if "camera" in metric else None
        geometry_scale: float | None = 1.0 if "geometry" in metric else None
        world = None if camera_scale is not None else self._same_world(held, now)
        if world is not None:
            camera_scale = world.scale
        elif camera_scale is None:
            camera_scale = 1 / own if geometry_scale is not None and own is not None else _camera_scale(held, now, own)
        if geometry_scale is None and camera_scale is not None and own is not None:
            geometry_scale = camera_scale * own
        elif geometry_scale is None:
            geometry_scale = _ratio(depth_of(held), depth_of(now)) or _ratio(held.get("camera.depth"), depth_of(now))
        world = world or self._world(held, fields, now, camera_scale, turn)
        if world is None and (bridge := self._bridge(fields, camera_scale)) is not None:
            world, camera_scale = bridge, bridge.scale
        return Join(camera_scale, geometry_scale, world, turn if world is None else world.rotation)

    def _found(self, held: Fields, fields: Fields, now: Fields, own: float | None, turn: np.ndarray | None) -> Join:
        """Choose the video's scale if nothing is in metres, so that the median depth suits float16.

        This is also used for cameras without any depth; their scale then follows from their centres.
        """
        from geoflow.geometry.seams import Join, depth_of

        geometry = _median(depth_of(fields))
        camera_scale: float | None = self._first_scale(fields)
        world = self._same_world(held, now)
        if self.carried.get("world"):
            camera_scale = world.scale if world is not None else _camera_scale(held, now, own)
        if own is not None and camera_scale is not None:
            geometry_scale: float | None = camera_scale * own
        else:
            geometry_scale = self.params.median_depth / geometry if geometry else None
        world = world or self._world(held, fields, now, camera_scale, turn)
        return Join(camera_scale, geometry_scale, world, turn if world is None else world.rotation)

    def _first_scale(self, fields: Fields) -> float:
        camera = _median(fields.get("camera.depth"))
        return self.params.median_depth / camera if camera else 1.0

    def _same_world(self, held: Fields, now: Fields) -> Sim3 | None:
        """Return the exact transform from the segment's world to the video's, if shared frames have the same
        cameras."""
        from geoflow.geometry.alignment import same_world

        if not self.carried.get("world") or "camera.valid" not in now or "camera.valid" not in held:
            return None
        both = held["camera.valid"] & now["camera.valid"]
        return same_world(held["camera.cam_from_world"][both], now["camera.cam_from_world"][both])

    def _turn(self, held: Fields, fields: Fields, now: Fields) -> np.ndarray | None:
        """Return the rotation from the segment's world to the video's; the video's first orientation defines it."""
        from geoflow.geometry.alignment import common_turn
        from geoflow.geometry.seams import oriented

        if "camera.valid" not in fields or not (known := oriented(fields)).any():
            return None
        if not self.carried.get("turned"):
            return fields["camera.cam_from_world"][known.argmax(), :3, :3].astype(np.float64)
        if not held:
            return None
        both = oriented(held) & oriented(now)
        return common_turn(*(f["camera.cam_from_world"][both, :3, :3] for f in (held, now)))

    def _world(
        self, held: Fields, fields: Fields, now: Fields, scale: float | None, turn: np.ndarray | None
    ) -> Sim3 | None:
        from geoflow.geometry.alignment import connect
        from geoflow.geometry.rigid import Sim3, invert

        if scale is None or "camera.valid" not in fields or not fields["camera.valid"].any():
            return None
        poses, valid = fields["camera.cam_from_world"], fields["camera.valid"]
        if not self.carried.get("world"):
            first = poses[valid.argmax()].astype(np.float64)  # its centre is the world's origin
            turn = first[:3, :3] if turn is None else turn
            return Sim3(scale, turn, -scale * turn @ invert(first)[:3, 3])
        if not held:
            return None
        both = held["camera.valid"] & now["camera.valid"]
        return connect(held["camera.cam_from_world"][both], now["camera.cam_from_world"][both], scale)

    def _bridge(self, fields: Fields, scale: float | None = None) -> Sim3 | None:
        """Connect over frames without poses in which the camera stood still throughout, by `scale` if known.

        The last view before these frames and the first view after them are then the same view. Their depth must agree
        in shape; otherwise there is no connection.
        """
        from geoflow.geometry.alignment import connect, relative_gap

        if not self.carried.get("anchor.still") or "camera.motion" not in fields or not fields["camera.valid"].any():
            return None
        first = int(np.flatnonzero(fields["camera.valid"])[0])
        if (fields["camera.motion"][:first] != MOTION_STILL).any():
            return None
        anchor, depth = self.carried["anchor.depth"], fields["camera.depth"][first]
        scale = _ratio(anchor, depth) if scale is None else scale
        if scale is None or not relative_gap(anchor, depth.astype(np.float32) * scale) <= _MAX_BRIDGE_GAP:
            return None
        return connect(self.carried["anchor.pose"][None], fields["camera.cam_from_world"][first][None], scale)

    def _remember(self, index: np.ndarray, moved: Fields, join: Join, count: int, metric: set[str]) -> None:
        from geoflow.geometry.seams import depth_of, joined
        from geoflow.geometry.track_seams import kept_points

        scaled = any(_median(depth) for depth in (moved.get("camera.depth"), depth_of(moved)))
        founded = _METRES if metric else _FREE if scaled or join.world is not None else ""
        state: dict[str, Any] = {
            "kept.index": index[count:].copy(),
            "hands.next": int(self.carried.get("hands.next", 1)),
            "units": self.carried.get("units") or founded,
            "world": bool(self.carried.get("world")) or join.world is not None,
            "turned": bool(self.carried.get("turned")) or join.turn is not None,
            "scaled": bool(self.carried.get("scaled")) or scaled,
            **self._anchor(moved),
        }
        # Copies, so that the memory of the whole segment can be freed.
        state |= {_HELD + name: moved[name][count:].copy() for name in joined(moved)}
        state |= {_POINTS + name: value for name, value in kept_points(moved, count).items()}
        self.carried = state

    def _anchor(self, moved: Fields) -> dict[str, Any]:
        """Return the last frame with pose and depth, and whether the camera has stood still since then."""
        from geoflow.geometry.alignment import MIN_PIXELS

        if "camera.motion" not in moved or "camera.depth" not in moved:
            return {}
        still = moved["camera.motion"] == MOTION_STILL
        for i in np.flatnonzero(moved["camera.valid"])[::-1]:
            depth = moved["camera.depth"][i]
            if np.count_nonzero(depth) >= MIN_PIXELS:
                pose = moved["camera.cam_from_world"][i].copy()
                return {"anchor.pose": pose, "anchor.depth": depth.copy(), "anchor.still": bool(still[i + 1 :].all())}
        earlier = {name: value for name, value in self.carried.items() if name.startswith("anchor.")}
        if earlier:
            earlier["anchor.still"] = bool(earlier["anchor.still"] and still.all())
        return earlier


def _keeps_unit(fields: Fields) -> bool:
    """Return whether the cameras have the unit that their stage states by another's; True where they say nothing."""
    if "camera.unit" not in fields:
        return True
    return bool((fields["camera.unit"][fields["camera.valid"]] == UNIT_PRIOR).all())


def _with_users_labels(segment: Segment, fields: Fields) -> Fields:
    """Return the fields, with the user's labels added if there are some and no stage has passed them on.

    Labels of some frames only are left out: without the stage that finds the objects in the others, the 0 there would
    say that these frames show none.
    """
    if segment.video.labels is None or segment.video.labelled or "objects.label" in fields:
        return fields
    from geoflow.video.frame_reader import read_labels

    return {**fields, "objects.label": read_labels(segment.video, fields["frames.index"], 0, len(segment))}


def _judged_by_prior(fields: Fields) -> Fields:
    """Return the fields with a lower `camera.quality` if camera and prior disagree about what is near and what is far.

    One of both is then wrong, and nothing here tells which one: the poses stay, and their quality says it.
    """
    if not {"camera.quality", "camera.depth", "prior.points", "prior.mask"} <= fields.keys():
        return fields
    from geoflow.geometry.depth.depth_order import order_agreement
    from geoflow.geometry.depth.order_vote import SAME_ORDER

    depth, points, mask = fields["camera.depth"], fields["prior.points"], fields["prior.mask"]
    both = [t for t in range(len(depth)) if mask[t].any() and depth[t].any()]
    rows = [order_agreement(points[t, ..., 2].astype(np.float32), depth[t].astype(np.float32), mask[t]) for t in both]
    rows = [row for row in rows if np.isfinite(row)]
    if len(rows) < _LEAST_JUDGED or (agreement := float(np.median(rows))) >= SAME_ORDER:
        return fields
    lower = np.float32(max(0.0, agreement) / SAME_ORDER)
    return fields | {"camera.quality": fields["camera.quality"] * lower}


def _ratio(target: np.ndarray | None, source: np.ndarray | None) -> float | None:
    from geoflow.geometry.alignment import depth_ratio

    return None if target is None or source is None else depth_ratio(target, source)


def _median(depth: np.ndarray | None) -> float | None:
    """Return the median of the valid depths of a segment; None if there are hardly any."""
    from geoflow.geometry.alignment import MIN_PIXELS

    if depth is None:
        return None
    sample = depth.reshape(-1)[:: max(1, depth.size // 500_000) | 1].astype(np.float32)
    sample = sample[np.isfinite(sample) & (sample > 0)]
    return float(np.median(sample)) if len(sample) >= MIN_PIXELS else None


def _camera_scale(held: Fields, now: Fields, own: float | None) -> float | None:
    """Return the camera branch's scale from the shared frames: by its depth, else geometry, else camera centres."""
    from geoflow.geometry.alignment import center_scale
    from geoflow.geometry.seams import depth_of

    scale = _ratio(held.get("camera.depth"), now.get("camera.depth"))
    if scale is None and own is not None and (chained := _ratio(depth_of(held), depth_of(now))):
        scale = chained / own
    if scale is None:
        scale = _ratio(depth_of(held), now.get("camera.depth"))
    if scale is None and "camera.valid" in now and "camera.valid" in held:
        both = held["camera.valid"] & now["camera.valid"]
        scale = center_scale(held["camera.cam_from_world"][both], now["camera.cam_from_world"][both])
    return scale
