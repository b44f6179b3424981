"""Reading video: what a source holds (`probe`), and its pixels a segment at a time (`reader`).

From the bottom up: `options` (what the user may ask), `source` (files, folders, URIs), `integrity` (is the file whole),
`orient` (display matrix), `images` (single pictures), `folder` (frames and masks as pictures), `container` (packets),
`decoding` (pixels), `probe` and `reader` (what the rest of GeoFlow calls). Only `options`, `source`, `integrity` and
`orient` are free of PyAV and OpenCV.
"""
