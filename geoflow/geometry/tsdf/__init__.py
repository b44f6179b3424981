"""Surfaces from depth maps with poses: a truncated signed distance function (Curless and Levoy 1996) in blocks of
voxels, its surface as a mesh, and that mesh cleaned."""
