"""Scores of a store against exact ground truth."""

from __future__ import annotations

from geoflow.evaluate.evaluation import evaluate_store
from geoflow.evaluate.scores import Scores
from geoflow.evaluate.table import render_table

__all__ = ["Scores", "evaluate_store", "render_table"]
