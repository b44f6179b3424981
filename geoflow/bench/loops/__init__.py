"""Walks that return: a made-up corridor, cameras that drift, and what closing the loop makes of them."""
