"""`geoflow bench geometry`: the pipeline of the geometry networks beside a plain implementation."""
