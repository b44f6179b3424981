"""Depth: motion stereo, multi-view depth, temporal fusion, edges."""
