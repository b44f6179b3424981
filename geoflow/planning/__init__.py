"""What a run would take, and whether it can work, before anything starts."""
