"""Judge whether a track is a hand: the landmark network must still see one over time and in second looks.

The network also gives high scores to single frames of an animal's ear, a leg or a fold of cloth. A hand stays a hand
if the same place is cut out mirrored, larger, smaller or turned; most other things do not. The scores of a track's
frames and those of its second looks are therefore taken together.

Measured on videos with and without hands, on tracks of at least three frames: hands of 40 px and more had 0.82 to 1.00,
except one short track with 0.72; spots, ears and legs of cows, dogs, cats and horses had 0.51 to 0.77. Two things in an
office had 0.87 and 0.82. A hand is attached to an arm, and the network still sees it where the cut shows the arm, too:
in cuts of 1.6 times the side 11 tracks of hands had scores of 0.65 to 0.98, and these two things 0.55 and 0.28.
A tennis player's leg (0.84, 0.62) passes both.

What was measured on the same tracks and does not separate hands from other things: stability of the handedness, of the
palm's bone lengths and of the motion; the colour of the palm against that of the arm, since sleeves differ, too; how
grey it is (0.10 for a thing, 0.16 for hands, and light changes it by more); looks in grey, blurred, darker, brighter,
smaller or turned by 0.8 rad.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from geoflow.geometry.hands.hand_search import Eye, Place, Sight
from geoflow.geometry.hands.hand_sides import HandTrack

_FRAMES = 5  # of a track, evenly spread, that are looked at again
_WIDE = 1.6  # factor of the square's side that shows the arm
_ATTACHED = 0.63  # of `min_belief`: least belief times the score of wide looks, so 0.50 for 0.79
_LEAST_FRAMES = 3  # that show a hand; in a shorter segment, all
# Of the second looks: mirrored, factor of the square's side, further turn in rad.
_LOOKS = ((True, 1.0, 0.0), (False, 1.3, 0.0), (False, 0.8, 0.0), (False, 1.0, 0.35), (False, 1.0, -0.35))


def only_hands(
    found: Sequence[Sequence[Sight]],
    tracks: Sequence[HandTrack],
    frames: Sequence[np.ndarray],
    eye: Eye,
    min_belief: float,
) -> list[HandTrack]:
    """Return the tracks that are hands: seen in several frames, `min_belief` or more of `belief`, and `attached`.

    `found` holds the sights of each frame, whose detections the tracks link; `frames` the pictures, (H, W, 3) uint8. A
    track of fewer than 3 frames is no hand, unless the segment itself is shorter. `min_belief` 0 keeps all tracks.
    """
    if not min_belief:
        return list(tracks)
    places = {id(sight.detection): sight.place for sights in found for sight in sights}
    least = min(_LEAST_FRAMES, len(frames))
    hands = []
    for track in tracks:
        if len(track.frames) < least or (sure := belief(track, places, frames, eye)) < min_belief:
            continue
        # In photos, hands were seen to fill the picture, so that a wide look leaves it: they are not judged by that.
        if len(track.frames) < _LEAST_FRAMES or sure * attached(track, places, frames, eye) >= _ATTACHED * min_belief:
            hands.append(track)
    return hands


def belief(track: HandTrack, places: dict[int, Place], frames: Sequence[np.ndarray], eye: Eye) -> float:
    """Return how surely a track is a hand, 0 to 1.

    It is the geometric mean of the median score of the track's frames and the mean score of second looks at up to 5 of
    these frames. A second look that sees nothing counts as 0. `places` maps a detection's id() to its place.
    """
    again = [score for rgb, place in _chosen(track, places, frames) for score in _second_looks(rgb, place, eye)]
    first = float(np.median([detection.score for detection in track.detections]))
    return float(np.sqrt(first * np.mean(again)))


def attached(track: HandTrack, places: dict[int, Place], frames: Sequence[np.ndarray], eye: Eye) -> float:
    """Return the mean score of a track in cuts so wide that they show an arm, 0 to 1."""
    wide = [
        eye.look(rgb, Place(place.x, place.y, place.side * _WIDE, place.turn))
        for rgb, place in _chosen(track, places, frames)
    ]
    return float(np.mean([0.0 if sight is None else sight.detection.score for sight in wide]))


def _chosen(
    track: HandTrack, places: dict[int, Place], frames: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, Place]]:
    """Yield the pictures of up to 5 frames of a track, and its place there."""
    for j in np.unique(np.linspace(0, len(track.frames) - 1, _FRAMES).round().astype(int)):
        yield frames[track.frames[j]], places[id(track.detections[j])]


def _second_looks(rgb: np.ndarray, place: Place, eye: Eye) -> list[float]:
    scores = []
    mirrored = np.ascontiguousarray(rgb[:, ::-1])
    for mirror, factor, turn in _LOOKS:
        x = rgb.shape[1] - 1 - place.x if mirror else place.x
        turned = (-place.turn if mirror else place.turn) + turn
        sight = eye.look(mirrored if mirror else rgb, Place(x, place.y, place.side * factor, turned))
        scores.append(0.0 if sight is None else sight.detection.score)
    return scores
