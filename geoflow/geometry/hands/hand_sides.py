"""Left and right hands: detections of single frames become hands through a segment, each of one side.

A detector judges the side frame by frame, and is sometimes wrong. Here detections are first linked over time into
tracks by their place in the image, and tracks of a hand that was out of sight for a while are joined. Each track then
takes the side that its frames vote for. Where several hands of a side are in a frame, the strongest is the main one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SIDES = ("left", "right")
# Bones whose length changes neither when fingers bend nor in a fist.
PALM = ((0, 5), (0, 9), (0, 13), (0, 17), (5, 9), (9, 13), (13, 17))
_PALM_BONES = ((0, 5), (0, 17), (5, 17))
_SEVERAL = 5  # frames


def palm_size(shape: np.ndarray) -> float:
    """Return the mean length of the palm's bones of (21, 3) joints, in their unit."""
    return float(np.mean([np.linalg.norm(shape[a] - shape[b]) for a, b in PALM]))


@dataclass(frozen=True)
class Detection:
    """One hand in one frame."""

    uv: np.ndarray  # (21, 2) px, MediaPipe/OpenPose order: wrist, then thumb to little finger, base to tip
    shape_m: np.ndarray  # (21, 3) metres about the hand's centre, axes parallel to the camera's
    right: float  # 0..1, probability that it is the person's right hand
    score: float  # 0..1, probability that it is a hand

    @property
    def size_px(self) -> float:
        """Return the diagonal of the box around the joints."""
        return float(np.linalg.norm(np.ptp(self.uv, axis=0)))

    @property
    def px_per_m(self) -> float:
        """Return pixels per metre at the hand: its palm's length in pixels over that in metres, seen from far away."""
        seen = sum(float(np.linalg.norm(self.uv[a] - self.uv[b])) for a, b in _PALM_BONES)
        flat = sum(float(np.linalg.norm(self.shape_m[a, :2] - self.shape_m[b, :2])) for a, b in _PALM_BONES)
        return seen / max(flat, 1e-6)


@dataclass
class HandTrack:
    """The detections of one hand through a segment."""

    frames: list[int]
    detections: list[Detection]

    def evidence(self) -> float:
        """Return the sum of votes: positive for a right hand, negative for a left hand."""
        return float(sum(2 * d.right - 1 for d in self.detections))

    def size_px(self) -> float:
        return float(np.median([d.size_px for d in self.detections]))

    def palm_size(self) -> float:
        """Return the median mean length of its palms' bones, metres."""
        return float(np.median([palm_size(d.shape_m) for d in self.detections]))

    def strength(self) -> float:
        """Return how much it counts as the hand of its side: many votes for it, and large, so near."""
        return abs(self.evidence()) * self.size_px()

    def right(self) -> float:
        """Return the mean probability that it is a right hand."""
        return 0.5 + 0.5 * self.evidence() / len(self.frames)

    def certainty(self) -> float:
        """Return the mean probability of the side that the track takes: 0.5..1."""
        return 0.5 + 0.5 * abs(self.evidence()) / len(self.frames)


def follow(
    frames: Sequence[Sequence[Detection]],
    *,
    max_gap: int = 3,
    max_jump: float = 0.6,
    max_loss: int = 20,
    reach_m: float = 1 / 30,
    sure: float = 0.9,
) -> list[HandTrack]:
    """Link the detections of each frame into tracks of one hand each.

    A detection continues a track if its joints moved, on average, by less than `max_jump` of the hand's size since the
    track's last frame, at most `max_gap` frames ago. A track that ends continues in a track that begins at most
    `max_loss` frames later, within the distance that a hand moves at `reach_m` metres per frame, unless both are `sure`
    (mean probability) of different sides.
    """
    return _join(_link(frames, max_gap, max_jump), max_loss, max_jump, reach_m, sure)


