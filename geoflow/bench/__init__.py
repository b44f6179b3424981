"""`geoflow bench`: the figures in the README, each measured by a command."""
