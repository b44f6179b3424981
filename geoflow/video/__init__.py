"""Reading video: what a source holds (`probe`), and its pixels a segment at a time (`reader`).

From the bottom up: `options` (what the user may ask), `source` (files, folders, URIs), `integrity` (is the file whole),
`orient` (display matrix), `aperture` (cropping that containers state), `images` (single pictures), `sequence` (which
pictures make one film, in which order), `folder` (frames and masks as pictures), `streams` (which of several),
`container` (packets), `colour`, `interlace` and `shown` (from a decoded frame to what players show), `decoding`
(pixels), `probe` and `reader` (what the rest of GeoFlow calls). Only `options`, `source`, `integrity`, `orient`,
`aperture` and `sequence` are free of PyAV and OpenCV.
"""
