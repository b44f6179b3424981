"""Engines side by side: the same sleeping stages on pretended GPUs, in GeoFlow and in its alternatives."""
