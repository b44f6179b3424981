"""A procedural scene, ray-cast: video clips with exactly known depth, poses, masks and tracks."""

from __future__ import annotations

from geoflow.synth.clip_files import Clip, render, render_clip
from geoflow.synth.groundtruth import GroundTruth, load_ground_truth

__all__ = ["Clip", "GroundTruth", "load_ground_truth", "render", "render_clip"]
