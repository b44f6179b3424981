"""The norms of a GPU: their formula on the CPU, in both memory formats, against PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from geoflow.models.diffusion import norm  # noqa: E402


@pytest.mark.parametrize("shape", [(3, 64, 9, 7), (1, 64, 4, 63), (2, 32, 5, 5)])
@pytest.mark.parametrize("last", [False, True])
def test_the_gpus_way_is_the_same_norm(shape: tuple[int, ...], last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norm, "_in_own_way", lambda x: True)
    generator = torch.Generator().manual_seed(0)
    layer = norm.group_norm(shape[1], 1e-5)
    for parameter in (layer.weight, layer.bias):
        parameter.data.normal_(generator=generator)
    x = torch.randn(shape, generator=generator) * 3 + 5
    if last:
        x = x.to(memory_format=torch.channels_last)
    wanted = torch.nn.GroupNorm.forward(layer.double(), x.double())
    layer.float()
    error = 2e-6 * 20  # float32 on values up to some 20
    assert (layer(x).double() - wanted).abs().max() < error
    out = torch.empty_like(x)
    assert layer.silu(x, out) is out and (out.double() - torch.nn.functional.silu(wanted)).abs().max() < error
    assert (layer.silu(x, x).double() - torch.nn.functional.silu(wanted)).abs().max() < error


def test_networks_have_these_norms_and_no_others() -> None:
    from small_crafter import small_networks

    found: set[Any] = set()
    for network in small_networks().modules().values():
        found |= {type(layer) for layer in network.modules() if isinstance(layer, torch.nn.GroupNorm)}
    assert found == {norm.GroupNorm}
