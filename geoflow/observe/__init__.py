"""What a run tells of itself: the ledger of its events, and all that is read from it."""
