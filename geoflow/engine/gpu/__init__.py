"""The GPUs of a run: which models live on which, who computes, what they take of the memory."""
