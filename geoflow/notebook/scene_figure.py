"""A plotly figure that can be turned: the camera's path, its views and the tracked points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.environments.extras import library
from geoflow.errors import StoreError
from geoflow.geometry.rigid import apply, invert
from geoflow.notebook.offline_figures import keep_figures_offline
from geoflow.store.depth_colours import turbo_steps

if TYPE_CHECKING:
    from geoflow.store.lazy import Cameras
    from geoflow.store.reader import Video

_MOST_POSES = 1000  # of the path; more could not be distinguished
_FRUSTA = 12
_MOST_POINTS = 2000
_BLOCK = 256  # frames of tracks read at once
_FRUSTUM_SHARE = 0.06  # depth of a drawn view over the size of the scene
_GREY, _AMBER, _GREEN = "#8a9199", "#d98e2b", "#2e9e5b"  # legible on light and on dark


def trajectory_figure(video: Video, *, points: int = _MOST_POINTS, frusta: int = _FRUSTA) -> Any:
    """Return a plotly Figure: path, `frusta` view pyramids, and at most `points` tracks at their mean places; world
    frame.

    On the screen y points up, as the first camera was held (OpenCV's y points down). In a notebook the figure is kept
    such that an HTML export shows it offline (`keep_figures_offline`).

    Raises StoreError if no frame has a pose, ConfigError if plotly is not installed.
    """
    go = library("plotly.graph_objects", "notebook", "trajectory()")
    keep_figures_offline()
    cameras = video.cameras
    if cameras is None or not cameras.valid.any():
        raise StoreError(f"{video.path} holds no camera pose, so there is no path to draw; `remarks` may say why")
    unit = "m" if video.metric else "scene units"
    places, numbers = _places(video, points)
    size = _extent(np.concatenate([cameras.centers[cameras.valid], places]))
    views = _views(go, video, cameras, frusta, _FRUSTUM_SHARE * size)
    figure = go.Figure([_path(go, video, cameras), views, _start(go, cameras)])
    if len(places):
        figure.add_trace(_points(go, places, numbers))
    return figure.update_layout(**_layout(video.name, unit))


def _extent(xyz: np.ndarray) -> float:
    """Return the diagonal of the box around the points (N, 3), without the outermost ones."""
    low, high = np.percentile(xyz, [5, 95], axis=0)
    return max(float(np.linalg.norm(high - low)), 1e-6)


def _path(go: Any, video: Video, cameras: Cameras) -> Any:
    shown = np.unique(np.linspace(0, len(video) - 1, min(len(video), _MOST_POSES)).round().astype(int))
    centers = np.where(cameras.valid[:, None], cameras.centers, np.nan)[shown]  # NaN is a gap in the line
    x, y, z = _on_screen(centers)
    line = {"color": _AMBER, "width": 5}
    hover = "frame %{customdata}<extra>camera</extra>"
    return go.Scatter3d(x=x, y=y, z=z, mode="lines", line=line, name="camera", customdata=shown, hovertemplate=hover)


def _start(go: Any, cameras: Cameras) -> Any:
    x, y, z = _on_screen(cameras.centers[cameras.valid][:1])
    return go.Scatter3d(x=x, y=y, z=z, mode="markers", marker={"size": 4, "color": _GREEN}, name="first pose")


def _views(go: Any, video: Video, cameras: Cameras, count: int, depth: float) -> Any:
    """Return outlines of some cameras' view pyramids, as one line with gaps."""
    known = np.flatnonzero(cameras.valid & np.isfinite(cameras.intrinsics).all((1, 2)))
    chosen = known[np.unique(np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(int))]
    gap = np.full((1, 3), np.nan)
    lines = [gap]  # empty if no focal length is known
    for i in chosen:
        corners = apply(invert(cameras.cam_from_world[i]), _corners(video, cameras.intrinsics[i], depth))
        lines += [corners[[0, 1, 2, 0, 3, 4, 0]], gap, corners[[2, 3]], gap, corners[[4, 1]], gap]
    x, y, z = _on_screen(np.concatenate(lines))
    colours = {"color": _GREY, "width": 2}
    return go.Scatter3d(x=x, y=y, z=z, mode="lines", line=colours, name="views", hoverinfo="skip")


def _corners(video: Video, k: np.ndarray, depth: float) -> np.ndarray:
    """Return the camera's centre and the four corners of its picture at a depth: (5, 3), camera frame."""
    u = np.array([-0.5, video.width - 0.5, video.width - 0.5, -0.5])  # pixel centres lie at integers
    v = np.array([-0.5, -0.5, video.height - 0.5, video.height - 0.5])
    edge = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(4)], axis=1)
    return depth * np.concatenate([np.zeros((1, 3)), edge])


def _places(video: Video, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean positions (N, 3) of at most `count` tracked points, and their numbers.

    Only these tracks are read, in blocks.
    """
    tracks = video.tracks
    if tracks is None or not len(tracks):
        return np.zeros((0, 3)), np.zeros(0, int)
    chosen = np.unique(np.linspace(0, len(tracks) - 1, min(count, len(tracks))).round().astype(int))
    total, times = np.zeros((len(chosen), 3)), np.zeros(len(chosen))
    for start in range(0, len(video), _BLOCK):
        xyz = tracks.xyz[start : start + _BLOCK, chosen]
        known = np.isfinite(xyz).all(2)
        total += np.where(known[..., None], xyz, 0).sum(0)
        times += known.sum(0)
    seen = times > 0
    return total[seen] / times[seen, None], chosen[seen]


def _points(go: Any, places: np.ndarray, numbers: np.ndarray) -> Any:
    x, y, z = _on_screen(places)
    marker = {"size": 2, "color": z, "colorscale": turbo_steps(), "opacity": 0.8}
    hover = "track %{customdata}<extra></extra>"
    return go.Scatter3d(
        x=x, y=y, z=z, mode="markers", marker=marker, name="tracks", customdata=numbers, hovertemplate=hover
    )


def _on_screen(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert world points (N, 3) in OpenCV axes to plotly's x, y, z, whose z points up."""
    return xyz[:, 0], xyz[:, 2], -xyz[:, 1]


def _layout(name: str, unit: str) -> dict[str, Any]:
    """Return colours that suit light and dark pages, and the same scale on all axes, so that shapes are true."""
    clear = "rgba(0,0,0,0)"
    grid = {"gridcolor": "rgba(138,145,153,.35)", "zerolinecolor": "rgba(138,145,153,.5)", "backgroundcolor": clear}
    axes = {f"{axis}axis": {**grid, "title": {"text": f"{label} [{unit}]"}} for axis, label in _AXES}
    return {
        "title": {"text": name.replace("<", "&lt;")},
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "font": {"color": _GREY},
        "scene": {**axes, "aspectmode": "data", "camera": {"eye": _EYE}},
        "margin": {"l": 0, "r": 0, "t": 40, "b": 0},
        "legend": {"itemsizing": "constant"},
        "height": 480,
    }


_EYE = {"x": -0.7, "y": -1.7, "z": 0.8}  # from behind the first camera, a little above and beside it
_AXES = (("x", "x"), ("y", "z"), ("z", "-y"))  # plotly's axis, and the world axis that it shows
