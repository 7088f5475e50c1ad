"""Manifests and the preparation of pairs."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from spotlight.errors import SpotlightError
from spotlight.foreground import ForegroundSettings
from spotlight.images import Selection, Stack, stem
from spotlight.pairs import Pair, PreparationSettings, prepare_pair, read_manifest, read_pairs
from spotlight.pairs.fields import group_fields, join_planes
from spotlight.pairs.manifest import name_apart, require_distinct, write_manifest
from spotlight.pairs.prepare import find_offset

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
        ({"input": ["a.ome.tif"], "target": [""]}, "line 2: input or target is empty"),
        ({"input": ["a.ome.tif"], "target": ["a.ome.tif"], "split": ["tset"]}, "split must be train, val or test"),
        ({"input": ["a.ome.tif"], "target": ["a.ome.tif"], "voxel_size": ["0.1 x"]}, "two or three lengths"),
        ({"input": [], "target": []}, "no rows"),
        (
            {"input": ["a.ome.tif"], "target": ["a.ome.tif"], "modality": ["fluo"]},
            r"line 2: modality must be one of brightfield \(BF\), phase \(PC\), dic \(DIC\), or empty. .*'fluo'",
        ),
        ({"input": ["a.ome.tif"], "target": ["a.ome.tif"], "focus_offset": ["1.5"]}, "whole number of planes.*'1.5'"),
        ({"input": ["a.ome.tif"], "target": ["a.ome.tif"], "targt_channel": ["1"]}, "did you mean 'target_channel'"),
        (
            {"input": ["a.ome.tif", "b c.ome.tif"], "target": ["a.ome.tif", "b c.ome.tif"], "split": ["train", ""]},
            "line 3: has no split, but other rows do",
        ),
    ],
)
def test_manifests_that_cannot_be_used(folder: Path, columns: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        read_manifest(write(folder, **columns))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input,target,region\na.ome.tif,a.ome.tif,:,:,0:20\n", "line 2: has 5 cells, but the header has 3"),
        ("input,target\na.ome.tif\n", "line 2: has 1 cells"),
        ("input;target\na.ome.tif;a.ome.tif\n", "separated by semicolons. Save it with commas"),
        ("input\ttarget\na.ome.tif\ta.ome.tif\n", "separated by tabs.*Save it with commas"),
        ("input|target\na.ome.tif|a.ome.tif\n", "separated by bars"),
        ("sep=,\ninput,target\na.ome.tif,a.ome.tif\n", "first row is 'sep=,'.*Remove that row\\.$"),
        ("sep=;\ninput;target\na.ome.tif;a.ome.tif\n", "Remove that row, and save the table with commas"),
        ("input,target\nsub\\a.ome.tif,a.ome.tif\n", "separated by /.*Write '.*/sub/a.ome.tif'"),
        ("input,target\nC:\\x\\a.ome.tif,a.ome.tif\n", "Windows path.*on this machine"),
        ("input,target,input\na,b,c\n", "column 'input' twice"),
        ("", "no column 'input'"),
    ],
)
def test_tables_that_do_not_hold_together(folder: Path, text: str, message: str) -> None:
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(SpotlightError, match=message):
        read_manifest(folder / "pairs.csv")


def test_a_table_that_is_no_text(folder: Path) -> None:
    (folder / "pairs.csv").write_bytes(b"input,target\n\xff\xfe,b\n")
    with pytest.raises(SpotlightError, match="cannot be read as a CSV manifest in UTF-8.*Save it as UTF-8"):
        read_manifest(folder / "pairs.csv")


def test_a_spreadsheets_byte_order_mark_and_blank_lines(folder: Path) -> None:
    text = "\ufeffInput,Target ,input_channel,target_channel\r\n\r\na.ome.tif,a.ome.tif,BF,DNA\r\n,,,\r\n"
    (folder / "pairs.csv").write_text(text, encoding="utf-8", newline="")
    (pair,) = read_manifest(folder / "pairs.csv")
    assert (pair.name, pair.target_channel) == ("a", "DNA")


def test_names_do_not_collide(folder: Path) -> None:
    for place in ("one", "two"):
        (folder / place).mkdir()
        for name in ("a.ome.tif", "a-1.ome.tif", "plate_0.5uM_1.ome.tif"):
            (folder / place / name).write_bytes((folder / "a.ome.tif").read_bytes())
    files = [f"{p}/{n}.ome.tif" for p in ("one", "two") for n in ("a", "a-1", "plate_0.5uM_1")]
    pairs = read_manifest(write(folder, input=files, target=files))
    names = [pair.name for pair in pairs]
    assert len(set(names)) == 6
    assert {"plate_0.5uM_1-1", "plate_0.5uM_1-2"} < set(names)
    with pytest.raises(SpotlightError, match="several pairs are named 'a-1-1'"):
        read_pairs([replace(pair, name="a-1-1") for pair in pairs])


def test_hidden_companions_of_a_folder_are_left_alone(folder: Path) -> None:
    (folder / "._a.ome.tif").write_bytes(b"\x00\x05\x16\x07")
    assert [pair.name for pair in read_pairs(folder, "BF", "DNA")] == ["a", "b c"]


def test_a_digest_tells_data_apart_and_not_their_use(folder: Path) -> None:
    first, second = read_manifest(whole(folder, split=["train", "test"]))
    assert first.digest() == replace(first, name="other", split="test").digest()
    assert first.digest() == replace(first, modality="dic", focus_offset=2).digest()
    assert first.digest() != second.digest()
    assert first.digest() != replace(first, region=":, :, 0:20").digest()


def test_masks_that_state_nothing_are_on_the_images_grid(folder: Path) -> None:
    import tifffile

    tifffile.imwrite(folder / "labels.tif", np.ones((18, 40, 44), np.uint8), photometric="minisblack")
    (first, _) = read_manifest(whole(folder, labels=["labels.tif"] * 2))
    labels = first.read_labels(first.read_target())
    assert labels is not None
    assert labels.voxel_size == (0.29, 0.145, 0.145)


def test_pairs_within_tolerance_of_one_voxel_size_get_one_shape(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, size in (("in", 0.1088), ("out", 0.108)):
        data = rng.normal(100, 10, (18, 60, 431)).astype(np.float32)
        Stack(data, "ZYX", (0.29, size, size)).save(folder / f"{name}.ome.tif")
    (pair,) = read_manifest(write(folder, input=["in.ome.tif"], target=["out.ome.tif"]))
    prepared = prepare_pair(pair, PreparationSettings(foreground=PLAIN))
    assert prepared.input.shape == prepared.target.shape == prepared.mask.shape


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


def test_one_mask_does_not_serve_several_scenes(folder: Path) -> None:
    import tifffile

    with tifffile.TiffWriter(folder / "two.ome.tif", ome=True) as writer:
        for name in ("A", "B"):
            data = np.random.default_rng(0).integers(0, 9, (2, 18, 20, 20)).astype(np.uint16)
            writer.write(data, metadata={"axes": "CZYX", "Name": name}, photometric="minisblack")
    Stack(np.ones((18, 20, 20), np.uint8), "ZYX").save(folder / "m.ome.tif")
    two, channels = ["two.ome.tif"] * 2, {"input_channel": ["0"] * 2, "target_channel": ["1"] * 2}
    with pytest.raises(SpotlightError, match="holds one image, but rows of 2 scenes"):
        read_manifest(write(folder, input=two, target=two, scene=["A", "B"], labels=["m.ome.tif"] * 2, **channels))
    Stack(np.ones((18, 20, 20), np.uint8), "ZYX").save(folder / "m2.ome.tif")
    masks = ["m.ome.tif", "m2.ome.tif"]
    pairs = read_manifest(write(folder, input=two, target=two, scene=["A", "B"], labels=masks, **channels))
    assert pairs[1].read_labels(pairs[1].read_target()) is not None


def targets(folder: Path, **columns: list[str]) -> Path:
    both = ["a.ome.tif", "b c.ome.tif"]
    rows = {"input": both, "input_channel": ["BF"] * 2, "target:DNA": both, "target_channel:DNA": ["DNA"] * 2} | columns
    return write(folder, **rows)


def test_several_targets_of_which_one_may_be_absent(folder: Path) -> None:
    path = targets(folder, **{"target:light": ["absent", "b c.ome.tif"], "target_channel:light": ["", "BF"]})
    with pytest.raises(SpotlightError, match="has the targets DNA, light. Choose one"):
        read_manifest(path)
    assert [(p.name, p.target_channel) for p in read_manifest(path, "DNA")] == [("a", "DNA"), ("b c", "DNA")]
    (light,) = read_manifest(path, "light")
    assert (light.name, light.target_channel, light.target_name) == ("b c", "BF", "light")
    assert light.read_target().channels == ("BF",)
    assert prepare_pair(light, PreparationSettings(foreground=PLAIN)).channels == ("BF", "light")
    every = read_manifest(path, every_target=True)
    assert [p.name for p in every] == ["a-DNA", "b c-DNA", "b c-light"]
    with pytest.raises(SpotlightError, match="no target 'RNA'; it has DNA, light"):
        read_manifest(path, "RNA")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_what_is_written_is_read_again(folder: Path, suffix: str) -> None:
    names = {"target:light": ["absent", "b c.ome.tif"], "target_channel:light": ["", "BF"]}
    more = {
        "split": ["train", "val"],
        "group": ["1", "2"],
        "region": [":, 0:20, :", ""],
        "foreground:DNA": ["a.ome.tif", ""],
        "modality": ["DIC", ""],
        "focus_offset": ["-2", ""],
    }
    every = read_manifest(targets(folder, **names, **more), every_target=True)
    assert {(pair.modality, pair.focus_offset) for pair in every} == {("dic", -2), ("", None)}
    path = write_manifest(every, folder / f"again.{suffix}")
    assert read_manifest(path, every_target=True) == every
    plain = [replace(pair, target_name="") for pair in every]
    assert read_manifest(write_manifest(plain, folder / f"plain.{suffix}")) == name_apart(
        [replace(pair, name=stem(pair.input)) for pair in plain]
    )


def test_numbers_of_a_parquet_table(folder: Path) -> None:
    rows = {"input": ["a.ome.tif", "b c.ome.tif"], "target": ["a.ome.tif", "b c.ome.tif"], "time": [0, None]}
    more = {
        "input_channel": [0, 0],
        "target_channel": [1, 1],
        "voxel_size": [[0.3, 0.1, 0.1], None],
        "group": [1.0, 2.0],
        "focus_offset": [0, None],
    }
    pd.DataFrame(rows | more).to_parquet(folder / "m.parquet")
    a, b = read_manifest(folder / "m.parquet")
    assert (a.time, a.input_channel, a.target_channel, a.voxel_size, a.group) == (0, "0", "1", (0.3, 0.1, 0.1), "1")
    assert (b.time, b.voxel_size) == (None, None)
    assert (a.focus_offset, b.focus_offset) == (0, None)
    (folder / "bad.parquet").write_bytes((folder / "m.parquet").read_bytes()[:-100])
    with pytest.raises(SpotlightError, match="cannot be read as a Parquet manifest"):
        read_manifest(folder / "bad.parquet")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"target:RNA": ["a.ome.tif", ""]}, "line 3: target:RNA is empty. Name a file, or write absent"),
        ({"target:": ["a.ome.tif"] * 2}, "needs the name of a target"),
        ({"target": ["a.ome.tif"] * 2}, "has target besides target:DNA"),
        ({"target_channel:RNA": ["1"] * 2}, "has target_channel:RNA but no target:RNA"),
        ({"targett:RNA": ["1"] * 2}, "did you mean 'target:RNA'"),
        ({"target:RNA": ["absent"] * 2}, "target 'RNA' is absent in every row"),
    ],
)
def test_tables_of_targets_that_cannot_be_used(folder: Path, columns: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        read_manifest(targets(folder, **columns), "RNA" if "absent" in message and "every" in message else "DNA")


def test_the_work_grows_as_the_rows_do() -> None:
    many = [Pair("a" if number % 2 else f"b{number}", Path("a.tif"), Path("t.tif")) for number in range(8_000)]
    begin = time.perf_counter()
    named = name_apart(many)
    require_distinct(named)
    assert [pair.name for pair in named[:4]] == ["b0", "a-1", "b2", "a-2"]
    assert named[-1].name == "a-4000"
    joined = join_planes([replace(pair, input=Path(f"{number}.tif")) for number, pair in enumerate(many[:4_000])])
    assert len(joined) == 1
    assert len(joined[0].planes or ()) == 3_999
    assert len(group_fields([replace(pair, input=Path(f"{number}.tif")) for number, pair in enumerate(many)])) == 8_000
    assert time.perf_counter() - begin < 10  # quadratic work would take minutes


def test_a_pair_selects_each_of_its_images() -> None:
    file = Path("a.czi")
    stated = {"input_channel": "BF", "target_channel": "DNA", "scene": "1", "time": 2, "voxel_size": (0.2, 0.2)}
    pair = Pair("a", file, file, file, modality="dic", mask_axes="YX", axes="CYX", **stated)
    both = {"scene": "1", "time": 2}
    assert pair.selection("input") == Selection(channel="BF", axes="CYX", voxel_size=(0.2, 0.2), modality="dic", **both)
    assert pair.selection("repeat") == pair.selection("target")
    assert pair.selection("target") == Selection(channel="DNA", axes="CYX", voxel_size=(0.2, 0.2), **both)
    assert pair.selection("labels") == pair.selection("foreground") == Selection(axes="YX", **both)
    assert replace(pair, mask_axes=None).selection("labels").axes == "CYX"


def test_what_is_stated_goes_before_what_was_stated() -> None:
    one, other = Selection(time=0, axes="ZYX"), Selection(time=3, channel="BF")
    assert one.over(other) == Selection(time=0, axes="ZYX", channel="BF")
    assert one.over(other).only("channel", "plane") == Selection(channel="BF")


def test_the_offset_is_what_a_target_shows_without_dye() -> None:
    rng = np.random.default_rng(4)
    image = rng.normal(136, 28, (30, 60, 70))
    image[8:20, 10:40, 20:60] += 400
    assert find_offset(image.astype(np.float32)) == pytest.approx(136, abs=6)
    padded = np.pad(np.rint(image).astype(np.uint16), ((0, 0), (0, 0), (0, 30)))
    assert find_offset(padded) == pytest.approx(136, abs=6)
    assert find_offset(np.full((4, 5, 6), 7, np.float32)) == pytest.approx(7)
