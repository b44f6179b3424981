"""`geoflow bench hand-model`: WiLoR with all hands in one batch, beside its arithmetic as it is written down."""
