"""The refinement makes no more of its maps than is read, and reads what whole maps have there."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from small_wilor import network  # noqa: E402

from geoflow.models.wilor.backbone import Numbers  # noqa: E402


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.4, 2.0, 9.0])
@torch.inference_mode()
def test_a_corner_of_the_maps_is_as_good_as_the_whole(spread: float) -> None:
    """Also for vertices far from the crop's middle, and for a hand that is nearly behind the camera."""
    torch.manual_seed(0)
    refine = network().refine_net
    features, vertices = torch.randn(2, 32, 16, 12), spread * torch.randn(2, 778, 3)
    first = Numbers(torch.randn(2, 96), torch.randn(2, 10), torch.tensor([[4.0, 0.02, -0.01], [2.5, 0.3, 0.4]]))
    sizes: list[tuple[int, ...]] = []
    handle = refine.deconv.first_conv.register_forward_hook(lambda module, given, out: sizes.append(out.shape[2:]))
    found = refine(features, vertices, first)
    handle.remove()
    whole = refine.vertex_features(refine.deconv(features), refine.positions(vertices, first.camera))
    assert torch.allclose(found.pose, first.pose + refine.dec_pose(whole), atol=1e-5)
    assert torch.allclose(found.camera, first.camera + refine.dec_cam(whole), atol=1e-5)
    far = max(float(one.max()) for one in refine.positions(vertices, first.camera))
    wanted = min(int(max(far, 0)) + 2, 16), min(int(max(far, 0)) + 2, 12)
    assert tuple(sizes[0]) == wanted
    assert (wanted == (2, 2)) == (spread < 0.2)


@torch.inference_mode()
def test_what_is_not_a_number_does_no_harm() -> None:
    refine = network().refine_net
    first = Numbers(torch.zeros(1, 96), torch.zeros(1, 10), torch.full((1, 3), torch.nan))
    found = refine(torch.randn(1, 32, 16, 12), torch.zeros(1, 778, 3), first)
    assert np.isnan(found.camera.numpy()).all()
