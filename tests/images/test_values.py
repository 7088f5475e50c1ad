"""Types of values: truth values are 0 and 1, whole and real numbers are taken, all else is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.foreground import ForegroundSettings, find_foreground
from spotlight.images import Stack, read, resample
from spotlight.images.normalise import mean_and_std, zeros_are_padding
from spotlight.metrics import fit_micro_ms3im
from spotlight.segmentation import SegmentationSettings, segment

BODY = np.zeros((6, 12, 14), bool)
BODY[1:4, 2:8, 3:9] = True

NO_IMAGES: dict[str, tuple[NDArray[Any], str]] = {
    "complex": (BODY.astype(np.complex64), r"numpy\.abs"),
    "objects": (BODY.astype(object), "astype"),
    "text": (BODY.astype("U3"), "intensities"),
    "bytes": (BODY.astype("S3"), "intensities"),
    "dates": (BODY.astype("datetime64[s]"), "intensities"),
    "durations": (BODY.astype("timedelta64[s]"), "intensities"),
    "records": (np.zeros(BODY.shape, [("a", "u1"), ("b", "f4")]), "fields"),
}


@pytest.mark.parametrize("kind", ["array", "strided", "npy", "zarr", "tif"])
def test_truth_values_are_0_and_1(tmp_path: Path, kind: str) -> None:
    if kind == "array":
        stack = Stack(BODY, "ZYX")
    elif kind == "strided":
        stack = Stack(BODY.repeat(2, 2)[..., ::2], "ZYX")
    else:
        path = tmp_path / f"body.{kind}"
        if kind == "npy":
            np.save(path, BODY)
        elif kind == "zarr":
            zarr.create_array(path, data=BODY)
        else:
            tifffile.imwrite(path, BODY, photometric="minisblack")
        stack = read(path, axes="ZYX")
    assert stack.dtype == stack.data.dtype == np.uint8
    np.testing.assert_array_equal(stack.data, BODY)


def test_truth_values_are_measured_like_numbers() -> None:
    number = BODY.astype(np.uint8)
    assert find_foreground(BODY) == find_foreground(number)
    assert mean_and_std(Stack(BODY, "ZYX").values) == mean_and_std(number)
    assert zeros_are_padding(Stack(BODY, "ZYX").values) is False
    noisy = BODY ^ (np.random.default_rng(0).random(BODY.shape) < 0.1)
    assert fit_micro_ms3im([BODY], [noisy]) == fit_micro_ms3im([number], [noisy.astype(np.uint8)])
    assert resample(BODY, (3, 6, 7), order=0).dtype == bool


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_is_no_number_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    array, remedy = NO_IMAGES[kind]
    message = f"of type .*, but images are of whole or real numbers.*{remedy}"
    with pytest.raises(SpotlightError, match=message):
        Stack(array, "ZYX")
    with pytest.raises(SpotlightError, match=message):
        find_foreground(array)
    with pytest.raises(SpotlightError, match=message):
        resample(array, (3, 6, 7))
    if kind != "objects":  # those would be pickled
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(SpotlightError, match=message):
            read(tmp_path / "a.npy", axes="ZYX")


def test_what_is_no_array_and_what_is_masked_is_refused() -> None:
    with pytest.raises(SpotlightError, match=r"NumPy array. Received: list. Convert it with numpy\.asarray"):
        Stack([[0, 1], [1, 0]], "YX")  # type: ignore[arg-type]
    with pytest.raises(SpotlightError, match="masked.*filled"):
        Stack(np.ma.masked_less(np.arange(6).reshape(2, 3), 2), "YX")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_one_bright_voxel_among_zeros_is_no_constant_image(dtype: type[np.generic]) -> None:
    image = np.zeros((4, 20, 20), dtype)
    image[1, 3, 5] = 1
    mean, std = mean_and_std(image, zeros_are_padding(image))
    assert (mean, std) == (pytest.approx(image.mean()), pytest.approx(image.std()))
    assert 0 < find_foreground(image, ForegroundSettings(median_px=1, gaussian_px=0)).threshold <= 1
    with pytest.raises(SpotlightError, match=r"spot: is constant \(0\) after smoothing"):
        find_foreground(image, ForegroundSettings(median_px=5, gaussian_px=0), name="spot")


def test_a_body_of_less_than_a_thousandth_of_a_dark_field_is_segmented() -> None:
    image = np.zeros((30, 64, 64), np.uint16)
    image[14:18, 30:35, 30:35] = 900
    found = segment(Stack(image, "ZYX", (1.0, 1.0, 1.0)), SegmentationSettings(voxel_um=None, median_px=1, min_size=10))
    assert set(np.unique(found.data)) == {0, 1}


def imagej(path: Path, data: NDArray[Any], calibration: str) -> Path:
    planes = f"images={len(data)}\nslices={len(data)}\n"
    description = f"ImageJ=1.54f\n{planes}unit=um\nspacing=0.3\nmin=0.0\nmax=9.0\n{calibration}".encode()
    tifffile.imwrite(path, data, description=description, metadata=None, photometric="minisblack", byteorder=">")
    return path


@pytest.mark.parametrize("calibration", ["cf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n", "c0=-32768.0\nc1=1.0\n"])
def test_signed_numbers_of_imagej(tmp_path: Path, calibration: str) -> None:
    data = np.array([[[-32768, -1, 0], [1, 300, 32767]]] * 2, np.int16)
    path = imagej(tmp_path / "a.tif", (data.astype(np.int32) + 32768).astype(np.uint16), calibration)
    stack = read(path)
    assert (stack.dtype, stack.axes) == (np.int16, "ZYX")
    np.testing.assert_array_equal(stack.data, data)
    np.testing.assert_array_equal(
        read(path, axes="ZYX").crop((slice(1, 2), slice(1, 2), slice(0, 2))).data, [[[1, 300]]]
    )


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ("cf=0\nc0=-10.0\nc1=0.5\nvunit=pH\n", r"to -10.0 \+ 0.5 x value \(unit: pH\)"),
        ("cf=3\nc0=1.0\nc1=2.0\nc2=0.1\nvunit=Conc\n", r"a function of them \(unit: Conc\)"),
        ("cf=21\nvunit=Uncalibrated OD\n", r"a function of them \(unit: Uncalibrated OD\)"),
        ("cf=0\nc0=0.0\nc1=1.0\nvunit=Gray Value\n", ""),
        ("cf=20\nvunit=Gray Value\n", ""),
        ("", ""),
    ],
)
def test_other_calibrations_of_imagej_are_told_once(
    tmp_path: Path, calibration: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    path = imagej(tmp_path / "a.tif", data, calibration)
    for _ in range(2):
        np.testing.assert_array_equal(read(path).data, data)
    assert len(caplog.messages) == (1 if said else 0)
    assert re.search(said, caplog.text)
