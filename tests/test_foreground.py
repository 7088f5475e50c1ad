"""Thresholds against scikit-image, the author's recipe spelled out again, and warnings of the implausible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import filters, morphology

from spotlight.errors import SpotlightError
from spotlight.foreground import ForegroundSettings, find_foreground

PLAIN = ForegroundSettings(median_px=1, gaussian_px=0)


def blobs(seed: int = 0, share: float = 0.15, shape: tuple[int, ...] = (16, 40, 40)) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    field = filters.gaussian(rng.normal(size=shape), 3, preserve_range=True)
    bright = field > np.quantile(field, 1 - share)
    return rng.normal(100 + 200 * bright, 20).astype(np.float32)


@pytest.mark.parametrize("method", ["otsu", "li", "triangle", "yen"])
@pytest.mark.parametrize("shape", [(16, 40, 40), (90, 90)])
def test_plain_thresholds_are_those_of_scikit_image(method: str, shape: tuple[int, ...]) -> None:
    image = blobs(shape=shape)
    found = find_foreground(image, ForegroundSettings(method=method, median_px=1, gaussian_px=0))  # type: ignore[arg-type]
    assert found.threshold == pytest.approx(getattr(filters, f"threshold_{method}")(image), rel=1e-6)
    assert found.fraction == pytest.approx((image >= found.threshold).mean())


def test_the_authors_recipe() -> None:
    image = blobs()
    median = filters.median(image, morphology.footprint_rectangle((5, 5, 5)), mode="reflect")
    smooth = filters.gaussian(median, 5, mode="reflect", preserve_range=True, truncate=4)
    found = find_foreground(image)
    assert found.threshold == pytest.approx(filters.threshold_otsu(smooth), rel=1e-5)
    # Smoothing serves to choose the threshold; it is applied to the image itself.
    assert found.fraction == pytest.approx((image >= found.threshold).mean())


def test_fixed_value() -> None:
    assert find_foreground(blobs(), ForegroundSettings(method="fixed", value=180)).threshold == 180
    for wrong in ({"method": "fixed"}, {"value": 3.0}):
        with pytest.raises(SpotlightError, match="fixed"):
            ForegroundSettings.parse(wrong, "test")


@settings(max_examples=15)
@given(st.floats(0.01, 50), st.floats(-500, 500))
def test_the_mask_does_not_depend_on_units(scale: float, offset: float) -> None:
    image = blobs().astype(np.float64)
    a, b = find_foreground(image, PLAIN), find_foreground(image * scale + offset, PLAIN)
    assert b.fraction == pytest.approx(a.fraction, abs=2e-3)


@pytest.mark.parametrize("chosen", [PLAIN, ForegroundSettings()])
def test_zero_padding_does_not_move_the_threshold(chosen: ForegroundSettings) -> None:
    image = blobs(shape=(24, 48, 48))
    padded = np.pad(image, ((0, 0), (30, 30), (30, 30)))
    a, b = find_foreground(image, chosen), find_foreground(padded, chosen)
    assert b.threshold == pytest.approx(a.threshold, rel=0.06)
    assert b.fraction == pytest.approx(a.fraction, rel=0.2)
    assert filters.threshold_otsu(padded) < 0.8 * a.threshold  # what would happen otherwise


def test_implausible_foregrounds_are_said() -> None:
    assert find_foreground(blobs(), PLAIN).warnings == ()
    (sparse,) = find_foreground(blobs(), ForegroundSettings(method="fixed", value=375)).warnings
    assert "expected at least 0.1 %" in sparse
    (dense,) = find_foreground(blobs(), ForegroundSettings(method="fixed", value=90)).warnings
    assert "expected at most 40 %" in dense
    (empty,) = find_foreground(blobs(), ForegroundSettings(method="fixed", value=1e6)).warnings
    assert "empty" in empty


@pytest.mark.parametrize("image", [np.full((4, 5, 5), 3), np.zeros((6, 6))])
def test_a_constant_target_has_no_foreground(image: NDArray[np.generic]) -> None:
    with pytest.raises(SpotlightError, match="cells.tif: is constant"):
        find_foreground(image, name="cells.tif")
