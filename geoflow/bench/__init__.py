"""`geoflow bench`: the figures of docs/accuracy.md and docs/performance.md, each measured by a command."""
