"""`geoflow bench geometry`: the geometry networks' pipeline beside one that is written straight down."""
