"""Hands: found, followed, told apart, and placed in the camera frame."""
