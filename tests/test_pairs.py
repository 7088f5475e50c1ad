"""Manifests and the preparation of pairs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from spotlight.errors import SpotlightError
from spotlight.foreground import ForegroundSettings
from spotlight.images import Stack
from spotlight.pairs import PreparationSettings, prepare_pair, read_manifest, read_pairs

PLAIN = ForegroundSettings(median_px=1, gaussian_px=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b c"):
        bright = ndimage.gaussian_filter(rng.normal(size=(18, 40, 44)), 3) > 0.02
        data = np.stack([rng.normal(500, 50, bright.shape), rng.normal(100 + 100 * bright, 10)]).astype(np.uint16)
        Stack(data, "CZYX", (0.29, 0.145, 0.145), ("BF", "DNA")).save(tmp_path / f"{name}.ome.tif")
    return tmp_path


def write(folder: Path, **columns: list[str]) -> Path:
    pd.DataFrame(columns).to_csv(folder / "pairs.csv", index=False)
    return folder / "pairs.csv"


def whole(folder: Path, **more: list[str]) -> Path:
    both = ["a.ome.tif", "b c.ome.tif"]
    return write(folder, input=both, target=both, input_channel=["BF"] * 2, target_channel=["1"] * 2, **more)


def test_a_manifest_is_read_from_its_own_folder(folder: Path) -> None:
    pairs = read_manifest(whole(folder, split=["train", "TEST"], note=["x", "y"]))
    assert [(p.name, p.split) for p in pairs] == [("a", "train"), ("b c", "test")]
    image, target = pairs[0].read_both()
    assert (image.channels, target.channels, image.shape) == (("BF",), ("DNA",), (18, 40, 44))


def test_a_folder_of_two_channel_stacks(folder: Path) -> None:
    pairs = read_pairs(folder, "BF", "DNA")
    assert [p.name for p in pairs] == ["a", "b c"]
    with pytest.raises(SpotlightError, match="--input-channel"):
        read_pairs(folder)


def test_rows_of_one_file_are_told_apart_and_cropped(folder: Path) -> None:
    path = write(
        folder,
        input=["a.ome.tif"] * 2,
        target=["a.ome.tif"] * 2,
        input_channel=["BF"] * 2,
        target_channel=["DNA"] * 2,
        region=[":, :, 0:20", ":, :, 20:"],
    )
    first, second = read_manifest(path)
    assert (first.name, second.name) == ("a-1", "a-2")
    assert first.read_input().shape == (18, 40, 20)
    assert second.read_input().shape == (18, 40, 24)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"input": ["a.ome.tif"]}, "no column 'target'"),
        ({"input": ["absent.tif"], "target": ["a.ome.tif"]}, "line 2: input: .*absent.tif: no such file"),
        ({"input": ["a.ome.tif"], "target": [""]}, "line 2: input and target must both be given"),
        ({"input": ["a.ome.tif"], "target": ["a.ome.tif"], "split": ["tset"]}, "split must be train, val or test"),
        ({"input": ["a.ome.tif"], "target": ["a.ome.tif"], "voxel_size": ["0.1 x"]}, "two or three lengths"),
        ({"input": [], "target": []}, "no rows"),
    ],
)
def test_manifests_that_cannot_be_used(folder: Path, columns: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        read_manifest(write(folder, **columns))


def test_files_that_do_not_match(folder: Path) -> None:
    Stack(np.ones((18, 40, 40), np.uint16), "ZYX", (0.29, 0.145, 0.145)).save(folder / "shape.ome.tif")
    Stack(np.ones((18, 40, 44), np.uint16), "ZYX", (0.29, 0.2, 0.2)).save(folder / "voxel.ome.tif")
    Stack(np.ones((18, 40, 44), np.uint16), "ZYX").save(folder / "unstated.ome.tif")
    for name, message in (
        ("shape", "same field on the same grid"),
        ("voxel", "different voxel sizes"),
        ("unstated", "states no voxel size"),
    ):
        path = write(folder, input=["a.ome.tif"], target=[f"{name}.ome.tif"], input_channel=["BF"])
        (pair,) = read_manifest(path)
        with pytest.raises(SpotlightError, match=message):
            pair.read_both()


def test_the_published_order(folder: Path) -> None:
    """Statistics and threshold at native resolution, then a cubic zoom; the mask is where the result reaches T."""
    (pair, _) = read_manifest(whole(folder))
    raw = pair.read_target().data.astype(np.float64)
    threshold, std = threshold_otsu(raw.astype(np.float32)), raw.std()
    expected = ndimage.zoom((raw - threshold) / std, (1, 0.5, 0.5), order=3, mode="nearest")

    prepared = prepare_pair(pair, PreparationSettings(foreground=PLAIN))
    np.testing.assert_allclose(prepared.target, expected, atol=1e-4)
    np.testing.assert_array_equal(prepared.mask, prepared.target >= 0)
    assert prepared.threshold == 0
    assert prepared.foreground.threshold == pytest.approx(threshold)
    assert prepared.intensity_range == (raw.min(), raw.max())

    centred = prepare_pair(pair, PreparationSettings(foreground=PLAIN, target_center="mean"))
    assert centred.threshold == pytest.approx((threshold - raw.mean()) / std)
    # Around the threshold rounding may decide, nowhere else.
    differs = centred.mask != prepared.mask
    assert np.abs(prepared.target[differs]).max(initial=0) < 1e-5
    np.testing.assert_allclose(centred.target - centred.threshold, prepared.target, atol=1e-4)


def test_the_users_own_mask_replaces_the_threshold(folder: Path) -> None:
    mask = np.zeros((18, 40, 44), np.uint8)
    mask[:, 10:20, 10:30] = 255
    Stack(mask, "ZYX", (0.29, 0.145, 0.145)).save(folder / "mask.ome.tif")
    (pair, other) = read_manifest(whole(folder, foreground=["mask.ome.tif", ""]))
    prepared = prepare_pair(pair, PreparationSettings(grid="native", foreground=PLAIN))
    np.testing.assert_array_equal(prepared.mask, mask > 0)
    assert prepare_pair(other, PreparationSettings(grid="native", foreground=PLAIN)).mask.any()


def test_a_smoothed_mask_is_less_ragged(folder: Path) -> None:
    (pair, _) = read_manifest(whole(folder))
    plain = prepare_pair(pair, PreparationSettings(grid="native", foreground=PLAIN))
    smooth = prepare_pair(pair, PreparationSettings(grid="native", foreground=PLAIN, mask_median_px=3))
    expected = ndimage.median_filter(smooth.target, 3) >= 0
    np.testing.assert_array_equal(smooth.mask, expected)
    assert ndimage.label(smooth.mask)[1] <= ndimage.label(plain.mask)[1]


def test_nan_in_a_target(folder: Path) -> None:
    data = np.ones((18, 40, 44), np.float32)
    data[3, 2, 1] = np.nan
    Stack(data, "ZYX", (0.29, 0.145, 0.145)).save(folder / "nan.ome.tif")
    (pair,) = read_manifest(write(folder, input=["a.ome.tif"], target=["nan.ome.tif"], input_channel=["BF"]))
    with pytest.raises(SpotlightError, match=r"nan\.ome\.tif: 1 values are NaN"):
        prepare_pair(pair, PreparationSettings())
