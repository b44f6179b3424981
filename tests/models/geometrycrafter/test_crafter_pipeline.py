"""Priors, codec and both pipelines against the original ones, step by step."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
from crafter_networks import make, make_networks  # noqa: E402

from geoflow.models.geometrycrafter.config import ModelConfig  # noqa: E402
from geoflow.models.geometrycrafter.encoding import encode_prior  # noqa: E402
from geoflow.models.geometrycrafter.maps import FocalSum, make_points, restore  # noqa: E402
from geoflow.models.geometrycrafter.networks import Networks  # noqa: E402
from geoflow.models.geometrycrafter.options import Options  # noqa: E402
from geoflow.models.geometrycrafter.pipeline import GeometryCrafter  # noqa: E402
from geoflow.models.geometrycrafter.priors import PriorMaps, PriorSurvey, prior_maps, rays  # noqa: E402
from geoflow.models.geometrycrafter.scheduler import EulerSchedule  # noqa: E402

MODEL = "geometrycrafter"


def test_priors() -> None:
    case = golden.Case(MODEL, "priors")
    for call in case.spec["calls"]:
        name, chunk = call["name"], call["chunk_size"]
        points = torch.from_numpy(case.given(f"{name}.points")).float()
        mask = torch.from_numpy(case.given(f"{name}.mask")).bool()
        survey = PriorSurvey()
        for start in range(0, len(points), chunk):
            survey.add(points[start : start + chunk], mask[start : start + chunk])
        statistics = survey.finish()
        maps = prior_maps(points, mask, statistics)
        case.check(f"{name}.norm_factor", statistics.scale)
        case.check(f"{name}.disparity_range", [statistics.low, statistics.high])
        case.check(f"{name}.disparity", maps.disparity[:, 0])
        case.check(f"{name}.valid_mask", maps.mask[:, 0])
        case.check(f"{name}.log_depth", maps.log_depth[:, 0])
        case.check(f"{name}.xy", rays(points / statistics.scale, mask))
        case.check(f"{name}.intrinsic", maps.intrinsics)


@pytest.mark.long
@pytest.mark.parametrize("name", ["codec", "codec_eps"])
def test_codec(name: str) -> None:
    case = golden.Case(MODEL, name)
    vae, point_map_vae = (make(part, case.spec["components"][part]) for part in ("vae", "point_map_vae"))
    disparity, mask, log_depth = (
        torch.from_numpy(case.given(f"encode.{key}"))[:, None] for key in ("disparity", "valid_mask", "log_depth")
    )
    case.check("encode.vae_mode", vae(disparity.expand(-1, 3, -1, -1))[0])
    networks = Networks(None, point_map_vae, vae, None, ModelConfig())  # type: ignore[arg-type]
    given = PriorMaps(disparity, mask, log_depth, torch.from_numpy(case.given("encode.intrinsic")))
    case.check("encode.latents", encode_prior(networks, given))
    for call in case.spec["calls"]:
        check_decoding(case, point_map_vae, call)


def check_decoding(case: golden.Case, vae: Any, call: dict[str, Any]) -> None:
    """One combination of options: latents to raw maps, points and mask."""
    given, name = dict(call["options"]), call["name"]
    latents = torch.from_numpy(case.given("decode.latents"))
    size = (given.pop("height", 8 * latents.shape[2]), given.pop("width", 8 * latents.shape[3]))
    given.pop("need_resize")
    options = Options(decode_chunk_size=given.pop("chunk_size"), **given)
    raw = [vae.decode(part, len(part)) for part in latents.split(options.decode_chunk_size)]
    if call.get("raw"):
        for key, parts in zip(("imap", "dmap", "vmask"), zip(*raw)):
            case.check(f"{name}.{key}", torch.cat(parts))
    focal, depth, diagonal, masks = FocalSum(), [], [], []
    for part in raw:
        maps = restore(part, size, options)
        focal.add(maps)
        depth.append(maps.depth)
        masks.append(maps.mask)
        diagonal.append(maps.frame_diagonal() if options.force_projection else maps.diagonal)
    points = make_points(
        torch.cat(depth).numpy(), focal.diagonal() if options.fixed_focal else torch.cat(diagonal).numpy()
    )
    case.check(f"{name}.point_map", points)
    case.check_log_depth(f"{name}.point_map", points)
    case.check_mask(f"{name}.valid_mask", torch.cat(masks))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "low_memory"),
    [
        ("pipeline_determ", False),
        ("pipeline_determ_resize", False),
        ("pipeline_diff", False),
        ("pipeline_diff_cfg_resize", False),
        ("pipeline_diff_cfg_resize", True),
    ],
)
def test_pipeline(name: str, low_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    case = golden.Case(MODEL, name)
    options = Options(model_type=case.spec["kind"], low_memory_usage=low_memory, **case.spec["options"])
    crafter = GeometryCrafter(make_networks(case.spec["components"]), options)
    seen = Seen(monkeypatch, crafter)
    frames = case.given("video_u8").transpose(0, 2, 3, 1)
    noise = torch.from_numpy(case.given("noise"))[0] if options.model_type == "diff" else None
    points, mask = crafter.reconstruct(frames, case.given("prior_points"), case.given("prior_mask"), noise).collect()
    seen.check(case)
    case.check("depth", points[..., 2])
    case.check_log_depth("depth", points[..., 2])
    case.check("point_map_sub4", points[:, ::4, ::4])
    case.check_log_depth("point_map_sub4", points[:, ::4, ::4])
    case.check_mask("valid_mask", mask, flips=3)


class Seen:
    """Notes what passes between the parts of a pipeline."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, crafter: GeometryCrafter) -> None:
        self.known: list[tuple[int, Any]] = []
        self.decoded: list[Any] = []
        self.windows: list[Any] = []
        self.steps: list[tuple[Any, Any, Any]] = []  # v, latents before, latents after
        self.resized: list[Any] = []
        self.frames: Any = None
        self._watch_encoding(monkeypatch)
        self._watch_sampling(monkeypatch)
        decode = crafter.decode

        def note_decoded(latents: Any, *more: Any) -> Any:
            self.decoded.append(latents)
            return decode(latents, *more)

        monkeypatch.setattr(crafter, "decode", note_decoded)

    def _watch_encoding(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from geoflow.models.geometrycrafter import encoding

        encode, prior, embed = encoding.FrameEncoder.encode, encoding.encode_prior, encoding.FrameEncoder.embed

        def note_known(self_: Any, start: int, stop: int) -> Any:
            known = encode(self_, start, stop)
            self.known.append((start, known))
            return known

        def note_prior(networks: Any, maps: Any) -> Any:
            self.resized.append((maps, self.frames))
            return prior(networks, maps)

        def note_frames(self_: Any, frames: Any) -> Any:
            self.frames = frames
            return embed(self_, frames)

        monkeypatch.setattr(encoding.FrameEncoder, "encode", note_known)
        monkeypatch.setattr(encoding.FrameEncoder, "embed", note_frames)
        monkeypatch.setattr(encoding, "encode_prior", note_prior)

    def _watch_sampling(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from geoflow.models.geometrycrafter.denoise import Regression

        window, step = Regression.window, EulerSchedule.step

        def note_window(self_: Any, *given: Any) -> Any:
            self.windows.append(window(self_, *given))
            return self.windows[-1]

        def note_step(self_: Any, v: Any, x: Any, i: int) -> Any:
            after = step(self_, v, x, i)
            self.steps.append((v, x.clone(), after))
            return after

        monkeypatch.setattr(Regression, "window", note_window)
        monkeypatch.setattr(EulerSchedule, "step", note_step)

    def check(self, case: golden.Case) -> None:
        """Compare with all that the case knows of the way to the result."""
        case.check("video_embeddings", torch.cat([known.embeddings for _, known in self.known]))
        case.check("video_latents", torch.cat([known.video for _, known in self.known]))
        case.check("prior_latents", torch.cat([known.prior for _, known in self.known]))
        case.check("decode_latents", torch.cat(self.decoded))
        for k, latents in enumerate(self.windows):
            case.check(f"window{k}.latents", latents[None])
        steps = case.spec["options"].get("num_inference_steps", 1)
        for n, (v, before, after) in enumerate(self.steps):
            k, i = divmod(n, steps)
            if i == 0:
                case.check(f"window{k}.init", before[None])
            case.check(f"window{k}.v{i}", v[None])
            case.check(f"window{k}.step{i}", after[None])
        if "resized.disparity" in case.spec["outputs"]:
            self._check_resized(case)

    def _check_resized(self, case: golden.Case) -> None:
        maps, frames = zip(*self.resized)
        for name, key in (("disparity", "disparity"), ("valid_mask", "mask"), ("log_depth", "log_depth")):
            case.check(f"resized.{name}", torch.cat([getattr(part, key)[:, 0] for part in maps]))
        case.check("resized.intrinsic", torch.cat([part.intrinsics for part in maps]))
        video = (torch.cat(frames) + 1) / 2
        case.check("resized.video_frame0", video[:1])
        case.check("resized.video_mean", video.mean((2, 3)))
