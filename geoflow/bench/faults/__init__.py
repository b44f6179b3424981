"""Faults during a run: whether the results are still right, and how much time a fault costs."""
