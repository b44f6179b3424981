"""SAM 2's weights and pictures: what loads, what is refused and why, and transformers beside a torchvision."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import load_file, save_file  # noqa: E402
from small_sam2 import SIZE, publish  # noqa: E402

from geoflow.bench.sam2.made_up_sam2 import moving_discs, small_network  # noqa: E402
from geoflow.errors import ConfigError, EnvironmentBroken  # noqa: E402
from geoflow.models.sam2 import Shown, Sight, from_pretrained, label_map  # noqa: E402
from geoflow.models.sam2.frame_pixels import frame_pixels, prompt_points  # noqa: E402
from geoflow.models.without_torchvision import without_torchvision  # noqa: E402

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_published_folder_is_the_network(folder: Path) -> None:
    model, expected = from_pretrained(folder), small_network()
    assert sum(weight.numel() for weight in expected.parameters()) < 2e6
    found = model.network.state_dict()
    assert found.keys() == expected.state_dict().keys()
    assert all(torch.equal(found[key], weight) for key, weight in expected.state_dict().items())


def test_other_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    lacking = {key: value for key, value in weights.items() if key != "no_memory_embedding"}
    more = {**weights, "other.weight": torch.zeros(1)}
    for state, message in ((lacking, "missing keys: .*no_memory_embedding"), (more, "unexpected keys: .*other.weight")):
        save_file(state, copy / "model.safetensors", {"format": "pt"})
        with pytest.raises(ConfigError, match=message):
            from_pretrained(copy)
    (copy / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="cannot be read as SAM 2"):
        from_pretrained(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"holds no model.safetensors; give a folder laid out as"):
        from_pretrained(copy)


def test_another_kind_of_model_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "model_type": "sam3_video"}))
    with pytest.raises(ConfigError, match="holds a sam3_video, expected sam2_video"):
        from_pretrained(copy)


def test_a_smaller_working_size_changes_no_weight(folder: Path) -> None:
    model = from_pretrained(folder, most_size=64)
    assert model.size == 64 and from_pretrained(folder, most_size=512).size == SIZE
    run = model.begin()
    for t, rgb in enumerate(moving_discs(3)):
        (sight,) = run.step(t, rgb, {1: Shown(box=(6, 8, 22, 24))} if t == 0 else {}).values()
        assert sight.logits.shape == (16, 16)
    with pytest.raises(ConfigError, match="should be a multiple of 32 and at least 64, found 100"):
        from_pretrained(folder, most_size=100)


def test_a_torchvision_that_does_not_fit_does_no_harm(folder: Path, tmp_path: Path) -> None:
    """A Python whose torchvision was built for another torch: importing it fails as the wheel beside a CPU torch."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + "{}"
    plain = "from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel"
    ours = f"from geoflow.models.sam2 import from_pretrained; print(from_pretrained({str(folder)!r}).size)"
    found = [
        subprocess.run([sys.executable, "-c", script.format(code)], capture_output=True, text=True)
        for code in (plain, ours)
    ]
    assert found[0].returncode != 0 and "torchvision::nms" in found[0].stderr, "transformers alone falls over it"
    assert found[1].returncode == 0 and found[1].stdout.strip() == str(SIZE)
    with pytest.raises(EnvironmentBroken, match=r"torchvision .* does not fit torch .*: uninstall it"):  # noqa: SIM117
        with without_torchvision():
            raise RuntimeError("operator torchvision::nms does not exist")


def test_pictures_and_prompts_are_as_the_published_program_has_them() -> None:
    grey = np.full((48, 64, 3), 255, np.uint8)
    pixels = frame_pixels(grey, 32, "cpu")
    assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.float32
    np.testing.assert_allclose(pixels[:, 5, 5], [2.2489, 2.4286, 2.64], atol=1e-4)  # (1 - mean) / deviation
    inputs = prompt_points((16, 12, 32, 24), ((8.0, 6.0, True), (40.0, 36.0, False)), 48, 64, 1024)
    assert inputs["point_coords"].tolist() == [[[[256, 256], [512, 512], [128, 128], [640, 768]]]]
    assert inputs["point_labels"].tolist() == [[[2, 3, 1, 0]]]


def test_labels_do_not_overlap_and_small_holes_are_filled() -> None:
    def sight(mask: np.ndarray, high: float) -> Sight:
        return Sight(torch.from_numpy(np.where(mask, high, -5.0).astype(np.float32)), 1.0)

    left, right = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    left[2:18, 2:12] = True
    left[5, 5] = left[8:11, 4:7] = False  # holes of 1 and 9 pixels
    right[2:18, 8:18] = True
    sights = {9: sight(left, 3.0), 4: sight(right, 6.0), 2: Sight(torch.full((20, 20), -1024.0), -1.0)}
    found = label_map(sights, 20, 20, most_hole=4)
    assert set(np.unique(found)) == {0, 4, 9}
    assert (found[2:18, 8:18] == 4).all() and (found[2:5, 2:8] == 9).all()
    assert found[5, 5] == 9 and (found[8:11, 4:7] == 0).all()
    assert (label_map(sights, 20, 20, most_hole=9)[8:11, 4:7] == 9).all()
    assert label_map(sights, 20, 20, most_hole=0)[5, 5] == 0
    assert not label_map({}, 20, 20).any()
