"""`geoflow bench sam2`: the memory of objects followed through long videos; and SAM 2.1 at full size on a GPU."""
