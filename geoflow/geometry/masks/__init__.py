"""Masks of objects over time: cut out where the user shows them, carried by flow, and found again."""
