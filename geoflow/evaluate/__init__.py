"""Scores of a store against exact ground truth."""

from __future__ import annotations

from geoflow.evaluate.evaluation import evaluate_store
from geoflow.evaluate.queried_tracks import evaluate_tracks
from geoflow.evaluate.score_table import render_point_tracks, render_table
from geoflow.evaluate.scores import Scores, TrackEvaluation

__all__ = ["Scores", "TrackEvaluation", "evaluate_store", "evaluate_tracks", "render_point_tracks", "render_table"]
