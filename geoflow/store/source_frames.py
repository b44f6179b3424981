"""The source of a store: its pixels, if the store holds none, and a check that it is still the same source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from geoflow.errors import GeoFlowError, SourceChanged, StoreError
from geoflow.store.index import read_rows
from geoflow.store.mirror import is_run, records
from geoflow.store.opening import open_h5
from geoflow.store.schema import IDENTITY

if TYPE_CHECKING:
    from geoflow.store.reader import Video

_OWN = "stores made with --set write.rgb=true hold their frames themselves"


def source_frames(video: Video, numbers: np.ndarray) -> np.ndarray:
    """Return frames of the source by number, (T,) int64, rising: (T, H, W, 3) uint8 RGB at the store's size.

    Raises StoreError if the source is gone, cannot be read, or is not the one that the store was made from; and if
    PyAV or OpenCV is not installed.
    """
    known: dict[str, Any] = {"sha256": video.source_sha256, "identity": video.source_identity, **video.source_choice}
    try:
        from geoflow.video.frame_reader import read_numbered

        return read_numbered(video.source, numbers, (video.width, video.height), **known)
    except ImportError as error:
        raise StoreError(
            f"{video.path} holds no frames; decoding its source needs PyAV and OpenCV, which cannot be imported "
            f"({error}); pip install av opencv-python-headless ({_OWN})"
        ) from error
    except SourceChanged as error:
        raise StoreError(
            f"{video.path} holds no frames, and its source {video.source} was trimmed, graded or replaced since: its "
            f"pixels are not those that the depth belongs to; put the original back, or run again ({_OWN})"
        ) from error
    except (GeoFlowError, OSError) as error:
        raise StoreError(
            f"{video.path} holds no frames and its source {video.source} cannot be read ({error}); "
            f"put the source back, or run again ({_OWN})"
        ) from error


def is_of_another_source(error: StoreError) -> bool:
    """Return whether `source_frames` raised the error because the source was replaced: its frames must not be shown."""
    return isinstance(error.__cause__, SourceChanged)


def source_remarks(path: str | os.PathLike[str], *, deep: bool = True) -> list[str]:
    """Return sentences on the source of a store, or on the sources of a run's stores: one for each source that was
    replaced, is gone although the store needs its pixels, or cannot be recognised. These are not faults of the stores.

    If size or dates differ from the store's record, `deep` reads the whole source. Stores that cannot be read are left
    out: `verify` names them.
    """
    if not is_run(path):
        return list(_of_store(path, "", deep))
    with records(path) as paths:
        try:
            rows = [row for row in read_rows(paths.index) if row["status"] == "complete" and row["path"]]
        except StoreError:
            return []
        return [line for row in rows for line in _of_store(paths.whole(row["path"]), f"{row['path']}: ", deep)]


def _of_store(path: str | os.PathLike[str], who: str, deep: bool) -> Iterator[str]:
    try:
        with open_h5(path) as file:
            source, sha256, identity = (str(file.attrs.get(n, "")) for n in ("source", "source_sha256", IDENTITY))
            holds_frames = "frames/rgb" in file
    except OSError:
        return
    if source and (remark := _remark(source, sha256, identity, holds_frames, deep)):
        yield f"{who}{remark}"


def _remark(source: str, sha256: str, identity: str, holds_frames: bool, deep: bool) -> str:
    """Return a sentence if a source is not the one of a store, "" if it is."""
    from geoflow.video.identity import still_there

    needs = "" if holds_frames else "; the store holds no frames, so that its pixels cannot be shown or exported"
    try:
        same = still_there(source, sha256, identity, deep=deep)
    except FileNotFoundError:
        return "" if holds_frames else f"the source {source} is gone or cannot be read{needs}"
    if same is None:
        return f"the source {source} may have changed: only reading all of it can show that"
    return "" if same else f"the source {source} has changed since then: it was trimmed, graded or replaced{needs}"
