"""Reading video: what a source holds (`probe`), and its pixels a segment at a time (`reader`).

From the bottom up: `options` (what the user may ask), `source` (files, folders, URIs), `integrity` (is the file whole),
`orient` (display matrix), `aperture` (cropping that containers state), `times` (from time stamps), `images` (single
pictures), `sequence` (which pictures make one film, in which order), `folder` (frames and masks as pictures), `streams`
(which of several), `decoder` (frames of packets), `bitstream` and `agreement` (do packets tell the frames), `container`
(packets), `frame_table` and `table_cache` (where they do not), `colour`, `interlace` and `shown` (from a decoded frame
to what players show), `decoding` (pixels), `probe` and `reader` (what the rest of GeoFlow calls). Only `options`,
`source`, `integrity`, `orient`, `aperture`, `sequence` and `times` are free of PyAV and OpenCV.
"""
