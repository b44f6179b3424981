"""The GPUs of a run: which models are on which GPU, which of them compute, and how much memory they take."""
