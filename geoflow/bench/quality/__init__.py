"""The calibration of `quality`: clips with truth are run, and their quality is held against their true errors."""
