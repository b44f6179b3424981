"""Scores of a store against exact ground truth."""

from __future__ import annotations

from geoflow.evaluate.evaluation import evaluate_store
from geoflow.evaluate.score_table import render_table
from geoflow.evaluate.scores import Scores

__all__ = ["Scores", "evaluate_store", "render_table"]
