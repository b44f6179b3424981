"""Loops: places that a walk sees again, how they are found and checked, and how the path is bent to agree."""
