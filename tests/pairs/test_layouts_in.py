"""Folders as people have them, walked from `init` to the check of the manifest."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from typer.testing import CliRunner

from conftest import TINY, real_data
from spotlight import SpotlightError, init, load_model, read, train
from spotlight.cli import app
from spotlight.images import Stack
from spotlight.pairs import check, read_manifest, read_pairs
from spotlight.pairs.proposal import propose_pairs
from spotlight.training import Experiment

SIZE = (0.5, 0.3, 0.3)
RUN = CliRunner()


def field(seed: int, planes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Transmitted light and fluorescence of round bodies, axes ZYX."""
    rng = np.random.default_rng(seed)
    bodies = ndimage.gaussian_filter(rng.normal(size=(planes, 48, 40)), 3) > 0.02
    edges = ndimage.gaussian_gradient_magnitude(bodies.astype(float), 1)
    light = (500 + 400 * edges + rng.normal(0, 5, bodies.shape)).astype(np.uint16)
    return light, (100 + 300 * bodies + rng.normal(0, 5, bodies.shape)).astype(np.uint16)


def write(file: Path, plane: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(file, plane, metadata=None, photometric="minisblack")


LAYOUTS: dict[str, tuple[Callable[[int, int, int], str], tuple[str, ...]]] = {  # names by field, channel and plane
    "named": (lambda f, c, z: f"day {f}/img_z{z:03}_{('BF', 'DAPI')[c]}.tif", ()),
    "Micro-Manager 1.4": (lambda f, c, z: f"Pos{f}/img_000000000_{('Brightfield', 'DAPI')[c]}_{z:03}.tif", ()),
    "Micro-Manager": (
        lambda f, c, z: f"run/img_channel00{c}_position00{f}_time000000000_z{z:03}.tif",
        ("--input-channel", "channel000", "--target-channel", "channel001"),
    ),
    "Opera Phenix": (
        lambda f, c, z: f"Images/r02c0{f + 1}f01p{z + 1:02}-ch{c + 1}sk1fk1fl1.tiff",
        ("--input-channel", "ch1", "--target-channel", "ch2"),
    ),
    "MetaXpress": (
        lambda f, c, z: f"plate/TimePoint_1/ZStep_{z + 1}/exp_B0{f + 1}_s1_w{c + 1}.TIF",
        ("--input-channel", "w1", "--target-channel", "w2"),
    ),
    "Leica": (
        lambda f, c, z: f"Project_Series00{f}_z{z:02}_ch0{c}.tif",
        ("--input-channel", "ch00", "--target-channel", "ch01"),
    ),
    "Yokogawa": (
        lambda f, c, z: f"AP_C0{f + 1}_T0001F001L01A0{c + 1}Z{z + 1:02}C0{c + 1}.tif",
        ("--input-channel", "C01", "--target-channel", "C02"),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_file_per_plane_from_init_to_check(tmp_path: Path, layout: str) -> None:
    name, options = LAYOUTS[layout]
    raw = tmp_path / "raw"
    fields = [field(seed) for seed in range(3)]
    for number, images in enumerate(fields):
        for channel, image in enumerate(images):
            for z, plane in enumerate(image):
                write(raw / name(number, channel, z), plane)
    before = sorted(raw.rglob("*"))
    command = ["init", str(raw), "--to", str(tmp_path / "plan"), "--voxel-size", "0.5 0.3 0.3"]
    if options:
        asked = RUN.invoke(app, command)
        assert asked.exit_code != 0
        with pytest.raises(SpotlightError) as error:
            propose_pairs(raw, lists_to=tmp_path / "asked")
        said = shlex.split(str(error.value).partition("transmitted light: ")[2])
        assert said == ["spotlight", "init", str(raw), *options]
    result = RUN.invoke(app, [*command, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "48 files are planes of" in result.output
    assert sorted(raw.rglob("*")) == before
    pairs = read_manifest(tmp_path / "plan" / "manifest.csv")
    assert sorted(pair.split for pair in pairs) == ["test", "train", "val"]
    assert len({pair.name for pair in pairs}) == 3
    for pair in pairs:
        image, target = pair.read_both()
        assert (image.axes, image.voxel_size) == ("ZYX", SIZE)
        place = next(n for n, (light, _) in enumerate(fields) if np.array_equal(light, image.data))
        np.testing.assert_array_equal(target.data, fields[place][1])
    findings = check(tmp_path / "plan" / "manifest.csv").findings
    assert not set(findings["subject"]) & {"unusable", "planes", "leak", "duplicate"}


@pytest.mark.slow
def test_a_model_is_trained_on_files_of_planes_and_stains_them(tmp_path: Path) -> None:
    for number in range(3):
        for channel, image in zip(("BF", "DAPI"), field(number, 16), strict=True):
            for z, plane in enumerate(image):
                write(tmp_path / "raw" / f"f{number}_z{z:02}_{channel}.tif", plane)
    plan = init(tmp_path / "raw", tmp_path / "plan", voxel_size=SIZE)
    model = load_model(train(plan.manifest, tmp_path / "model", TINY))
    listed = tmp_path / "plan" / "stacks" / "f0_BF.planes.yaml"
    assert model.predict(read(listed, voxel_size=SIZE)).shape == (16, 48, 40)


def test_planes_taken_one_by_one_are_told(tmp_path: Path) -> None:
    both = np.stack(field(0))
    for z in range(8):
        Stack(both[:, z], "CYX", (0.3, 0.3), ("BF", "DAPI")).save(tmp_path / f"a_z{z}.ome.tif")
    with pytest.raises(SpotlightError, match=r"8 files are planes of one image.*spotlight init"):
        read_pairs(tmp_path, "BF", "DAPI")
    rows = "".join(f"a_z{z}.ome.tif,BF,a_z{z}.ome.tif,DAPI,{'test' if z == 3 else 'train'}\n" for z in range(8))
    (tmp_path / "m.csv").write_text(f"input,input_channel,target,target_channel,split\n{rows}")
    found = check(tmp_path / "m.csv").findings
    assert [row["pair"] for row in found.to_dict("records") if row["subject"] == "planes"] == ["a_z0"]
    same = [replace(pair, split="train") for pair in read_manifest(tmp_path / "m.csv")]
    assert "planes" not in set(check(same).findings["subject"])


def test_timepoints_of_an_incucyte_stay_together(tmp_path: Path) -> None:
    for well in "ABC":
        for time in range(3):
            for name, image in zip(("Phase", "GFP"), field(ord(well) + time), strict=True):
                write(tmp_path / "raw" / name / f"{name}_{well}1_1_2024y01m0{time + 1}d_00h00m.tif", image[4])
    found = propose_pairs(tmp_path / "raw", lists_to=tmp_path / "lists").pairs
    assert len(found) == 9
    assert sorted({(pair.group, pair.split) for pair in found}) == sorted(
        (f"Phase-Phase_{well}1_1.planes.yaml", split)
        for well in "ABC"
        for split in {pair.split for pair in found if f"_{well}1" in pair.group}
    )
    assert {pair.split for pair in found} == {"train", "val", "test"}
    (last,) = [pair for pair in found if pair.time == 2 and "_B1" in pair.input.name]
    np.testing.assert_array_equal(last.read_target().data, field(ord("B") + 2)[1][4])


def test_timepoints_with_both_channels_may_be_trained_on_one_by_one(tmp_path: Path) -> None:
    for time in range(3):
        Stack(np.stack(field(time)), "CZYX", SIZE, ("BF", "DAPI")).save(tmp_path / f"a_t{time}.ome.tif")
    pairs = read_pairs(tmp_path, "BF", "DAPI")
    split = [replace(pair, split="test" if pair.name == "a_t1" else "train") for pair in pairs]
    found = check(split).findings
    assert [f["severity"] for f in found.to_dict("records") if f["subject"] == "planes"] == ["warning"]


def test_a_folder_is_an_argument_of_info_and_of_stack_planes(tmp_path: Path) -> None:
    for z, plane in enumerate(field(0)[0]):
        write(tmp_path / "raw" / f"a_z{z}.tif", plane)
    said = RUN.invoke(app, ["info", str(tmp_path / "raw")])
    assert said.exit_code == 0
    assert "and 5 more that state the same" in said.output
    assert "8 files are planes of one image" in said.output
    made = RUN.invoke(app, ["stack-planes", str(tmp_path / "raw"), "--to", str(tmp_path / "lists")])
    assert made.exit_code == 0
    np.testing.assert_array_equal(read(tmp_path / "lists" / "a.planes.yaml").data, field(0)[0])


@pytest.mark.parametrize(
    ("light", "dye"), [("A0{} Bright Field", "A0{} Hoechst 33342"), ("A0{}_T PMT", "A0{}_SYTOX"), ("{}_tl", "{}_AF488")]
)
def test_names_of_dyes_and_of_transmitted_light(tmp_path: Path, light: str, dye: str) -> None:
    for number in range(3):
        for name, image in zip((light, dye), field(number), strict=True):
            Stack(image, "ZYX", SIZE).save(tmp_path / f"{name.format(number)}.tif")
    found = propose_pairs(tmp_path).pairs
    assert [(p.input.stem, p.target.stem) for p in found] == [(light.format(n), dye.format(n)) for n in range(3)]


def test_several_targets_are_proposed_at_once(tmp_path: Path) -> None:
    for number in range(4):
        light, dna = field(number)
        data = np.stack([light, dna, dna[::-1]])
        Stack(data, "CZYX", SIZE, ("Brightfield", "Hoechst 33342", "MitoTracker")).save(tmp_path / f"f{number}.ome.tif")
    plan = init(tmp_path)
    assert plan.targets == ["Hoechst 33342", "MitoTracker"]
    pairs = read_manifest(plan.manifest, every_target=True)
    assert len(pairs) == 8
    splits = {pair.input: {p.split for p in pairs if p.input == pair.input} for pair in pairs}
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "val", "test"}
    (first, *_) = [pair for pair in pairs if pair.target_name == "MitoTracker"]
    np.testing.assert_array_equal(first.read_target().data, field(int(first.name[1]))[1][::-1])


def test_the_command_that_is_printed_works(tmp_path: Path) -> None:
    for number in range(3):
        for name, image in zip((f"w1/f{number}.tif", f"w2/f{number}-x.tif"), field(number), strict=True):
            Stack(image, "ZYX", SIZE).save(tmp_path / "raw" / name)
    with pytest.raises(SpotlightError, match="show no pairs") as error:
        propose_pairs(tmp_path / "raw")
    command = shlex.split(str(error.value).partition("transmitted light: ")[2])
    result = RUN.invoke(app, [*command[1:], "--to", str(tmp_path / "plan")])
    assert result.exit_code == 0, result.output
    assert [pair.target.name for pair in read_manifest(tmp_path / "plan" / "manifest.csv")] == [
        f"f{n}-x.tif" for n in range(3)
    ]


# --- series of planes with a flat target -----------------------------------------------------------------------------


def test_a_series_with_a_flat_target_becomes_channels(tmp_path: Path) -> None:
    for number in range(3):
        light, dna = field(number)
        Stack(light, "ZYX", SIZE).save(tmp_path / f"f{number}_bf.ome.tif")
        Stack(dna.max(0), "YX", SIZE[1:]).save(tmp_path / f"f{number}_dapi.ome.tif")
    plan = init(tmp_path)
    pairs = read_manifest(plan.manifest)
    assert [pair.input_channel for pair in pairs] == [tuple(f"z={z}" for z in range(8))] * 3
    image, target = pairs[0].read_both()
    assert (image.axes, image.shape, target.axes) == ("CYX", (8, 48, 40), "YX")
    np.testing.assert_array_equal(image.data, field(0)[0])
    assert "unusable" not in set(check(plan.manifest).findings["subject"])


@pytest.mark.parametrize("plane", ["max", "mean", "focus", "5"])
def test_a_plane_of_the_target_is_taken_on_request(tmp_path: Path, plane: str) -> None:
    light, dna = field(0)
    blurred = np.stack([ndimage.gaussian_filter(dna[4].astype(float), 1 + abs(z - 5)) for z in range(8)])
    Stack(np.stack([light, blurred.astype(np.uint16)]), "CZYX", SIZE, ("BF", "DAPI")).save(tmp_path / "f.ome.tif")
    (pair,) = propose_pairs(tmp_path, target_plane=plane).pairs
    assert pair.target_channel == f"DAPI z={plane}"
    image, target = pair.read_both()
    expected = {"max": blurred.astype(np.uint16).max(0), "mean": blurred.astype(np.uint16).mean(0)}
    np.testing.assert_allclose(target.data, expected.get(plane, blurred.astype(np.uint16)[5]), rtol=1e-6)
    assert (image.axes, target.voxel_size) == ("CYX", SIZE[1:])


def test_planes_around_the_focus_are_named_by_it(tmp_path: Path) -> None:
    dna = field(0)[1].astype(float)
    stack = np.stack([ndimage.gaussian_filter(dna[4], 1 + abs(z - 2)) for z in range(8)]).astype(np.float32)
    Stack(stack, "ZYX", SIZE).save(tmp_path / "a.ome.tif")
    found = read(tmp_path / "a.ome.tif", channel=("z=focus-1", "z=focus", "z=focus+2"))
    assert (found.axes, found.channels) == ("CYX", ("z=focus-1", "z=focus", "z=focus+2"))
    np.testing.assert_array_equal(found.data, stack[[1, 2, 4]])
    with pytest.raises(SpotlightError, match="has no plane 'z=focus-3'; plane 2 is in focus, and there are 0 to 7"):
        read(tmp_path / "a.ome.tif", channel="z=focus-3")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "planes", "targets"), [("neurons_phase_zstack", 13, 3), ("brightfield_defocus_2d", 5, 1)]
)
def test_real_series_with_flat_targets_train(tmp_path: Path, folder: str, planes: int, targets: int) -> None:
    source = real_data(folder)
    plan = init(source, tmp_path / "plan", voxel_size=(1.0, 0.3, 0.3))
    pairs = read_manifest(plan.manifest, every_target=True)
    assert sorted({pair.split for pair in pairs}) == ["test", "train"]
    assert len({pair.target_name for pair in pairs}) == targets
    image, target = pairs[0].read_both()
    assert (image.axes, image.shape[0], target.axes) == ("CYX", planes, "YX")
    tiny = Experiment.from_yaml(plan.experiment).model_copy(
        update={"network": TINY.network, "training": TINY.training, "patches": TINY.patches}
    )
    chosen = {"target": plan.targets[0]} if plan.targets else {}
    model = load_model(train(plan.manifest, tmp_path / "model", tiny, **chosen))
    stain = model.predict(image)
    assert stain.shape == target.shape


# --- one stack alone -------------------------------------------------------------------------------------------------


def test_a_single_stack_is_split_by_region_with_a_margin(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 999, (2, 4, 40, 300)).astype(np.uint16)
    Stack(data, "CZYX", SIZE, ("BF", "DAPI")).save(tmp_path / "only.ome.tif")
    found = propose_pairs(tmp_path)
    assert [(pair.split, pair.region) for pair in found.pairs] == [("train", ":, :, 0:188"), ("test", ":, :, 225:300")]
    assert "37 between them for neither" in found.reasons[-1]
    np.testing.assert_array_equal(found.pairs[1].read_input().data, data[0, :, :, 225:])
    coarse = propose_pairs(tmp_path, voxel_size=(2.0, 1.0, 1.0)).pairs
    assert [pair.region for pair in coarse] == [":, :, 0:205", ":, :, 225:300"]
    Stack(data[..., :100], "CZYX", SIZE, ("BF", "DAPI")).save(tmp_path / "only.ome.tif")
    (small,) = propose_pairs(tmp_path).pairs
    assert (small.split, small.region) == ("train", None)
