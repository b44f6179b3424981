"""Values that a user hands over: from Python, from YAML, as durations; checked, and made plain."""
