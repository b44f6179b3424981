"""Choosing from a run: its segments or videos by what their tables say of them."""

from geoflow.curation.selection import Selection, select, selected_frames, write_selection

__all__ = ["Selection", "select", "selected_frames", "write_selection"]
