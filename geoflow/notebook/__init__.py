"""What Jupyter shows of runs and videos: live progress, tables, strips of pictures, the camera's path in 3D.

Nothing here is imported before a notebook needs it; IPython, ipywidgets and plotly are in the extra `notebook`.
"""

from __future__ import annotations
