"""Models as child processes, for programs that live in another environment."""
