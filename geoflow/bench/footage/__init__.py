"""Real clips with ground truth through a pipeline, scored one after the other."""
