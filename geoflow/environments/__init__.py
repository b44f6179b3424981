"""Environments of stages: read, checked, built, laid over each other; and the packages of this installation."""
