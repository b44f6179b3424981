"""Poses brought into agreement with places that were seen twice: a graph of similarities, solved by Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.geometry.loops.similarity import Similarities

_ROUNDS = 15
_FOLLOWED = 5  # rounds until sure loops may be doubted
_RUNAWAY = 1e6  # a step from which on, or a NaN, it leads nowhere
_DONE = 1e-9  # of a step
# Deviations of what neighbouring keyframes say of each other: translation in steps of the path, rad, log of the scale.
DEVIATION = np.array([0.02] * 3 + [0.002] * 3 + [0.005])
_EXPLAINED = 0.5  # of the loops' contradiction to the path, in which the result may still stand to them
_DOUBT = 5.0  # deviations from which on a loop counts less and less


@dataclass(frozen=True)
class Constraints:
    """What is known of pairs of nodes: `moved` takes points of camera a to camera b, in the unit of each."""

    a: np.ndarray  # (M,) int64
    b: np.ndarray
    moved: Similarities
    steps: np.ndarray  # (M,) keyframes between the two; errors add up over them
    loop: np.ndarray  # (M,) bool: may be wrong
    same: np.ndarray | None = None  # (M,) bool: two nodes are one camera, seen by two reconstructions
    drift: float = 1.0  # how many times its usual deviation all but the loops may be off


def agree(
    nodes: Similarities, constraints: Constraints, *, scaled: bool = True, sure: bool = False
) -> Similarities | None:
    """Return the nodes, cameras from world, that agree best with the constraints. The first stays as it is.

    If not `scaled`, the nodes keep their scales: lengths are known. If `sure`, the loops agree with each other, and are
    doubted only once the path has followed them. None if the result still contradicts most of the
    loops: they are not of one world, and nothing is to be believed.
    """
    rows = constraints
    inverse = 1 / deviations(nodes, rows)
    if not scaled:
        inverse[:, 6] = 0
    first = contradiction(nodes, rows, inverse)
    for number in range(_ROUNDS):
        error = errors(nodes, rows)
        far = np.linalg.norm(error * inverse, axis=1) / _DOUBT
        trust = np.where(rows.loop & (not sure or number >= _FOLLOWED), 1 / (1 + far**2), 1.0)
        step = _solve(len(nodes), rows, error, inverse * np.sqrt(trust)[:, None], scaled)
        if not np.abs(step).max() < _RUNAWAY:
            return None
        nodes = Similarities.of_chart(step).after(nodes)
        if np.abs(step).max() < _DONE and (not sure or number >= _FOLLOWED):
            break
    left = contradiction(nodes, rows, inverse)
    return nodes if left <= max(_DOUBT, _EXPLAINED * first) else None


def deviations(nodes: Similarities, rows: Constraints) -> np.ndarray:
    """Return the deviation (M, 7) of each constraint, in the chart of similarities."""
    between = nodes[rows.b].after(nodes[rows.a].inverse())
    same = np.zeros(len(rows.a), bool) if rows.same is None else rows.same
    chain = ~rows.loop & ~same
    length = np.median(np.linalg.norm(between.translation[chain] / rows.steps[chain, None], axis=1))
    found = DEVIATION * np.array([max(length, 1e-12)] * 3 + [1.0] * 4) * np.sqrt(rows.steps)[:, None]
    found[~rows.loop] *= rows.drift
    return found


def contradiction(nodes: Similarities, rows: Constraints, inverse: np.ndarray) -> float:
    """Return how many deviations loops are off, the median; 0 without loops."""
    return float(np.median(off_by(nodes, rows, inverse)[rows.loop])) if rows.loop.any() else 0.0


def off_by(nodes: Similarities, rows: Constraints, inverse: np.ndarray) -> np.ndarray:
    """Return how many deviations each constraint is off, (M,)."""
    found: np.ndarray = np.linalg.norm(errors(nodes, rows) * inverse, axis=1)
    return found


def errors(nodes: Similarities, rows: Constraints) -> np.ndarray:
    """Return how far constraints are from what the nodes say, as steps (M, 7)."""
    return rows.moved.after(nodes[rows.a]).after(nodes[rows.b].inverse()).chart()


def _solve(count: int, rows: Constraints, error: np.ndarray, inverse: np.ndarray, scaled: bool) -> np.ndarray:
    """Return the step (N, 7) of every node, 0 of the first. Memory grows with the number of constraints."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    by_a = rows.moved.adjoint() * inverse[:, :, None]
    by_b = -np.eye(7) * inverse[:, :, None]
    right = np.zeros((count, 7))
    blocks, at, across = [], [], []
    for row, first in ((rows.a, by_a), (rows.b, by_b)):
        np.add.at(right, row, -np.einsum("nij,ni->nj", first, error * inverse))
        for column, second in ((rows.a, by_a), (rows.b, by_b)):
            blocks.append(np.einsum("nki,nkj->nij", first, second))
            at.append(np.broadcast_to((7 * row[:, None] + np.arange(7))[:, :, None], blocks[-1].shape))
            across.append(np.broadcast_to((7 * column[:, None] + np.arange(7))[:, None, :], blocks[-1].shape))
    values, places = np.concatenate(blocks).ravel(), [np.concatenate(part).ravel() for part in (at, across)]
    matrix = coo_matrix((values, tuple(places)), shape=(7 * count, 7 * count)).tocsc()
    solved = np.flatnonzero(np.tile([True] * 6 + [scaled], count))[6 + scaled :]
    matrix = matrix[solved][:, solved]
    matrix.setdiag(matrix.diagonal() * (1 + 1e-9))
    step = np.zeros(7 * count)
    try:
        step[solved] = splu(matrix.tocsc()).solve(right.ravel()[solved])
    except RuntimeError:  # singular: constraints that no path can follow
        step[solved] = np.nan
    return step.reshape(count, 7)
