"""Things that go wrong during a run, what comes out all the same, and what time they cost."""
