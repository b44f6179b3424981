"""Hands: find them, follow them, tell left from right, and place them in the camera frame."""
