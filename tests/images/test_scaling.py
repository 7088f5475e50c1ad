"""Centre and width of an input's values, by each rule."""

import numpy as np
import pytest

from spotlight import SpotlightError
from spotlight.images import Stack
from spotlight.images.scaling import UINT16, input_scale, percentiles
from spotlight.pairs.prepare import PreparationSettings


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("padded", [False, True])
def test_quartiles_are_those_of_numpy(kind: type, padded: bool) -> None:
    rng = np.random.default_rng(3)
    for size in (5, 6, 7, 600):
        image = rng.integers(1, 200, (2, 3, size)).astype(kind)
        image[0, 0] = 0 if padded else 7
        kept = image[image != 0] if padded else image
        np.testing.assert_allclose(
            percentiles(image, (25, 50, 75), padded), np.percentile(kept, [25, 50, 75]), rtol=1e-6
        )


def test_each_rule() -> None:
    image = np.random.default_rng(0).integers(900, 1100, (9, 8, 8)).astype(np.uint16)
    stack = Stack(image, "ZYX")
    assert input_scale(stack, "mean/std") == pytest.approx((image.mean(), image.std()))
    low, middle, high = np.percentile(image, [25, 50, 75])
    assert input_scale(stack, "median/iqr") == (middle, high - low)
    low, high = np.percentile(image, [1, 99])
    assert input_scale(stack, "percentiles") == pytest.approx((low, high - low))
    assert input_scale(stack, "uint16") == UINT16
    assert input_scale(stack, "mean/std", 3) == pytest.approx((image[3:6].mean(), image[3:6].std()))
    with pytest.raises(SpotlightError, match="has 9 planes, .* 10 planes in the middle"):
        input_scale(stack, "mean/std", 10)
    with pytest.raises(SpotlightError, match="type float32"):
        input_scale(Stack(image.astype(np.float32), "ZYX"), "uint16")
    image[:, :7] = 5
    with pytest.raises(SpotlightError, match="interquartile range of 0 .half of its values are 5"):
        input_scale(stack, "median/iqr")
    with pytest.raises(SpotlightError, match="98 % of its values are 5"):
        input_scale(
            Stack(np.where(np.arange(1000) < 995, 5, 9).reshape(10, 100).astype(np.uint16), "YX"), "percentiles"
        )


def test_settings_of_before_are_read() -> None:
    assert PreparationSettings.parse({"scaling": "standard"}, "old").scaling == "mean/std"
