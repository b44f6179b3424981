"""A user's script with type hints, which type checkers must have nothing to say about. It is not run."""

from __future__ import annotations

import numpy as np

import geoflow


def mean_depth(video: geoflow.Video, i: int) -> float:
    depth: np.ndarray = video.depth[i]
    return float(depth[depth > 0].mean())


def path(video: geoflow.Video) -> np.ndarray | None:
    return None if video.cameras is None else video.cameras.centers[video.cameras.valid]


def main(source: str) -> int:
    result: geoflow.RunResult = geoflow.run(source, "out", settings={"write.rgb": True})
    for failed in result.failed:
        print(failed.name, failed.reason)
    run: geoflow.Run = geoflow.load_run(result.out)
    for name, video in run.videos.items():
        with video:
            print(name, mean_depth(video, 0), path(video), video.points(0, world=True).shape)
            if video.tracks is not None and video.hands is not None and video.hands.left is not None:
                print(video.tracks.xyz[0].shape, video.hands.left.joints.dtype, len(video.tracks))
            for number, thing in (video.objects or {}).items():
                print(number, thing.mask(0).sum(), None if thing.mesh is None else thing.mesh.faces.shape)
    try:
        with geoflow.open("out/videos/clip.h5") as one:
            print(one.fps, one.recovered, one.remarks, geoflow.__version__)
    except geoflow.GeoFlowError as error:
        print(error)
    compared = geoflow.compare("out", "other")
    compared.write_html("compare.html")
    pipeline: geoflow.Pipeline = geoflow.Pipeline.load("embedded")
    print(compared.to_dict(), pipeline.name)
    return result.exit_status
