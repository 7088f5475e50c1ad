"""Images of one file per plane: the names that microscopes give, and lists of files that are read as one image."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from spotlight.errors import SpotlightError
from spotlight.images import images_in, is_image, read, stem
from spotlight.images.belonging import files_of
from spotlight.images.layouts import find_plane_files, place_of
from spotlight.images.plane_files import write_plane_files

DATA = np.random.default_rng(0).integers(0, 4000, (2, 2, 2, 3, 8, 10)).astype(np.uint16)  # field, T, C, Z, Y, X
GUID = "0A1B2C3D-1234-5678-9ABC-DEF012345678"

NAMES: dict[str, Callable[[int, int, int, int], str]] = {  # field, t, c, z
    "Opera Phenix": lambda f, t, c, z: f"Images/r01c02f{f + 1:02}p{z + 1:02}-ch{c + 1}sk{t + 1}fk1fl1.tiff",
    "Micro-Manager": lambda f, t, c, z: f"run/img_channel00{c}_position00{f}_time{t:09}_z{z:03}.tif",
    "Micro-Manager 1.4": lambda f, t, c, z: f"Pos{f}/img_{t:09}_{('BF', 'DAPI x_y')[c]}_{z:03}.tif",
    "Yokogawa": lambda f, t, c, z: f"Plate_A01_T{t + 1:04}F00{f + 1}L01A0{c + 1}Z{z + 1:02}C0{c + 1}.tif",
    "MetaXpress": lambda f, t, c, z: f"plate 1/TimePoint_{t + 1}/ZStep_{z + 1}/exp_B03_s{f + 1}_w{c + 1}{GUID}.TIF",
    "Leica": lambda f, t, c, z: f"lif/Project_Series00{f}_t{t:02}_z{z:02}_ch{c:02}.tif",
    "NIS-Elements": lambda f, t, c, z: f"t{t + 1:03}xy{f + 1:03}z{z + 1:02}c{c + 1}.tif",
    "numbered": lambda f, t, c, z: f"day 1/field{f} T={t} Z={z + 9} ch{c}.tif",
}


def write(folder: Path, layout: str) -> list[Path]:
    files = []
    for place in np.ndindex(DATA.shape[:4]):
        file = folder / NAMES[layout](*place)
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, DATA[place], metadata=None, photometric="minisblack")
        files.append(file)
    return files


@pytest.mark.parametrize("layout", NAMES)
def test_files_of_planes_are_one_image_a_field(tmp_path: Path, layout: str) -> None:
    found, faults = find_plane_files(write(tmp_path / "raw", layout), tmp_path / "raw")
    assert not faults
    assert [(image.axes, image.shape) for image in found] == [("TCZ", (2, 2, 3))] * 2
    for number, image in enumerate(found):
        path = write_plane_files(image, tmp_path / "stacks")
        assert is_image(path)
        stack = read(path)
        assert (stack.axes, stack.shape, len(stack.channels)) == ("TCZYX", DATA.shape[1:], 2)
        np.testing.assert_array_equal(stack.data, DATA[number])
        part = read(path, time=1, channel=1).crop((slice(1, 3), slice(2, 7), slice(0, 4)))
        np.testing.assert_array_equal(part.data, DATA[number, 1, 1, 1:3, 2:7, :4])
        assert [one.name for one in images_in(path)] == [f"{stem(path)}-t0", f"{stem(path)}-t1"]
        assert [file.name for file in files_of(path)] == [path.name, *(file.name for file in image.files)]


def test_names_that_tell_nothing() -> None:
    names = ["f1_bf", "A01 Bright Field", "plate_2024-01-02_B03", "t cells_1", "c3_z", "r01c02f03", "exp_A01_s1_w1"]
    assert [place_of(name) for name in names] == [None] * len(names)


def test_timepoints_of_incucyte_are_in_the_order_of_their_dates(tmp_path: Path) -> None:
    names = ["Phase_B2_1_2024y10m03d_02h00m.tif", "Phase_B2_1_2024y09m30d_23h00m.tif"]
    (image,), _ = find_plane_files([tmp_path / name for name in names], tmp_path)
    assert (image.name, image.axes, [file.name for file in image.files]) == ("Phase_B2_1", "T", names[::-1])


def test_two_numbers_behind_a_t_may_be_treatments(tmp_path: Path) -> None:
    assert find_plane_files([tmp_path / f"cells_t{n}.tif" for n in (1, 2)], tmp_path) == ([], [])
    (image,), _ = find_plane_files([tmp_path / f"cells_t{n}.tif" for n in (1, 2, 10)], tmp_path)
    assert [file.name for file in image.files] == ["cells_t1.tif", "cells_t2.tif", "cells_t10.tif"]


def test_channels_with_other_planes_are_images_of_their_own(tmp_path: Path) -> None:
    files = [tmp_path / f"f_z{z}_ch0.tif" for z in range(3)] + [tmp_path / "f_z1_ch1.tif"]
    (image,), faults = find_plane_files(files, tmp_path)
    assert (image.name, image.axes, image.shape, faults) == ("f_ch0", "Z", (3,), [])


def test_a_missing_plane_is_told(tmp_path: Path) -> None:
    files = [tmp_path / f"img_t{t:02}_z{z:02}.tif" for t in range(2) for z in range(3) if (t, z) != (1, 1)]
    found, faults = find_plane_files(files, tmp_path)
    assert (found, faults) == ([], ["img: 1 of 6 files are missing, the first of timepoint 01 and plane 01"])


def test_what_micromanager_and_phenix_note_beside_the_planes_is_read(tmp_path: Path) -> None:
    files = write(tmp_path / "mm", "Micro-Manager")
    summary = {"ChNames": ["Brightfield", "DAPI"], "PixelSize_um": 0.2, "z-step_um": 0.5}
    (files[0].parent / "metadata.txt").write_text(json.dumps({"Summary": summary}))
    stack = read(write_plane_files(find_plane_files(files, tmp_path / "mm")[0][0], tmp_path / "stacks"))
    assert (stack.channels, stack.voxel_size) == (("Brightfield", "DAPI"), (0.5, 0.2, 0.2))

    files = write(tmp_path / "phenix", "Opera Phenix")
    entries = "".join(
        f"<Image><URL>{file.name}</URL><ChannelName>{('Brightfield', 'HOECHST 33342')[c]}</ChannelName>"
        f'<ImageResolutionX Unit="m">2.9E-07</ImageResolutionX><ImageResolutionY Unit="m">2.9E-07</ImageResolutionY>'
        f'<PositionZ Unit="m">{z * 1e-6}</PositionZ></Image>'
        for file, (_, _, c, z) in zip(files, np.ndindex(DATA.shape[:4]), strict=True)
    )
    (files[0].parent / "Index.idx.xml").write_text(
        f'<EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5"><Images>{entries}</Images>'
        "</EvaluationInputData>"
    )
    stack = read(write_plane_files(find_plane_files(files, tmp_path / "phenix")[0][0], tmp_path / "stacks"))
    assert stack.channels == ("Brightfield", "HOECHST 33342")
    assert stack.voxel_size == pytest.approx((1.0, 0.29, 0.29))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: ZC\nshape: [1, 2]\nfiles: [a.tif, b.tif]\n", "axes are letters of TCZ in that order"),
        ("axes: Z\nshape: [3]\nfiles: [a.tif, b.tif]\n", "as many as these make"),
        ("axes: Z\nfiles: [a.tif, b.tif]\n", "needs axes"),
        ("axes: Z\nshape: [2]\nfiles: [a.tif, b.tif]\nstep: 1\n", "Unknown: step"),
        ("axes: Z\nshape: [1]\nfiles: [a.planes.yaml]\n", "names another list"),
        ("axes: Z\nshape: [2]\nfiles: [a.tif, gone.tif]\n", r"gone\.tif"),
        ("axes: Z\nshape: [2]\nfiles: [a.tif, wide.tif]\n", r"wide\.tif: has YX \(4, 6\) of uint8, but .*a\.tif"),
    ],
)
def test_lists_that_do_not_hold(tmp_path: Path, text: str, message: str) -> None:
    for name, shape in (("a.tif", (4, 5)), ("b.tif", (4, 5)), ("wide.tif", (4, 6))):
        tifffile.imwrite(tmp_path / name, np.zeros(shape, np.uint8))
    (tmp_path / "a.planes.yaml").write_text(text)
    with pytest.raises(SpotlightError, match=message):
        read(tmp_path / "a.planes.yaml").data  # noqa: B018
