"""`geoflow bench tracking`: the 3D tracker beside its arithmetic as it is written down."""
