"""Centre and width of an input's values, by each rule."""

import numpy as np
import pytest

from spotlight import SpotlightError
from spotlight.images import Stack
from spotlight.images.normalise import Scale, normalise, prepare_input
from spotlight.images.scaling import LOG, UINT16, input_scale, percentiles
from spotlight.pairs.prepared import PreparationSettings


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
    assert input_scale(stack, "mean/std")[:2] == pytest.approx((image.mean(), image.std()))
    low, middle, high = np.percentile(image, [25, 50, 75])
    assert input_scale(stack, "median/iqr") == Scale(middle, high - low)
    low, high = np.percentile(image, [1, 99])
    assert input_scale(stack, "percentiles")[:2] == pytest.approx((low, high - low))
    assert input_scale(stack, "uint16") == UINT16
    assert input_scale(stack, "mean/std", 3)[:2] == pytest.approx((image[3:6].mean(), image[3:6].std()))
    with pytest.raises(SpotlightError, match="has 9 planes, .* 10 planes in the middle"):
        input_scale(stack, "mean/std", 10)
    with pytest.raises(
        SpotlightError, match="float32, but the scaling 'uint16' is a fixed scale: 0 to 65535 .* Give 16-bit"
    ):
        input_scale(Stack(image.astype(np.float32), "ZYX"), "uint16")
    image[:, :7] = 5
    with pytest.raises(SpotlightError, match="interquartile range of 0 .half of its values are 5"):
        input_scale(stack, "median/iqr")
    with pytest.raises(SpotlightError, match="98 % of its values are 5"):
        input_scale(
            Stack(np.where(np.arange(1000) < 995, 5, 9).reshape(10, 100).astype(np.uint16), "YX"), "percentiles"
        )


def test_logarithms_on_a_fixed_scale() -> None:
    """The same of every part of a stack; a gain adds a constant, so that a contrast is the same at any brightness."""
    values = np.random.default_rng(1).integers(200, 9000, (24, 64, 64)).astype(np.uint16)
    stack = Stack(values, "ZYX")
    assert input_scale(stack, "log") == LOG
    whole = prepare_input(stack, "native", LOG)  # by a table of all 16-bit values
    np.testing.assert_allclose(whole, np.log((values + 1.0) / 1000), rtol=1e-5, atol=1e-6)
    part = Stack(values[5:9, 10:20], "ZYX")
    np.testing.assert_array_equal(prepare_input(part, "native", input_scale(part, "log")), whole[5:9, 10:20])
    np.testing.assert_allclose(normalise(7 * values, *LOG) - whole, np.log(7), atol=0.005)  # the 1 of v + 1 remains
    assert normalise(np.array([0, 999, 65535], np.uint16), *LOG) == pytest.approx([-np.log(1000), 0, np.log(65.536)])
    with pytest.raises(SpotlightError, match="type uint8, but the scaling 'log' is a fixed scale"):
        input_scale(Stack(values.astype(np.uint8), "ZYX"), "log")


def test_settings_of_before_are_read() -> None:
    assert PreparationSettings.parse({"scaling": "standard"}, "old").scaling == "mean/std"
