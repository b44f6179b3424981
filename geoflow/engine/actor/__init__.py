"""What runs in a worker's process: one stage, its files, its arrays on the wire."""
