"""What became of a film: whether its structure has near and far where they are, and how good it is otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geoflow.bench.reversal.mirrored_world import Contest, contest
from geoflow.fields import DOUBT_NONE
from geoflow.geometry.depth.depth_order import rank_correlation
from geoflow.geometry.motion.camera_motion import Chains
from geoflow.geometry.motion.structure import Structure, median_angle_deg
from geoflow.geometry.rigid import invert, umeyama
from geoflow.synth.films.track_film import FilmTruth

RIGHT_RANK = 0.8
_LEAST_POINTS = 20  # of a frame, for a rank correlation
_LEAST_ANGLE_DEG = 2.0
_LEAST_EXCESS = 0.5  # of the residual of the true world: by this much the mirrored one is worse

OUTCOMES = RIGHT, UNCLEAR, REVERSED, REFUSED = "right", "unclear", "reversed", "refused"


@dataclass(frozen=True)
class FilmScore:
    """Figures of one film; NaN where there is nothing to measure."""

    outcome: str  # of the structures returned, the worst: reversed, unclear, right; refused if there is none
    rank: float  # of the structure with most frames: median over frames of the rank correlation of depth with the truth
    posed: float  # share of frames
    ate_percent: float  # of the path's length
    focal_error: float  # estimated over true focal length, minus 1
    focal_deviation: float  # as the structure states it, relative
    lens: int  # geoflow.fields.DOUBT_*: what the structure says of its lens
    angle_deg: float  # under which true cameras see a point: median of the widest
    true_rank: float  # rank of the true world after adjustment to these tracks: the best to be had
    true_px: float  # what the true world leaves, and its mirror image, both adjusted
    mirrored_px: float
    mirrored_rank: float  # of the mirror image after adjustment; positive if it found its way back

    @property
    def tellable(self) -> bool:
        """Whether the film can be reconstructed and its mirror image be told apart, so that a refusal is a loss."""
        excess = np.sqrt(max(0.0, self.mirrored_px**2 - self.true_px**2))
        return bool(
            self.angle_deg >= _LEAST_ANGLE_DEG
            and self.true_rank >= RIGHT_RANK
            and (excess >= _LEAST_EXCESS * self.true_px or self.mirrored_rank > RIGHT_RANK)
        )


def score_film(structures: Sequence[Structure], chains: Chains, truth: FilmTruth) -> FilmScore:
    """Judge the structures that a reconstruction returned: those that have a valid frame are called valid by that."""
    both = contest(chains.uv, truth, chains.keyframes, (chains.height, chains.width))
    both = both or Contest(*[float("nan")] * 4)
    followed = np.where(truth.sound.sum(0) >= 2, 1.0, np.nan)[:, None] * truth.xyz
    angle = median_angle_deg(chains, truth.cam_from_world, followed)
    unknown = float("nan")
    judged = FilmScore(
        outcome=REFUSED,
        rank=unknown,
        posed=0.0,
        ate_percent=unknown,
        focal_error=unknown,
        focal_deviation=unknown,
        lens=DOUBT_NONE,
        angle_deg=angle,
        true_rank=both.true_rank,
        true_px=both.true_px,
        mirrored_px=both.mirrored_px,
        mirrored_rank=both.mirrored_rank,
    )
    structures = [structure for structure in structures if structure.valid.any()]
    if not structures:
        return judged
    first, ranks = structures[0], [depth_rank(structure, truth) for structure in structures]
    return replace(
        judged,
        outcome=outcome(ranks),
        rank=ranks[0],
        posed=float(first.valid.mean()),
        ate_percent=ate_percent(first, truth),
        focal_error=float(first.intrinsics[0, 0] / truth.intrinsics[0, 0]) - 1,
        focal_deviation=first.focal_error,
        lens=first.lens,
    )


def outcome(ranks: Sequence[float]) -> str:
    """Name the worst of the structures by their ranks; one whose rank is unknown is unclear."""
    if any(rank < 0 for rank in ranks):
        return REVERSED
    return RIGHT if all(rank > RIGHT_RANK for rank in ranks) else UNCLEAR


def depth_rank(structure: Structure, truth: FilmTruth) -> float:
    """Return the median over posed frames of Spearman's correlation of depth with the truth; NaN for too few points.

    Only points that are followed soundly in the frame count.
    """
    ranks = []
    for t in np.flatnonzero(structure.valid):
        depth = structure.xyz @ structure.cam_from_world[t, 2, :3] + structure.cam_from_world[t, 2, 3]
        use = np.isfinite(depth) & truth.sound[t]
        if use.sum() >= _LEAST_POINTS:
            ranks.append(rank_correlation(depth[use], truth.depth[t, use]))
    return float(np.median(ranks)) if ranks else float("nan")


def ate_percent(structure: Structure, truth: FilmTruth) -> float:
    """Return the RMSE of camera centres after alignment, in percent of the true path's length; NaN below 3 frames."""
    posed = structure.valid
    if posed.sum() < 3:
        return float("nan")
    centers, true = invert(structure.cam_from_world[posed])[:, :3, 3], invert(truth.cam_from_world)[:, :3, 3]
    length = np.linalg.norm(np.diff(true, axis=0), axis=1).sum()
    off = umeyama(centers, true[posed]).apply(centers) - true[posed]
    return float(100 * np.sqrt((off**2).sum(1).mean()) / length)
