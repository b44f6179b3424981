"""Which clips show the same pictures: by hash, and by a closer look."""

from __future__ import annotations

import cv2
import numpy as np

from geoflow.scanning.likeness import Fingerprint, difference, distances, hash_text, is_part, may_be_part, phash

COUNT = 200


def thumbs(seed: int, count: int = COUNT) -> np.ndarray:
    """A camera that goes over a mural: (T, 32, 32) uint8."""
    mural = np.random.default_rng(seed).normal(0, 1, (40, 40)).astype(np.float32)
    large = cv2.resize(cv2.GaussianBlur(mural, (0, 0), 1.5), (480, 480), interpolation=cv2.INTER_CUBIC)
    large = np.clip(128 + 120 * large / np.abs(large).max(), 0, 255)
    at = np.linspace(0, 200, count).astype(int)
    return np.stack([cv2.resize(large[x : x + 256, x : x + 256], (32, 32), interpolation=cv2.INTER_AREA) for x in at])


def fingerprint(film: np.ndarray, looks: int = 16) -> Fingerprint:
    numbers = np.linspace(0, len(film) - 1, looks).round().astype(int)
    return Fingerprint(numbers, film[numbers].astype(np.uint8), len(film))


def found(one: np.ndarray, other: np.ndarray) -> tuple[bool, int]:
    """Whether `one` is part of `other`, and how many frames of `other` were read to know."""
    read = 0

    def thumbs_at(numbers: list[int]) -> np.ndarray:
        nonlocal read
        read += len(numbers)
        return other[numbers]

    a, b = fingerprint(one), fingerprint(other)
    return may_be_part(a, b) and is_part(a, b, thumbs_at, 0.12), read


def changed(film: np.ndarray) -> np.ndarray:
    """Other light, other contrast, and noise as a codec leaves it."""
    noise = np.random.default_rng(5).normal(0, 1.5, film.shape)
    return np.clip(0.8 * film + 15 + noise, 0, 255).astype(np.uint8)


def test_a_trimmed_and_changed_film_is_part_of_the_whole_and_few_frames_are_read() -> None:
    film = thumbs(0).astype(np.uint8)
    is_there, read = found(changed(film[53:131]), film)
    assert is_there and read <= 150
    assert found(changed(film), film)[0]


def test_another_film_is_not() -> None:
    film = thumbs(0).astype(np.uint8)
    assert not any(found(thumbs(seed).astype(np.uint8), film)[0] for seed in range(1, 8))


def test_the_same_place_with_something_else_before_it_is_not() -> None:
    """Two takes from one tripod: the hashes are near, but the pictures differ where people stand."""
    film = thumbs(0).astype(np.uint8)
    other = film.copy()
    other[:, 8:24, 12:20] = 20
    assert may_be_part(fingerprint(other), fingerprint(film)) and not found(other, film)[0]


def test_pictures_without_contrast_are_never_alike() -> None:
    flat = np.full((COUNT, 32, 32), 90, np.uint8)
    assert not found(flat, flat)[0]


def test_hashes_and_differences() -> None:
    film = thumbs(0).astype(np.uint8)
    bits = phash(film[0])
    assert bits.shape == (64,) and len(hash_text(bits)) == 16
    assert distances(bits[None], phash(changed(film[:1])[0])[None])[0, 0] <= 6
    assert difference(film[0], film[0]) == 0 and difference(film[0], changed(film[:1])[0]) < 0.12
    assert difference(film[0], thumbs(1)[0].astype(np.uint8)) > 0.5
