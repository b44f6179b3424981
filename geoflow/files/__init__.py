"""Files: remote ones (through fsspec), and those that GeoFlow is installed with."""
