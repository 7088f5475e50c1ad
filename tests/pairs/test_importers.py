"""Tables and folders of public data sets become the pairs that their authors used."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spotlight import SpotlightError
from spotlight.images import Stack
from spotlight.pairs import read_manifest
from spotlight.pairs.importers import read_integrated_cell, read_label_free, read_light_my_cells
from spotlight.pairs.manifest import write_manifest


def label_free(folder: Path, rows: int = 80) -> Path:
    table = {"path_czi": [f"data/x/f{n:02d}.czi" for n in range(rows)], "channel_signal": 6, "channel_target": 5}
    pd.DataFrame(table).to_csv(folder / "dna.csv", index=False)
    return folder / "dna.csv"


def test_the_published_split(tmp_path: Path) -> None:
    pairs = read_label_free(label_free(tmp_path))
    assert [pair.split for pair in pairs] == ["train"] * 60 + ["test"] * 20
    # The same order by NumPy's own permutation, which pandas draws from the same generator.
    order = np.random.RandomState(42).permutation(80)
    assert [pair.name for pair in pairs] == [f"f{n:02d}" for n in order]
    assert pairs[0].input == pairs[0].target == tmp_path / "data" / "x" / f"f{order[0]:02d}.czi"
    assert (pairs[0].input_channel, pairs[0].target_channel) == ("#6", "#5")


def test_the_first_thirty_rows(tmp_path: Path) -> None:
    table = label_free(tmp_path)
    whole, part = read_label_free(table), read_label_free(table, tmp_path / "elsewhere", first_train=30)
    assert [p.name for p in part] == [p.name for p in whole[:30] + whole[60:]]
    assert part[0].input.parts[-4] == "elsewhere"


def test_tables_of_separate_files_and_others(tmp_path: Path) -> None:
    table = {"path_signal": [f"s{n}.tif" for n in range(4)], "path_target": [f"t{n}.tif" for n in range(4)]}
    pd.DataFrame(table).to_csv(tmp_path / "a.csv", index=False)
    pairs = read_label_free(tmp_path / "a.csv")
    assert {(p.input.name[1], p.target.name[1]) for p in pairs} == {(str(n), str(n)) for n in range(4)}
    assert [p.split for p in pairs] == ["train"] * 3 + ["test"]
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "b.csv", index=False)
    for reader in (read_label_free, read_integrated_cell):
        with pytest.raises(SpotlightError, match=r"b\.csv"):
            reader(tmp_path / "b.csv")


def test_one_pair_per_field_with_its_nuclear_mask(tmp_path: Path) -> None:
    table = {
        "FOVId": [7, 7, 7, 3, 3, 9, 9, 1],
        "CellId": range(8),
        "SourceReadPath": [f"fovs/{n}.tif" for n in (7, 7, 7, 3, 3, 9, 9, 1)],
        "NucleusSegmentationReadPath": [f"dna/{n}.tif" for n in (7, 7, 7, 3, 3, 9, 9, 1)],
        "ChannelNumberBrightfield": 5,
        "ChannelNumber405": 2,
    }
    pd.DataFrame(table).to_csv(tmp_path / "metadata.csv", index=False)
    pairs = read_integrated_cell(tmp_path / "metadata.csv")
    assert [(p.name, p.split) for p in pairs] == [("7", "train"), ("3", "train"), ("9", "train"), ("1", "test")]
    assert pairs[0].labels == tmp_path / "dna" / "7.tif"
    assert (pairs[0].input_channel, pairs[0].target_channel) == ("#5", "#2")


def test_studies_of_light_my_cells(tmp_path: Path) -> None:
    plane = Stack(np.arange(64, dtype=np.uint16).reshape(8, 8), "YX", (0.1, 0.1))
    for study in range(4):
        for field in (10 * study, 10 * study + 1):
            for z in range(2):
                plane.save(tmp_path / f"Study_{study}" / f"image_{field}_BF_z{z}.ome.tiff")
            plane.save(tmp_path / f"Study_{study}" / f"image_{field}_Mitochondria.ome.tiff")
        plane.save(tmp_path / f"Study_{study}" / f"image_{10 * study}_Nucleus.ome.tiff")
    pairs = read_light_my_cells(tmp_path, "Nucleus")
    assert len(pairs) == 8
    assert {p.target.name for p in pairs} == {f"image_{10 * n}_Nucleus.ome.tiff" for n in range(4)}
    assert all(len({p.split for p in pairs if p.group == f"Study_{n}"}) == 1 for n in range(4))
    assert {p.modality for p in pairs} == {"brightfield"}
    assert len(read_light_my_cells(tmp_path, "Mitochondria")) == 16
    assert len(read_light_my_cells(tmp_path)) == 24
    with pytest.raises(SpotlightError, match="no field .* Actin"):
        read_light_my_cells(tmp_path, "Actin")
    with pytest.raises(SpotlightError, match="the target must be one of Nucleus, .* Received: 'DNA'"):
        read_light_my_cells(tmp_path, "DNA")
    back = read_manifest(write_manifest(pairs, tmp_path / "manifest.csv"))
    assert back == pairs
    assert back[0].read_both()[0].voxel_size == (0.1, 0.1)
    every = write_manifest(read_light_my_cells(tmp_path), tmp_path / "every.parquet")
    assert len(pd.read_parquet(every)) == 16
    assert len(read_manifest(every, "Nucleus")) == 8


def test_planes_of_a_field_stay_together_in_few_studies(tmp_path: Path) -> None:
    plane = Stack(np.zeros((8, 8), np.uint16), "YX", (0.1, 0.1))
    for field in range(6):
        folder = tmp_path / f"Study_{field % 2}"
        for z in range(3):
            plane.save(folder / f"image_{field}_PC_z{z}.ome.tiff")
        plane.save(folder / f"image_{field}_Nucleus.ome.tiff")
    pairs = read_light_my_cells(tmp_path)
    assert all(len({p.split for p in pairs if p.target == target}) == 1 for target in {p.target for p in pairs})
    assert {p.split for p in pairs} == {"train", "val", "test"}
    assert {p.modality for p in pairs} == {"phase"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path_czi,channel_signal,channel_target\n", "has no rows"),
        ("path_czi,channel_signal,channel_target\na.czi,,5\n", "no channel_signal"),
        ("path_signal,path_target\na.tif,\n", "no path_target"),
    ],
)
def test_tables_with_holes(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SpotlightError, match=message):
        read_label_free(tmp_path / "t.csv")


def test_channels_may_have_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path_czi,channel_signal,channel_target\na.czi,BF,5.0\n")
    (pair,) = read_label_free(tmp_path / "t.csv")
    assert (pair.input_channel, pair.target_channel) == ("BF", "#5")
