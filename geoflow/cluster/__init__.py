"""Ray itself: a cluster is joined, or started and left as it was found; its processes and its health."""
