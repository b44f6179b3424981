"""What a run would take, and whether it can work; both are found out before anything starts."""
