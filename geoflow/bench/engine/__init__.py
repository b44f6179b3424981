"""Engines side by side: the same sleeping stages on pretended GPUs, in GeoFlow and in what one would use instead."""
