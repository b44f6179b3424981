"""The camera tracker, measured: memory over a walk's length, loops, and the cost of an adjustment."""
