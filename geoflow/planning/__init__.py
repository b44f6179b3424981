"""Planning: the cost of a run, and whether it can work; both are known before anything starts."""
