"""`geoflow bench streaming`: the streaming network beside a cache as its rule is written down."""
