"""Files: those that lie elsewhere (fsspec), and those that GeoFlow brings along."""
