"""WiLoR on a real GPU: the original's numbers, and a transformer in float16 whose hands stay near."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import golden  # noqa: E402
import golden_wilor as runners  # noqa: E402

from geoflow.models.wilor.hand_model import HandModel  # noqa: E402
from geoflow.models.wilor.network import Prediction  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.usefixtures("single_precision"),
]


def predicted(case: golden.Case, dtype: torch.dtype | None = None) -> Prediction:
    crops = case.given("patch_bgr_u8")[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    network = runners.network_of(case.folder, case.spec["model_config"], case.spec["weights"])
    return HandModel(network, runners.body_of(case), "cuda", dtype).forward(crops)


@pytest.mark.parametrize("name", ["model_small", "model_wide"])
def test_hands_have_the_originals_numbers(name: str) -> None:
    case = golden.Strict("wilor", name)
    found = predicted(case)
    case.check("pred_cam", found.numbers.camera)
    case.check("pred_betas", found.numbers.betas)
    case.check("pred_keypoints_3d", found.joints)
    case.check("pred_keypoints_2d", found.crop_uv)


def test_the_transformer_in_float16_stays_near() -> None:
    case = golden.Strict("wilor", "model_wide")
    half = predicted(case, torch.float16)
    off = np.linalg.norm(half.joints.numpy() - case.wanted("pred_keypoints_3d"), axis=-1)
    print(f"float16: joints off by {1e3 * np.median(off):.3f} mm, at most {1e3 * off.max():.3f} mm")
    assert off.max() < 0.004