def sides_of(tracks: Sequence[HandTrack], num_frames: int, *, sure: float = 0.9) -> list[str]:
    """Return the side of each track: the one that it votes for, except where both hands of a person vote for the same.

    If a stronger track has a track's side in most of its frames, and the other side is free there, the track goes to
    the free side: a detector often calls both hands of a person the same. If its own votes are `sure` (mean
    probability) of its side, it keeps it: it is a second person's hand.
    """
    taken = {side: np.zeros(num_frames, bool) for side in SIDES}
    sides = [""] * len(tracks)
    for k in sorted(range(len(tracks)), key=lambda k: -tracks[k].strength()):
        frames, right = tracks[k].frames, tracks[k].evidence() > 0
        side, other = ("right", "left") if right else ("left", "right")
        lost, free = taken[side][frames].sum(), (~taken[other][frames]).sum()
        if 2 * lost > len(frames) and free > len(frames) - lost and tracks[k].certainty() < sure:
            side = other
        taken[side][frames] = True
        sides[k] = side
    return sides


def main_hands(seen: np.ndarray, sides: Sequence[str], strength: Sequence[float]) -> dict[str, np.ndarray]:
    """Return the main hand of each side in each frame: of the hands of that side seen there, the strongest.

    seen (K, T) bool, a side and a strength for each of K hands; returns "left" and "right", (T,) int64 with the number
    of a hand, -1 where there is none.
    """
    main = {side: np.full(seen.shape[1], -1) for side in SIDES}
    for k in sorted(range(len(seen)), key=lambda k: strength[k]):
        main[sides[k]][seen[k]] = k
    return main


def drop_duplicates(detections: Sequence[Detection], *, closer_than: float = 0.25) -> list[Detection]:
    """Keep the best of detections that lie on the same hand: mean joint distance below a share of the hand's size."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if all(_distance(detection, other) >= closer_than * max(detection.size_px, other.size_px) for other in kept):
            kept.append(detection)
    return kept


def _distance(a: Detection, b: Detection) -> float:
    return float(np.linalg.norm(a.uv - b.uv, axis=1).mean())


def _link(frames: Sequence[Sequence[Detection]], max_gap: int, max_jump: float) -> list[HandTrack]:
    tracks: list[HandTrack] = []
    for i, raw in enumerate(frames):
        detections = drop_duplicates(raw)
        alive = [t for t in tracks if i - t.frames[-1] <= max_gap]
        pairs = sorted(
            (_distance(track.detections[-1], detection) / max(detection.size_px, 1e-6), k, j)
            for k, track in enumerate(alive)
            for j, detection in enumerate(detections)
        )
        used_tracks: set[int] = set()
        used: set[int] = set()
        for cost, k, j in pairs:
            if cost <= max_jump and k not in used_tracks and j not in used:
                alive[k].frames.append(i)
                alive[k].detections.append(detections[j])
                used_tracks.add(k)
                used.add(j)
        tracks += [HandTrack([i], [d]) for j, d in enumerate(detections) if j not in used]
    return tracks


def _join(tracks: list[HandTrack], max_loss: int, max_jump: float, reach_m: float, sure: float) -> list[HandTrack]:
    """Join tracks of one hand that was lost in between, the nearest ends first."""
    pairs = []
    for a, earlier in enumerate(tracks):
        for b, later in enumerate(tracks):
            lost = later.frames[0] - earlier.frames[-1] - 1
            if 0 <= lost <= max_loss and not _contradict(earlier, later, sure):
                end, start = earlier.detections[-1], later.detections[0]
                scale = min(end.px_per_m, start.px_per_m)
                allowed = max_jump * start.size_px + reach_m * (lost + 1) * scale
                if (distance := _distance(end, start)) <= allowed and 0.5 < end.px_per_m / start.px_per_m < 2:
                    pairs.append((distance / max(start.size_px, 1e-6), a, b))
    follower: dict[int, int] = {}
    for _, a, b in sorted(pairs):
        if a not in follower and b not in follower.values():
            follower[a] = b
    joined = []
    for a in sorted(set(range(len(tracks))) - set(follower.values())):
        whole = HandTrack(list(tracks[a].frames), list(tracks[a].detections))
        while a in follower:
            a = follower[a]
            whole.frames += tracks[a].frames
            whole.detections += tracks[a].detections
        joined.append(whole)
    return joined


def _contradict(a: HandTrack, b: HandTrack, sure: float) -> bool:
    """Return whether both tracks are sure, over several frames, of different sides: a single frame proves nothing."""
    long = min(len(a.frames), len(b.frames)) >= _SEVERAL
    return long and a.certainty() >= sure and b.certainty() >= sure and a.evidence() * b.evidence() < 0
