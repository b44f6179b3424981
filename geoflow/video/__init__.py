"""Reading video: what a source holds (`probe`), and its pixels a segment at a time (`frame_reader`).

From the bottom up: `options` (what the user may ask for), `source` (files, folders, URIs), `integrity` (is the file
whole), `orient` (display matrix), `aperture` (cropping that containers state), `times` (frame times from time stamps),
`images` (single pictures), `sequence` (which pictures make one film, and in which order), `folder` (frames and masks as
pictures), `streams` (which of several video streams), `decoder` (from packets to frames), `bitstream` and `agreement`
(whether packets tell which frames there are), `container` (packets), `frame_table` and `table_cache` (for files whose
packets do not tell), `colour`, `interlace` and `shown` (from a decoded frame to what players show), `decoding`
(pixels), `probe` and `frame_reader` (what the rest of GeoFlow calls). Only `options`, `source`, `integrity`, `orient`,
`aperture`, `sequence` and `times` need neither PyAV nor OpenCV.
"""
