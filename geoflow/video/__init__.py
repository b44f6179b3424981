"""Reading video: what a source holds (`probe`), and its pixels a segment at a time (`reader`).

From the bottom up: `options` (what the user may ask), `source` (files, folders, URIs), `integrity` (is the file whole),
`orient` (display matrix), `times` (from time stamps), `images` (single pictures), `folder` (frames and masks as
pictures), `decoder` (frames of packets), `bitstream` and `agreement` (do packets tell the frames), `container`
(packets), `frame_table` and `table_cache` (where they do not), `decoding` (pixels), `probe` and `reader` (what the rest
of GeoFlow calls). Only `options`, `source`, `integrity`, `orient` and `times` are free of PyAV and OpenCV.
"""
