"""Real clips with ground truth: each is run through a pipeline and scored."""
