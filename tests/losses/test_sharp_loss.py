"""The loss of the dye against SciPy's convolution, numerical gradients, and a blurred truth that is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from spotlight.errors import SpotlightError
from spotlight.losses import Blur, SharpLossSettings, sharp_loss, spotlight_loss
from spotlight.losses.sharp import FOREGROUND
from spotlight.psf import PsfSettings, fluorescence_psf, gaussian_psf, read_psf
from spotlight.training import Experiment, protocol

LOPSIDED = np.random.default_rng(0).uniform(0, 1, (5, 3, 7)).astype(np.float32)
LOPSIDED /= LOPSIDED.sum()


@pytest.mark.parametrize("planes", [12, 5, 2, 1])
def test_blur_is_convolution_with_nothing_above_and_below_and_mirrors_at_the_sides(planes: int) -> None:
    image = np.random.default_rng(1).normal(0, 1, (planes, 9, 14)).astype(np.float32)
    beyond = np.pad(np.pad(image, ((2, 2), (0, 0), (0, 0))), ((0, 0), (1, 1), (3, 3)), mode="reflect")
    expected = signal.convolve(beyond, LOPSIDED, mode="valid", method="direct")
    found = Blur(LOPSIDED)(torch.from_numpy(image)[None, None])[0, 0].numpy()
    assert found == pytest.approx(expected, abs=1e-6)
    if planes > 2:
        mirrored = np.pad(image, ((2, 2), (1, 1), (3, 3)), mode="reflect")
        expected = signal.convolve(mirrored, LOPSIDED, mode="valid", method="direct")
        found = Blur(LOPSIDED, whole_depth=False)(torch.from_numpy(image)[None, None])[0, 0].numpy()
        assert found == pytest.approx(expected, abs=1e-6)


def test_no_voxel_at_the_edges_is_free() -> None:
    dye = torch.ones((1, 1, 6, 9, 14), requires_grad=True)
    target = torch.zeros_like(dye)
    sharp_loss(dye, target, target > 0, 0.5, Blur(LOPSIDED), SharpLossSettings()).total.backward()
    assert dye.grad is not None
    each = dye.grad[0, 0, 2]
    assert float(each.min()) > 0.2 * float(each[4, 7])


def test_gradients_are_those_of_differences() -> None:
    rng = np.random.default_rng(2)
    dye = torch.tensor(rng.uniform(0.5, 2, (1, 1, 4, 6, 9)), requires_grad=True)
    target, mask = torch.tensor(rng.normal(1, 1, dye.shape)), torch.tensor(rng.uniform(size=dye.shape) > 0.5)
    settings = SharpLossSettings(foreground=0.4, variation=0.1)

    def loss(values: torch.Tensor) -> torch.Tensor:
        return sharp_loss(values, target, mask, 0.7, Blur(LOPSIDED), settings).total

    loss(dye).backward()
    assert dye.grad is not None
    for place in [(0, 0, 0, 0, 0), (0, 0, 2, 3, 4), (0, 0, 3, 5, 8)]:
        step = torch.zeros_like(dye)
        step[place] = 5e-3
        with torch.no_grad():
            slope = float(loss(dye + step) - loss(dye - step)) / 1e-2
        assert float(dye.grad[place]) == pytest.approx(slope, abs=2e-4)


def test_the_true_dye_costs_nothing_and_its_blurred_image_does() -> None:
    psf = gaussian_psf((0.5, 0.2, 0.2), 0.29)
    dye = np.zeros((1, 1, 16, 24, 24), np.float32)
    dye[..., 5:11, 8:16, 8:16] = 3
    seen = signal.convolve(dye[0, 0], psf, mode="same", method="direct")[None, None]
    target, mask = torch.from_numpy(seen), torch.from_numpy(seen > 1.5)
    settings = SharpLossSettings(sigma_um=(0.5, 0.2, 0.2), foreground=0.3)
    blur = Blur(settings.psf())
    found = sharp_loss(torch.from_numpy(dye), target, mask, 1.5, blur, settings)
    assert float(found.parts["blurred_mse"]) < 1e-10
    assert float(found.parts["blurred_mse"]) < float(
        sharp_loss(target, target, mask, 1.5, blur, settings).parts["blurred_mse"]
    )
    spotlight = spotlight_loss(target, target, mask, 1.5, FOREGROUND).total
    assert float(found.parts["foreground"]) == pytest.approx(float(spotlight), abs=1e-5)
    assert float(found.total) == pytest.approx(0.3 * float(spotlight), abs=1e-5)


def test_descending_the_loss_removes_blur_along_the_axis() -> None:
    psf = gaussian_psf((0.6, 0.2, 0.2), 0.29)
    truth = np.zeros((20, 24, 24), np.float32)
    truth[8:12, 8:16, 8:16] = 1
    target = torch.from_numpy(ndimage.convolve(truth, psf, mode="constant"))[None, None]
    raw = torch.full_like(target, -2.0, requires_grad=True)
    optimizer, blur, settings = torch.optim.Adam([raw], 0.2), Blur(psf), SharpLossSettings()
    for _ in range(150):
        optimizer.zero_grad()
        stain = torch.nn.functional.softplus(raw)
        sharp_loss(stain, target, target > 0.5, 0.5, blur, settings).total.backward()
        optimizer.step()
    column, blurred = (t.detach()[0, 0, :, 12, 12].numpy() for t in (stain, target))

    def spread(profile: np.ndarray) -> float:
        z = np.arange(20)
        return float(np.sqrt((profile * (z - 9.5) ** 2).sum() / profile.sum()))

    assert spread(blurred) > 1.9 * spread(truth[:, 12, 12])
    assert spread(column) < 1.3 * spread(truth[:, 12, 12])


def test_point_spread_functions_come_from_optics_a_gaussian_or_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "bead.npy", 7 * LOPSIDED)
    measured = SharpLossSettings(file=tmp_path / "bead.npy")
    assert measured.psf() == pytest.approx(LOPSIDED)
    assert len(measured.sha256) == 64
    assert SharpLossSettings.parse(measured.model_dump(mode="json"), "again") == measured
    assert SharpLossSettings().psf() is fluorescence_psf(PsfSettings(), 0.29)
    gauss = SharpLossSettings(sigma_um=(0.6, 0.3, 0.3)).psf()
    variance = (gauss.sum((1, 2)) * (np.arange(len(gauss)) - len(gauss) // 2) ** 2).sum() * 0.29**2
    assert variance == pytest.approx(0.36, rel=0.01)
    assert gauss.sum() == pytest.approx(1)
    np.save(tmp_path / "bead.npy", LOPSIDED[:4])
    with pytest.raises(SpotlightError, match="the settings state"):
        measured.psf()
    with pytest.raises(SpotlightError, match="odd sizes"):
        read_psf(tmp_path / "bead.npy")
    np.save(tmp_path / "bead.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SpotlightError, match="pickle"):
        read_psf(tmp_path / "bead.npy")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": {"sigma_um": (1, 1, 1), "file": "none.npy"}}, "no file none.npy"),
        ({"preparation": {"target_center": "mean"}}, "target_center offset"),
        ({"network": {"positive": False}}, "network.positive true"),
        ({"preparation": {"grid": 0.4}}, "on voxels of 0.29"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, dict[str, object]], message: str) -> None:
    whole = protocol("spotlight-sharp").model_dump()
    for name, change in values.items():
        whole[name] = {**whole[name], **change}
    with pytest.raises(SpotlightError, match=message):
        Experiment.parse(whole, "test")


def test_patches_that_leave_nothing_to_judge_are_refused() -> None:
    settings = SharpLossSettings()
    settings.require_patch((48, 96, 96), {"a": (48, 200, 200), "b": (50, 200, 200)}, 8)
    for patch, shape, message in [
        ((32, 96, 96), (48, 200, 200), r"patches.size to \(48"),
        ((48, 32, 32), (48, 200, 200), "from beyond the patch"),
        ((96, 96), (200, 200), "three axes"),
    ]:
        with pytest.raises(SpotlightError, match=message):
            settings.require_patch(patch, {"a": shape}, 8)
    with pytest.raises(SpotlightError, match="from beyond the patch"):
        settings.model_copy(update={"whole_depth": False}).require_patch((48, 96, 96), {"a": (48, 96, 96)}, 8)
