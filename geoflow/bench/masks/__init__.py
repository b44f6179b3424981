"""Masks of objects over time, measured on rendered clips whose labels are known exactly."""
