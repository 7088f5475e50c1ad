"""What `check` says of masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from conftest import real_data
from spotlight import check
from spotlight.images import Stack
from spotlight.pairs import CheckSettings, Pair
from spotlight.pairs.check_masks import check_mask, names_masks
from spotlight.report import write_check_page

SHAPE = (12, 96, 96)
RNG = np.random.default_rng(0)
SPOTS = ndimage.gaussian_filter(RNG.random(SHAPE), (1, 3, 3))
MASK = np.quantile(SPOTS, 0.93) < SPOTS
BRIGHT = 300 + 900 * ndimage.gaussian_filter(MASK.astype(float), 0.7) + RNG.normal(0, 25, SHAPE)
IMAGE = Stack(BRIGHT.astype(np.uint16), "ZYX", (2.0, 1.0, 1.0), ("488",))


def found_in(mask: np.ndarray, image: Stack = IMAGE) -> dict[str, str]:
    report = check_mask(
        Pair.of_arrays("a", image, Stack(mask.astype(np.uint8), "ZYX", (2.0, 1.0, 1.0))), CheckSettings()
    )
    return {finding.subject: f"{finding.severity}: {finding.found}" for finding in report.findings}


def test_a_mask_that_fits_has_no_findings() -> None:
    partly = np.where(np.arange(96) < 50, MASK, 255)
    assert found_in(MASK) == found_in(partly) == {}
    pair = Pair.of_arrays("a", IMAGE, Stack(partly.astype(np.uint8), "ZYX", (2.0, 1.0, 1.0)))
    figures = check_mask(pair, CheckSettings()).figures
    assert figures["annotated_fraction"] == pytest.approx(50 / 96)
    assert figures["foreground_fraction"] == pytest.approx(MASK[..., :50].mean())
    inside, beside = (IMAGE.data[..., :50][one] for one in (MASK[..., :50], ~MASK[..., :50]))
    assert figures["contrast"] == pytest.approx((inside.mean() - beside.mean()) / beside.std())


def test_masks_that_do_not_fit_are_told() -> None:
    assert found_in(3 * MASK) == {"values": "error: has the values 0, 3, not 0, 1 and 255."}
    assert "255 means not annotated" in found_in(255 * MASK)["values"]
    numbered = ndimage.label(MASK)[0] % 200
    assert "and" in found_in(numbered)["values"]
    assert found_in(np.full(SHAPE, 255)) == {"annotation": "error: nothing is annotated."}
    moved = found_in(np.roll(MASK, (11, 8), (1, 2)))
    assert moved["registration"].startswith("warning: the mask lies +11.0 pixels in Y and +8.0 in X")
    stripes = np.broadcast_to(np.arange(96) % 8 < 4, SHAPE)
    assert "contrast" in found_in(stripes)
    assert "must show the same field" in found_in(MASK[:8])["unusable"]
    bright = replace(IMAGE, array=np.where(MASK, 4095, IMAGE.data).astype(np.uint16))
    assert "at the top" in found_in(MASK, bright)["saturation"]


@pytest.mark.slow
def test_a_manifest_of_masks_is_checked_as_one(tmp_path: Path) -> None:
    rows = []
    for n, split in enumerate(("train", "val", "test")):
        replace(IMAGE, array=np.roll(IMAGE.data, 7 * n, 2)).save(tmp_path / f"{n}.ome.tif")
        Stack(np.roll(MASK, 7 * n, 2).astype(np.uint8), "ZYX").save(tmp_path / f"{n}-spots.tif")
        Stack((MASK & (n > 0)).astype(np.uint8), "ZYX").save(tmp_path / f"{n}-nerves.tif")
        masks = {"mask:spots": f"{n}-spots.tif", "mask:nerves": f"{n}-nerves.tif", "mask:gut": ""}
        rows.append({"input": f"{n}.ome.tif", **masks, "split": split, "specimen": "m1" if n else "m0"})
    rows[2]["mask:gut"] = "2-spots.tif"
    pd.DataFrame(rows).to_csv(tmp_path / "masks.csv", index=False)
    assert names_masks(tmp_path / "masks.csv")
    result = check(tmp_path / "masks.csv", tmp_path / "found")
    said = {(row["pair"], row["subject"]): row["found"] for row in result.findings.to_dict("records")}
    assert said["nerves", "nothing to learn"] == "the structure 'nerves' has no voxel in any mask of the split train."
    assert said["gut", "nothing to learn"] == "the structure 'gut' has no mask of the split train."
    assert ("m1", "leak") in said
    assert ("spots", "nothing to learn") not in said
    assert result.failed
    page = write_check_page(result, tmp_path / "found").read_text(encoding="utf-8")
    assert "contrast (deviations)" in page
    table = result.pairs.set_index("pair")
    assert table.loc["0-spots", "foreground_fraction"] == pytest.approx(MASK.mean())
    (tmp_path / "stain.csv").write_text("input,target,mask\n0.ome.tif,1.ome.tif,0-spots.tif\n")
    assert not names_masks(tmp_path / "stain.csv")


@pytest.mark.slow
def test_real_masks_are_in_place() -> None:
    folder = real_data("lightsheet_spots_3d")
    for name in ("microglia_1874_0", "cFos_695_0"):
        pair = Pair(name, folder / f"{name}.ome.tif", folder / f"{name}_mask.ome.tif")
        report = check_mask(pair, CheckSettings())
        assert [f.subject for f in report.findings if f.severity == "error"] == []
        assert "registration" not in [f.subject for f in report.findings]
        assert report.figures["contrast"] > 1
