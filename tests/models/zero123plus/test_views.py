"""Six views from one picture: draws, settings, and what the picture has to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
pytest.importorskip("PIL", reason="pillow is not installed")

from small_object_models import SIZE, components, publish, round_picture  # noqa: E402

from geoflow.errors import ConfigError, InputError  # noqa: E402
from geoflow.models.zero123plus import Views, from_pretrained, square_foreground  # noqa: E402
from geoflow.models.zero123plus.config import ExtractorConfig, SchedulerConfig  # noqa: E402
from geoflow.models.zero123plus.picture import extract, on_white  # noqa: E402
from geoflow.models.zero123plus.reference import Reading, Writing  # noqa: E402
from geoflow.models.zero123plus.scheduler import AncestralSchedule  # noqa: E402


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Views:
    return from_pretrained(publish(tmp_path_factory.mktemp("zero") / "v1.2", components()))


def draws(seed: int, steps: int, guided: bool = True) -> list[torch.Tensor]:
    """Unit noise from a seed, in the order of the original program."""
    generator = torch.Generator().manual_seed(seed)
    pair, picture, sheet = (2 if guided else 1, 4, 8, 8), (1, 4, 8, 8), (1, 4, SIZE[0] // 8, SIZE[1] // 8)
    shapes = [picture] * pair[0] + [sheet] + [pair, sheet] * steps
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.long
@pytest.mark.parametrize("guidance", [4.0, 1.0])
def test_a_seed_stands_for_its_draws(views: Views, guidance: float) -> None:
    settings: dict[str, Any] = {"steps": 2, "guidance": guidance, "size": SIZE}
    found = views.generate(round_picture(), seed=11, **settings)
    assert found.shape == (*SIZE, 3) and found.dtype == np.uint8 and found.std() > 1
    given = draws(11, 2, guidance > 1)
    assert (views.generate(round_picture(), noises=given, **settings) == found).all()
    assert (views.generate(round_picture(), noises=[noise.numpy() for noise in given], **settings) == found).all()
    assert (views.generate(round_picture(), seed=12, **settings) != found).any()


@pytest.mark.long
def test_the_picture_and_the_guidance_matter(views: Views) -> None:
    found = views.generate(round_picture(), 2, size=SIZE)
    assert (views.generate(round_picture()[:, ::-1], 2, size=SIZE) != found).any()
    assert (views.generate(round_picture(), 2, 2.0, size=SIZE) != found).any()


def test_noises_that_do_not_fit_are_refused(views: Views) -> None:
    given = draws(1, 1)
    with pytest.raises(InputError, match=r"should be \(1, 4, 8, 8\), found \(3,\)"):
        views.generate(round_picture(), 1, noises=[torch.zeros(3)], size=SIZE)
    with pytest.raises(InputError, match="none is left"):
        views.generate(round_picture(), 2, noises=given, size=SIZE)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps should be at least 1"),
        ({"guidance": float("nan")}, "guidance"),
        ({"size": (960, 600)}, "multiples of 64, found 960 x 600"),
    ],
)
def test_settings_that_cannot_work(views: Views, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        views.generate(round_picture(), **settings)


@pytest.mark.long
def test_half_precision_stays_near_full(views: Views, tmp_path: Path) -> None:
    half = from_pretrained(publish(tmp_path / "v1.2", components()), dtype=torch.bfloat16)
    given = draws(3, 2)
    found, wanted = (one.generate(round_picture(), 2, noises=given, size=SIZE).astype(int) for one in (half, views))
    assert 0 < np.abs(found - wanted).mean() < 8  # levels of 255, and guidance of 4 enlarges what 8 bits round off


def test_a_second_pass_reads_what_the_first_wrote_and_lets_it_go() -> None:
    own, other = torch.zeros(1, 2, 3), torch.ones(1, 4, 3)
    first = Writing()
    assert first.seen(other) is other
    second = Reading(first)
    assert first.stored == [] and second.seen(own)[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1]


def test_steps_are_spaced_from_the_last_of_the_training() -> None:
    schedule = AncestralSchedule.of(75)
    assert schedule.timesteps[:2] == (999, 986) and schedule.timesteps[-1] == 12 and len(schedule.sigmas) == 76
    assert schedule.initial_sigma == pytest.approx(25.146, abs=1e-3)
    with pytest.raises(ConfigError, match="linear betas"):
        SchedulerConfig.from_dict({"beta_schedule": "scaled_linear"})


def test_the_last_step_has_no_noise() -> None:
    schedule = AncestralSchedule.of(2)
    v, x = (torch.full((1, 4, 2, 2), value) for value in (0.3, 0.7))
    found = [schedule.step(v, x, torch.full_like(x, noise), 1) for noise in (0.0, 9.0)]
    assert torch.equal(*found)


# -- the picture ------------------------------------------------------------------------------------------------------


def test_the_object_is_squared_with_a_margin() -> None:
    picture = np.zeros((50, 70, 4), np.uint8)
    picture[10:31, 20:62] = (9, 8, 7, 255)
    found = square_foreground(picture)
    assert found.shape == (48, 48, 4), "41 columns, of which the last is lost, over 0.85"
    rows, columns = (np.nonzero(found[..., 3].any(axis))[0] for axis in (1, 0))
    assert (len(rows), len(columns)) == (20, 41)
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(23.5, abs=1) and columns[0] == 3


@pytest.mark.parametrize("place", [None, (3, slice(None)), (slice(None), 4)])
def test_a_picture_without_an_object_is_refused(place: Any) -> None:
    picture = np.zeros((20, 20, 4), np.uint8)
    if place is not None:
        picture[place] = 255
    with pytest.raises(InputError, match="holds no object"):
        square_foreground(picture)


def test_transparency_becomes_white() -> None:
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[0, :, 3] = (0, 255, 51)
    assert on_white(picture)[0, :, 0].tolist() == [255, 0, 204]
    plain = np.zeros((2, 2, 3), np.uint8)
    assert on_white(plain) is plain


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3))])
def test_other_kinds_of_pictures_are_refused(picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"RGB or RGBA, found"):
        on_white(picture)


def test_the_middle_of_a_picture_is_taken() -> None:
    picture = np.zeros((20, 41, 3), np.uint8)
    picture[:, 10:30] = 255
    found = extract(picture, ExtractorConfig(20, 20))
    assert found.shape == (1, 3, 20, 20) and torch.allclose(found, torch.tensor(0.5 / 0.8)), "columns 10 to 29"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": {"longest_edge": 9}}, "shortest_edge"),
        ({"size": 32, "crop_size": 64}, "crop_size should be at most size"),
        ({"crop_size": {"height": 4, "width": 8}}, "square"),
        ({"resample": 2}, "bicubic"),
    ],
)
def test_other_ways_of_resizing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ExtractorConfig.from_dict(given)
