"""Values that a user passes (in Python, in YAML, as durations): checked and made plain."""
