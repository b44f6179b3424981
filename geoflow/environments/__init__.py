"""Environments of stages: read, checked, built, laid over each other; and this installation's own packages."""
