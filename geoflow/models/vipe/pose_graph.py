"""Poses brought into agreement with places that were seen twice: a graph of similarities, solved by Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoflow.models.vipe.similarity import Similarities

_ROUNDS = 15
_DONE = 1e-9  # of a step
# Deviations of what neighbouring keyframes say of each other: translation in steps of the path, rad, log of the scale.
_DEVIATION = np.array([0.02] * 3 + [0.002] * 3 + [0.005])
_EXPLAINED = 0.5  # of the loops' contradiction to the path, in which the result may still stand to them
_AGREES = 3.0  # deviations up to which the path is right as it is: it is more exact than a loop's measurement
_DOUBT = 5.0  # deviations from which on a loop counts less and less


@dataclass(frozen=True)
class Constraints:
    """What is known of pairs of nodes: `moved` takes points of camera a to camera b, in the unit of each."""

    a: np.ndarray  # (M,) int64
    b: np.ndarray
    moved: Similarities
    steps: np.ndarray  # (M,) keyframes between the two, over which errors add up; for a loop, as many as err like it
    loop: np.ndarray  # (M,) bool: may be wrong


def agree(nodes: Similarities, constraints: Constraints) -> Similarities | None:
    """Return the nodes, cameras from world, that agree best with the constraints. The first stays as it is.

    So do all if most loops contradict the path no more than their own errors may. None if the result still contradicts
    most of the loops: they are not of one world, and nothing is to be believed.
    """
    rows = constraints
    between = nodes[rows.b].after(nodes[rows.a].inverse())
    length = np.median(np.linalg.norm(between.translation[~rows.loop] / rows.steps[~rows.loop, None], axis=1))
    deviation = _DEVIATION * np.array([max(length, 1e-12)] * 3 + [1.0] * 4)
    inverse = 1 / (deviation * np.sqrt(rows.steps)[:, None])
    first = np.median(_deviations(nodes, rows, inverse))
    if first < _AGREES:
        return nodes
    for _ in range(_ROUNDS):
        error = _errors(nodes, rows)
        far = np.linalg.norm(error * inverse, axis=1) / _DOUBT
        trust = np.where(rows.loop, 1 / (1 + far**2), 1.0)
        step = _solve(len(nodes), rows, error, inverse * np.sqrt(trust)[:, None])
        nodes = Similarities.of_chart(step).after(nodes)
        if np.abs(step).max() < _DONE:
            break
    left = np.median(_deviations(nodes, rows, inverse))
    return nodes if left < max(_DOUBT, _EXPLAINED * first) else None


def _deviations(nodes: Similarities, rows: Constraints, inverse: np.ndarray) -> np.ndarray:
    """Return how many deviations loops are off."""
    found: np.ndarray = np.linalg.norm(_errors(nodes, rows) * inverse, axis=1)[rows.loop]
    return found


def _errors(nodes: Similarities, rows: Constraints) -> np.ndarray:
    """Return how far constraints are from what the nodes say, as steps (M, 7)."""
    return rows.moved.after(nodes[rows.a]).after(nodes[rows.b].inverse()).chart()


def _solve(count: int, rows: Constraints, error: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the step (N, 7) of every node, 0 of the first."""
    by_a = rows.moved.adjoint() * inverse[:, :, None]
    by_b = -np.eye(7) * inverse[:, :, None]
    weighed = error * inverse
    left, right = np.zeros((count, count, 7, 7)), np.zeros((count, 7))
    for row, first in ((rows.a, by_a), (rows.b, by_b)):
        np.add.at(right, row, -np.einsum("nij,ni->nj", first, weighed))
        for column, second in ((rows.a, by_a), (rows.b, by_b)):
            np.add.at(left, (row, column), np.einsum("nki,nkj->nij", first, second))
    matrix = left.transpose(0, 2, 1, 3).reshape(7 * count, 7 * count)[7:, 7:]
    matrix[np.diag_indices(len(matrix))] *= 1 + 1e-9
    solved = np.linalg.solve(matrix, right.reshape(-1)[7:])
    return np.concatenate((np.zeros(7), solved)).reshape(count, 7)
