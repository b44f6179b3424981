"""The pipeline and what it is made of."""
