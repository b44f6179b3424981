"""Videos without measurements: what is known of them is at most whether the camera moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from clip_files import UNKNOWN, ClipWriter, recipe


@recipe(
    "static_person",
    "intel-iot-devkit/sample-videos@57978890822836f2b4743852f04f62fc511757e4",
    licence="CC BY 4.0",
)
def static_person(clip: ClipWriter, source: Path) -> None:
    """A camera on a tripod, people pass: the poses are the identity."""
    from_video(clip, source / "one-by-one-person-detection.mp4", first=200, count=250, motion="still")


@recipe(
    "street_people",
    "CMU-Perceptual-Computing-Lab/openpose@5c5d96523ef917bd30301245fdc8343937cae48d",
    licence="openpose's: academic or non-profit, non-commercial",
)
def street_people(clip: ClipWriter, source: Path) -> None:
    """People walk in a square and the camera turns after them: homographies fit to half a pixel."""
    from_video(clip, source / "examples/media/video.avi", motion="rotating")


@recipe("kitchen_hands", "ThunderVVV/HaWoR@66c7d4108d58a716deccd192cb7645170cdc7bd7", licence="CC BY-NC-ND 4.0")
def kitchen_hands(clip: ClipWriter, source: Path) -> None:
    """First person, two hands at work, the camera moves."""
    from_video(clip, source / "example/video_0.mp4", count=121)


@recipe("pillow_hands", "facebookresearch/co-tracker@82e02e8029753ad4ef13cf06be7f4fc5facdda4d", licence="CC BY-NC 4.0")
def pillow_hands(clip: ClipWriter, source: Path) -> None:
    """A portrait phone video, two hands pull at a pillow."""
    from_video(clip, source / "gradio_demo/videos/pillow.mp4")


@recipe("tennis_pan", "foolwood/SiamMask@a2b3ce3dca23b3a911d96b791e007eec6d39a625", licence="DAVIS, CC BY-NC 4.0")
def tennis_pan(clip: ClipWriter, source: Path) -> None:
    """DAVIS "tennis": the camera turns after a player; homographies fit to half a pixel."""
    from_folder(clip, source / "data/tennis", motion="rotating")


@recipe("lady_running", "Junyi42/monst3r@574cc77ad278bad582f470e5382624e01f8769a7", licence="DAVIS, CC BY-NC 4.0")
def lady_running(clip: ClipWriter, source: Path) -> None:
    """DAVIS "lady-running": the camera travels behind a person."""
    from_folder(clip, source / "demo_data/lady-running")


def from_video(clip: ClipWriter, path: Path, first: int = 0, count: int | None = None, **known: Any) -> None:
    """Frames [first, first + count) as JPEG; a still camera gets the identity as its pose."""
    import av

    times = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # the same frames whatever the machine
        for i, frame in enumerate(container.decode(stream)):
            if count is not None and i >= first + count:
                break
            if i >= first:
                clip.add(frame.to_ndarray(format="bgr24"))
                times.append(frame.time)
        rate = float(stream.average_rate or 30)
    seconds = np.arange(clip.count) / rate if None in times else np.array(times, float)
    still = np.tile(np.eye(4), (clip.count, 1, 1)) if known.get("motion") == "still" else None
    clip.finish(still, UNKNOWN, seconds - seconds[0], **known)


def from_folder(clip: ClipWriter, folder: Path, rate: float = 24.0, **known: Any) -> None:
    """All JPEG files of a folder."""
    for picture in sorted(folder.glob("*.jpg")):
        clip.add(picture)
    clip.finish(None, UNKNOWN, np.arange(clip.count) / rate, **known)
