"""Clips without depth whose poses other software worked out, and drone photos of which only the positions are known."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from clip_files import GL_FROM_CV, ClipWriter, camera, read, recipe, rigid


@recipe("gum_orbit", "akristoffersen/Scene2Mesh@bb684d598e92d051d3b771bd2114a0c6ff7f5115", licence="none stated")
def gum_orbit(clip: ClipWriter, source: Path) -> None:
    """A portrait phone video around an object on a desk."""
    from_transforms(clip, source / "real_scene_data/gum/transforms_train.json", count=300)


@recipe(
    "fox_sparse",
    "NVlabs/instant-ngp@abe236ee00cf90cfca6e36e65c00435d5b21f50a",
    licence="NVIDIA source code licence, non-commercial",
)
def fox_sparse(clip: ClipWriter, source: Path) -> None:
    """instant-ngp's fox: single frames of a portrait video, not consecutive."""
    from_transforms(clip, source / "data/nerf/fox/transforms.json")


@recipe(
    "tractor_drone",
    "Uddhav786/Enhancing-3D-Scene-Reconstruction-with-NeRF-and-NVIDIA-s-Instant-NGP"
    "@f0294a54dbef364b14cea38e9f5e4291ea73063c",
    licence="none stated",
)
def tractor_drone(clip: ClipWriter, source: Path) -> None:
    """A drone flies half around tractors at work. Its focal lengths are wrong (fx and fy differ by a fifth)."""
    from_transforms(clip, source / "transforms.json")


def from_transforms(
    clip: ClipWriter, path: Path, count: int | None = None, pictures: Path | None = None, suffix: str = ""
) -> None:
    """A COLMAP run kept as instant-ngp's transforms.json: camera to world, OpenGL axes, any scale.

    Frames it lists but the repository lacks are left out. COLMAP puts the centre of the first pixel at 0.5, clips at 0.
    `pictures` is where the files are, if they were moved; smaller ones than the camera get a smaller camera.
    `suffix` is what their names lack.
    """
    meta = json.loads(path.read_text())
    poses, number, scale = [], [], 1.0
    for frame in sorted(meta["frames"], key=lambda frame: frame["file_path"])[:count]:
        picture = path.parent / (frame["file_path"].replace("\\", "/") + suffix)
        picture = picture if pictures is None else pictures / picture.name
        if picture.is_file():
            kept = clip.add(picture)
            scale = scale if poses else read(kept).shape[1] / meta["w"]
            poses.append(GL_FROM_CV @ np.linalg.inv(rigid(frame["transform_matrix"])))
            number.append(int(re.sub(r"\D", "", picture.stem)))
    clip.finish(
        poses,
        camera(
            *(scale * meta[name] for name in ("fl_x", "fl_y")), *(scale * meta[name] - 0.5 for name in ("cx", "cy"))
        ),
        np.full(len(number), np.nan),
        number=np.array(number),
        distortion=np.array([meta[name] for name in ("k1", "k2", "p1", "p2")]),
        metric=False,
    )


@recipe("seneca_survey", "OpenDroneMap/odm_data_seneca@9220acfdca75cc5e2dd6d27fe48550c5ae0877f2", licence="CC0 1.0")
def seneca_survey(clip: ClipWriter, source: Path, first: int = 1, count: int = 60) -> None:
    """Sparse photos of a fixed-wing drone over fields, in flight order; the very first is of another size.

    gt.npz holds "position": metres east, north and up of the first photo by GPS. Orientations are not known, and the
    intrinsics are nominal (a sensor 6.17 mm wide).
    """
    photos = sorted(path for path in (source / "images").iterdir() if path.suffix.lower() == ".jpg")
    tags = [_exif(clip.add(photo).read_bytes()) for photo in photos[first : first + count]]
    latitude, longitude, altitude = (np.array([tag[name] for tag in tags]) for name in ("lat", "lon", "alt"))
    metres = 6378137.0 * np.pi / 180  # of a degree
    east, north = (
        (longitude - longitude[0]) * metres * np.cos(np.radians(latitude[0])),
        (latitude - latitude[0]) * metres,
    )
    clock = np.array([sum(float(v) * s for v, s in zip(tag["time"][11:].split(":"), (3600, 60, 1))) for tag in tags])
    height, width = read(photos[first]).shape[:2]
    focal = tags[0]["focal"] / 6.17 * width
    clip.finish(
        None,
        camera(focal, focal, (width - 1) / 2, (height - 1) / 2),
        clock - clock[0],
        position=np.stack([east, north, altitude - altitude[0]], 1),
    )


def _exif(jpeg: bytes) -> dict[str, Any]:
    """Of a JPEG's tags: lat, lon (degrees), alt (m), time (text) and focal (mm)."""
    start = jpeg.index(b"Exif\0\0") + 6
    order = "<" if jpeg[start : start + 2] == b"II" else ">"
    width = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}  # bytes of a value of each type

    def directory(at: int) -> dict[int, Any]:
        tags: dict[int, Any] = {}
        for entry in range(struct.unpack_from(order + "H", jpeg, start + at)[0]):
            here = start + at + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(order + "HHI", jpeg, here)
            size = width.get(kind, 1) * count
            where = here + 8 if size <= 4 else start + struct.unpack_from(order + "I", jpeg, here + 8)[0]
            if kind in (5, 10):
                pairs = struct.unpack_from(f"{order}{2 * count}{'I' if kind == 5 else 'i'}", jpeg, where)
                top, bottom = np.array(pairs, float).reshape(-1, 2).T
                tags[tag] = top / np.where(bottom == 0, 1, bottom)
            elif kind == 2:
                tags[tag] = jpeg[where : where + count].split(b"\0")[0].decode("latin1")
            elif kind in (3, 4, 9):
                tags[tag] = struct.unpack_from(f"{order}{count}{ {3: 'H', 4: 'I', 9: 'i'}[kind] }", jpeg, where)
            else:
                tags[tag] = jpeg[where : where + size]
        return tags

    def degrees(values: np.ndarray, side: str) -> float:
        return float(values @ [1, 1 / 60, 1 / 3600]) * (-1 if side in "SW" else 1)

    (first,) = struct.unpack_from(order + "I", jpeg, start + 4)
    top = directory(first)
    photo, gps = directory(top[0x8769][0]), directory(top[0x8825][0])
    lat, lon = degrees(gps[2], gps[1]), degrees(gps[4], gps[3])
    return {"lat": lat, "lon": lon, "alt": float(gps[6][0]), "time": photo[0x9003], "focal": float(photo[0x920A][0])}
