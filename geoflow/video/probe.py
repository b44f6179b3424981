"""The description of a source, made before its pixels are read."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from geoflow.errors import InputError
from geoflow.files.locations import is_remote, is_uri
from geoflow.segments import VideoInfo
from geoflow.video import decoding, folder, label_images
from geoflow.video.fetched import local_path
from geoflow.video.identity import Identity, identify
from geoflow.video.known_cameras import KnownCameras, check_lens, check_shape, known_cameras
from geoflow.video.lens import Pinhole
from geoflow.video.options import ReadOptions, processed_size, scale_intrinsics
from geoflow.video.source import FOLDER_FPS, SourceIndex, check_readable
from geoflow.video.stated_focal import focal_px


def probe(source: str, name: str, options: ReadOptions | None = None) -> tuple[VideoInfo, dict[str, np.ndarray]]:
    """Describe a video file, frame folder or URI, and list the frames that will be processed.

    Returns the VideoInfo and `video.index`, `video.pts`, `video.time`, each (F,). For files whose packets do not tell
    which frames there are, `video.seek` (F, 5) is returned too; with known poses, `video.cam_from_world` (F, 4, 4) and
    `video.intrinsics` (F, 3, 3). A container is read once for its packets and once for its hash. Only the first frame
    and a few stretches are decoded, unless packets and frames differ.

    `options.objects` is a folder here: prompts are added by `geoflow.video.prompts.with_prompts`.

    Raises InputError that names the source and the remedy for a source that cannot be read whole.
    """
    options = options or ReadOptions()
    found, identity = _index(source, options)
    keep = choose_frames(found.time, options.fps)[: options.limit]
    if not len(keep):
        raise InputError(f"{source} has no frames; copy or record it again")
    masks, masks_sha256 = None, ""
    if options.masks is not None:
        masks = os.path.join(os.path.abspath(options.masks), name)
        masks_sha256 = folder.check_masks(masks, len(found.time))
    height, width = processed_size(found.height, found.width, options)
    intrinsics, distortion = _known_pinhole(source, options, found, (width, height)), options.distortion
    known: KnownCameras | None = None
    if options.cameras is not None:
        known = known_cameras(name, source, options, found, keep, (width, height), intrinsics)
        intrinsics, distortion = known.pinhole, known.distortion
    if intrinsics is not None:
        check_lens(intrinsics, distortion, (width, height), source)
    time = found.time[keep]
    info = VideoInfo(
        name=name,
        source=source if is_uri(source) else os.path.abspath(source),
        source_sha256=found.sha256,
        num_frames=len(keep),
        fps=_mean_rate(time, options.fps),
        height=height,
        width=width,
        source_height=found.height,
        source_width=found.width,
        pixel_aspect=found.pixel_aspect,
        stream=found.stream,
        cropped=None if found.cropped is None else found.cropped.numbers,
        pattern=options.pattern if found.stream is None else None,
        rotation=found.rotation,
        intrinsics=intrinsics,
        masks=masks,
        masks_sha256=masks_sha256,
        notes=(*found.notes, *(() if known is None else known.notes), *_on_count(len(found.time), len(keep), options)),
        source_identity=identity.to_text(),
        distortion=distortion,
        cameras=options.cameras,
        cameras_sha256="" if known is None else known.sha256,
        cameras_metric=known is not None and known.metric,
        stated_focal=None if intrinsics is not None else _stated_focal(found, max(height, width)),
    )
    if options.objects is not None:
        where = label_images.label_folder(options.objects, name)
        sha256, labelled = label_images.check_labels(where, len(found.time), info)
        if labelled and not np.isin(labelled, keep).any():
            raise InputError(
                f"{where} has labels for frames {', '.join(map(str, labelled[:5]))}, none of which is processed; "
                f"frames {keep[0]} to {keep[-1]} are, as far as --fps and --limit keep them"
            )
        info = replace(info, labels=where, labels_sha256=sha256, labelled=labelled)
    arrays = {"video.index": keep, "video.pts": found.pts[keep], "video.time": time}
    if found.seek is not None:
        arrays["video.seek"] = found.seek[keep]
    if known is not None:
        arrays |= {"video.cam_from_world": known.cam_from_world, "video.intrinsics": known.intrinsics}
    return info, arrays


def _known_pinhole(source: str, options: ReadOptions, found: SourceIndex, size: tuple[int, int]) -> Pinhole | None:
    """Return the fx, fy, cx, cy that the user states, in processed pixels; `size` is their (width, height)."""
    if options.intrinsics is None:
        return None
    width, height = found.width, found.height
    if options.calibrated_at is not None:
        width, height = options.calibrated_at
        check_shape(options.calibrated_at, found, f"{source}: what --intrinsics holds")
    return scale_intrinsics(options.intrinsics, size[0] / width, size[1] / height)


def _stated_focal(found: SourceIndex, longer: int) -> float | None:
    """Return the focal length that the source states about itself, in pixels of frames with this longer side."""
    if found.focal_35 is None:
        return None
    whole = (found.height, found.width) if found.cropped is None else found.cropped.stored
    return focal_px(found.focal_35, *whole) * longer / max(found.height, found.width)


def choose_frames(time: np.ndarray, fps: float | None) -> np.ndarray:
    """Choose the frames nearest in time to a steady rate: rising times (F,) float64 s to rising numbers (K,) int64.

    No frame is used twice, so a rate above the source's keeps every frame and invents none. Of two frames equally
    near, the earlier is taken.

    >>> choose_frames(np.arange(7) / 30, fps=10)
    array([0, 3, 6])
    """
    if fps is None or len(time) < 2:
        return np.arange(len(time), dtype=np.int64)
    # Tick k is at k / fps. A frame owns the ticks up to the middle between it and the next frame. Ticks are counted,
    # not listed, since a high rate may have more ticks than fit into memory.
    middle = (time[1:] + time[:-1]) / 2 - time[0] + 0.5e-6  # stamps are rounded to a microsecond or more
    last = np.floor((time[-1] - time[0]) * fps + 1e-6)
    up_to = np.minimum(np.floor(middle * fps), last)
    return np.flatnonzero(np.diff(up_to, prepend=-1, append=last) > 0).astype(np.int64)


def _index(source: str, options: ReadOptions) -> tuple[SourceIndex, Identity]:
    """Return the frames and the identity of the source; the identity is the same before and after the listing."""
    path = local_path(source)
    try:
        check_readable(path)
        identity = identify(source, options.pattern)
        if os.path.isdir(path):
            found = folder.index_folder(path, options.fps, options.pattern)
        else:
            found = decoding.index_file(path, options.stream)
        if is_remote(source):
            local_path(source, found.sha256)  # check that the remote file is still what was fetched
        elif identify(source, options.pattern) != identity:
            raise InputError(f"{source} was written to while it was read; run again when it is whole")
        return found, identity
    except InputError as error:
        if is_uri(source):  # the user knows the address, not the path in the cache
            raise InputError(str(error).replace(path, source)) from None
        raise


def _mean_rate(time: np.ndarray, fps: float | None) -> float:
    """Return the frames per second of rising times (F,) s; of a single frame the rate asked for, or the usual one."""
    return (len(time) - 1) / float(time[-1] - time[0]) if len(time) > 1 else fps or FOLDER_FPS


def _on_count(found: int, kept: int, options: ReadOptions) -> tuple[str, ...]:
    """Return a sentence on a video of one frame."""
    if kept > 1:
        return ()
    few = "The video has one frame" if found == 1 else f"Of the video's {found} frames one is processed"
    remedy = "; raise --fps to keep more" if found > 1 and options.limit != 1 else ""
    return (f"{few}: a single picture shows no motion, so there are no camera poses and no depth from motion{remedy}.",)
