"""`webdataset`: shards of tar files with a sample for each frame, in order."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geoflow.errors import ConfigError, StoreError
from geoflow.export.dataset.episodes import SPLITS, Episode, described
from geoflow.export.dataset.frame_arrays import DEPTH, RGB, frame_arrays
from geoflow.export.dataset.kinds import DatasetKind, Part
from geoflow.export.dataset.passage import Passage

_FILE = "episode.tar"
PICTURES = ("jpg", "png")


@dataclass(frozen=True)
class WebDataset(DatasetKind):
    """Shards `train-000000.tar`, `val-000000.tar` and so on, of at most `shard_mb` MB unless one episode has more.

    A sample is a frame. Its key is `<episode>_<frame>`, numbers of six digits; the frames of an episode follow each
    other and are never in two shards. Its members, with the names that webdataset decodes by itself:

    - `jpg` (of `quality`) or, with `picture` "png", `png`, which loses nothing
    - `depth.npy` (H, W) float16
    - `arrays.npz`: all other arrays (see `geoflow.export.dataset.frame_arrays`), with points for slashes in their names
    - `json`: `video`, `episode`, `frame` in the episode, `source_frame`, `time` s, `metric`, `fps`, and `last`, whether
      it is the episode's last one

    `train.json` and `val.json` list the shards with their samples, as webdataset's `wids` does.
    """

    picture: str = "jpg"
    quality: int = 95
    shard_mb: int = 500

    def __post_init__(self) -> None:
        if self.picture not in PICTURES:
            raise ConfigError(f"--set picture={self.picture}: expected one of {', '.join(PICTURES)}")

    def write(self, passage: Passage, episode: Episode, folder: Path, shared: dict[str, Any]) -> dict[str, Any]:
        with tarfile.open(folder / _FILE, "w", format=tarfile.USTAR_FORMAT) as tar:
            for i, arrays in enumerate(frame_arrays(passage)):
                rgb = arrays.pop(RGB)
                _add(tar, f"{i:06d}.{self.picture}", _picture(rgb, self.picture, self.quality))
                if DEPTH in arrays:
                    _add(tar, f"{i:06d}.depth.npy", _npy(arrays.pop(DEPTH)))
                said = {
                    **{name: described(episode)[name] for name in ("video", "name")},
                    "frame": i,
                    "source_frame": int(arrays["frames/index"]),
                    "time": float(arrays["frames/time"]),
                    "metric": passage.metric,
                    "fps": passage.fps,
                    "last": i + 1 == len(passage),
                }
                _add(tar, f"{i:06d}.arrays.npz", _npz(arrays))
                _add(tar, f"{i:06d}.json", json.dumps(said).encode())
        return {"frames": len(passage)}

    def assemble(self, parts: Sequence[Part], draft: Path, shared: dict[str, Any]) -> None:
        for side in SPLITS:
            shards = Shards(draft, side, self.shard_mb * 1_000_000)
            with shards:
                for number, part in enumerate(parts):
                    if part.episode.split == side:
                        shards.add(part.folder / _FILE, f"{number:06d}", part.facts["frames"])
            if shards.samples:
                index = {
                    "__kind__": "wids-shard-index-v1",
                    "wids_version": 1,
                    "shardlist": [{"url": name, "nsamples": count} for name, count in shards.samples.items()],
                }
                (draft / f"{side}.json").write_text(json.dumps(index, indent=2) + "\n")


@dataclass
class Shards:
    """Writes shards, each from the tar files of several episodes, a member at a time."""

    folder: Path
    side: str
    most: int  # bytes
    samples: dict[str, int] = field(default_factory=dict)  # of each shard
    _size: int = 0
    _tar: tarfile.TarFile | None = None

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tar is not None:
            self._tar.close()

    def add(self, part: Path, episode: str, samples: int) -> None:
        """Append an episode; the names of its members get `episode` in front."""
        size = part.stat().st_size
        if self._tar is None or (self._size and self._size + size > self.most):
            if self._tar is not None:
                self._tar.close()
            name = f"{self.side}-{len(self.samples):06d}.tar"
            self._tar = tarfile.open(self.folder / name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self.samples[name], self._size = 0, 0
        self._size += size
        self.samples[next(reversed(self.samples))] += samples
        with tarfile.open(part) as source:
            for member in source:
                member.name = f"{episode}_{member.name}"
                self._tar.addfile(member, source.extractfile(member))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without date and owner: the same frames are the same bytes
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def _picture(rgb: np.ndarray, kind: str, quality: int) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpg" else []
    done, data = cv2.imencode(f".{kind}", np.ascontiguousarray(rgb[..., ::-1]), options)
    if not done:
        raise StoreError(f"a picture of shape {rgb.shape} could not be encoded as {kind}")
    return data.tobytes()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name.replace("/", "."): array for name, array in arrays.items()})
    return buffer.getvalue()
