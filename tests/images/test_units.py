"""Lengths as people's software writes them, and voxel sizes that cannot be."""

import logging
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from spotlight.cli import app, less_memory
from spotlight.errors import SpotlightError
from spotlight.images import Stack, read, resampled_shape
from spotlight.images.normalise import grid_shape
from spotlight.images.units import micrometres, read_lengths, read_number
from spotlight.pairs import Pair
from spotlight.pairs.check_pairs import check_pair
from spotlight.pairs.findings import CheckSettings
from spotlight.pairs.manifest import parse_voxel_size
from spotlight.plan import init
from spotlight.profiles import measure
from spotlight.segmentation import SegmentationSettings, segment

RAMP = np.arange(5 * 32 * 40, dtype=np.uint16).reshape(5, 32, 40)
NS = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_tiff(path: Path, sizes: str) -> Path:
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{NS}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYZCT" Type="uint16" SizeX="40" SizeY="32" SizeZ="5" SizeC="1" SizeT="1" {sizes}>'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(path, RAMP, description=xml.encode(), metadata=None, photometric="minisblack")
    return path


def imagej_tiff(path: Path, lines: str, per_pixel: float = 0.1) -> Path:
    text = f"ImageJ=1.54f\nimages=5\nslices=5\n{lines}\n"
    resolution = (1 / per_pixel, 1 / per_pixel)
    tifffile.imwrite(
        path,
        RAMP,
        description=text.encode(),
        metadata=None,
        photometric="minisblack",
        resolution=resolution,
        resolutionunit=1,
    )
    return path


def ome_zarr(path: Path, axes: list[dict[str, str]], scale: list[object], data: np.ndarray = RAMP) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=data)
    steps = [{"type": "scale", "scale": scale}]
    level = {"path": "0", "coordinateTransformations": steps}
    group.attrs.update({"multiscales": [{"version": "0.4", "axes": axes, "datasets": [level]}]})
    return path


@pytest.mark.parametrize(
    ("names", "um"),
    [
        (("µm", "μm", "um", "UM", "Um", "micron", "Microns", "micrometers", "micrometre", "Micrometer"), 1.0),
        (("\\u00B5m", "\\u00b5m", "Âµm", "Î¼m", "Ã‚Âµm", "?m", "\ufffdm", '"um"', " µm ", "µ", "um/pixel"), 1.0),
        (("nm", "NM", "nanometers", "nanometre"), 1e-3),
        (("Å", "\u212b", "Ã…", "angstrom", "Ångström"), 1e-4),
        (("mm", "MM", "millimetre"), 1e3),
        (("cm", "centimeters"), 1e4),
        (("m", "metre"), 1e6),
        (("inch", "Inches"), 25400.0),
        (("", "pixel", "furlong", "Mm", "Pm", "?", "s", "reference frame"), None),
    ],
)
def test_units_by_their_names(names: tuple[str, ...], um: float | None) -> None:
    assert {name: micrometres(name) for name in names} == dict.fromkeys(names, um)


def test_numbers_with_decimal_commas() -> None:
    read_as = {"0,3": 0.3, "0,325": 0.325, "12,5": 12.5, " 1.5 ": 1.5, "1e-1": 0.1, "1,5e-1": 0.15, "-0,5": -0.5}
    assert {text: read_number(text) for text in read_as} == read_as
    # Of two meanings none is taken.
    assert [read_number(text) for text in ("1,234", "1.234,5", "1,234.5", "1,2,3", "x", "", True, None)] == [None] * 8
    assert read_number(2) == 2


def test_what_is_not_understood_is_quoted() -> None:
    found = read_lengths({"Z": ("0,3", "µm"), "Y": (0.1, "furlong"), "X": ("1,234", "um"), "W": (1.0, "")})
    assert found.um == {"Z": 0.3}
    assert found.unit == "µm"
    assert found.unread == "Y 0.1 'furlong', X '1,234' 'um'"
    assert read_lengths({"X": (float("nan"), "um"), "Y": (0, "um")}).unread == "X nan 'um', Y 0 'um'"


@pytest.mark.parametrize("unit", ["?m", "Âµm", "micrometers", "\u03bcm"])
def test_units_of_ome_tiffs(tmp_path: Path, unit: str) -> None:
    sizes = " ".join(
        f'PhysicalSize{axis}="{size}" PhysicalSize{axis}Unit="{unit}"'
        for axis, size in (("X", "0,1"), ("Y", 0.1), ("Z", 0.3))
    )
    assert read(ome_tiff(tmp_path / "a.ome.tif", sizes)).require_voxel_size() == (0.3, 0.1, 0.1)


@pytest.mark.parametrize(
    ("lines", "per_pixel"),
    [("unit=Micron\nspacing=0,3", 0.1), ("unit=UM\nspacing=-0.3", 0.1), ("unit=nanometers\nspacing=300", 100.0)],
)
def test_units_of_imagej(tmp_path: Path, lines: str, per_pixel: float) -> None:
    assert read(imagej_tiff(tmp_path / "a.tif", lines, per_pixel)).voxel_size == pytest.approx((0.3, 0.1, 0.1))


def test_what_the_user_states_wins_over_what_the_file_states_wrongly(tmp_path: Path) -> None:
    space = [{"name": name, "type": "space", "unit": "furlong"} for name in "zyx"]
    wrong = {
        ome_tiff(tmp_path / "a.ome.tif", 'PhysicalSizeX="wide" PhysicalSizeY="0" PhysicalSizeZ="NaN"'): "X 'wide' 'µm'",
        imagej_tiff(tmp_path / "b.tif", "unit=um\nspacing=some"): "Z 'some' 'um'",
        ome_zarr(tmp_path / "c.zarr", space, [0.3, 0.1, 0.1]): "Z 0.3 'furlong'",
        ome_zarr(tmp_path / "d.zarr", space, [0.3, 0.1]): "[0.3, 0.1]",
        ome_zarr(tmp_path / "e.zarr", space, ["a", None, 1]): "'a'",
    }
    for path, quoted in wrong.items():
        stack = read(path)
        with pytest.raises(SpotlightError) as caught:
            stack.require_voxel_size()
        assert quoted in str(caught.value), path
        stated = read(path, voxel_size=(0.3, 0.1, 0.1))
        assert stated.require_voxel_size() == (0.3, 0.1, 0.1)
        np.testing.assert_array_equal(stated.data, RAMP)
        told = CliRunner().invoke(app, ["info", str(path)]).output
        assert "not understood" in told, path


def test_axes_by_other_names(tmp_path: Path) -> None:
    def space(*names: str) -> list[dict[str, str]]:
        return [{"name": name, "type": "space", "unit": "micrometer"} for name in names]

    size = (0.3, 0.2, 0.1)
    assert read(ome_zarr(tmp_path / "a.zarr", space("Depth", "height", "width"), [*size])).voxel_size == size
    # Two are known, so the type tells which is the third.
    assert read(ome_zarr(tmp_path / "b.zarr", space("focus", "y", "x"), [*size])).voxel_size == size
    channel = [{"name": "stain", "type": "channel"}, *space("z", "y", "x")]
    both = np.stack([RAMP, RAMP])
    assert read(ome_zarr(tmp_path / "c.zarr", channel, [1, *size], both)).axes == "CZYX"
    # These are asked for, and the sizes are those of the places that the answer names.
    path = ome_zarr(tmp_path / "d.zarr", space("u", "v", "w"), [*size])
    with pytest.raises(SpotlightError, match=r"does not state its axes \(found 'u, v, w' for shape \(5, 32, 40\)"):
        read(path)
    stack = read(path, axes="ZXY")
    assert (stack.axes, stack.voxel_size, stack.shape) == ("ZYX", (0.3, 0.1, 0.2), (5, 40, 32))
    assert "u, v, w" in CliRunner().invoke(app, ["info", str(path)]).output
    # The names leave two possibilities, and twice the same name is no answer.
    for number, names in enumerate([("u", "v", "x"), ("x", "y", "x")]):
        with pytest.raises(SpotlightError, match="does not state its axes"):
            read(ome_zarr(tmp_path / f"e{number}.zarr", space(*names), [*size]))


IMAGE = np.random.default_rng(0).normal(100, 5, (12, 40, 48)).astype(np.float32)
IMAGE[3:10, 8:30, 8:30] += 500
LABELS = (IMAGE > 300).astype(np.int32)


def sized(factor: float, data: np.ndarray = IMAGE) -> Stack:
    return Stack(data, "ZYX", (0.5 * factor, 0.3 * factor, 0.3 * factor))


@pytest.mark.parametrize("factor", [1000, 25400, 1e-3, 1e-6])
def test_impossible_voxel_sizes_are_refused_wherever_they_are_used(factor: float, tmp_path: Path) -> None:
    shown = f"{0.5 * factor:.6g} x {0.3 * factor:.6g}"
    for work in (
        lambda: segment(sized(factor)),
        lambda: measure(sized(factor, LABELS)),
        lambda: grid_shape(sized(factor), 0.29),
        lambda: grid_shape(sized(factor), "native"),
        lambda: resampled_shape(IMAGE.shape, sized(factor).voxel_size or (), (0.29,) * 3),
        lambda: sized(factor).require_voxel_size(),
    ):
        with pytest.raises(SpotlightError, match="voxel size of " + shown):
            work()
    path = sized(factor).save(tmp_path / "a.ome.tif")
    assert "voxel size of " + shown in CliRunner().invoke(app, ["info", str(path)]).output


def test_a_factor_of_ten_is_refused_or_doubted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "spotlight"):
        assert segment(sized(1)).data.max() == 1
        measure(sized(1, LABELS))
        grid_shape(sized(1), 0.29)
        assert not caplog.records
        segment(sized(10), SegmentationSettings(voxel_um=1.2))
        assert "voxel size of 5 x 3 x 3 µm is unusual" in caplog.text
        # No stack shows this factor by its voxel size alone, but what is found in it is too large.
        caplog.clear()
        assert not segment(sized(3, LABELS * np.float32(500))).data.any()
        assert "none of 1 bodies was kept: their median size is" in caplog.text
        for work in (lambda: measure(sized(10, LABELS)), lambda: measure(sized(0.1, LABELS))):
            caplog.clear()
            work()
            assert "voxel size of " in caplog.text
    with pytest.raises(SpotlightError, match=r"0\.05 x 0\.03 x 0\.03 µm turns 12 x 40 x 48 voxels into 1 x 2 x 2 of"):
        segment(sized(0.1))
    with pytest.raises(SpotlightError, match=r"a voxel size of 5 x 3 x 3 µm turns 12 x 40 x 48 voxels into 207 x"):
        grid_shape(sized(10), 0.29)


def test_a_grid_of_very_many_voxels_is_doubted_before_it_is_made(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "spotlight"):
        grid_shape(Stack(np.zeros((65, 62, 62), np.uint8), "ZYX", (2.9, 1.08, 1.08)), 0.58)
    assert "voxel size of 2.9 x 1.08 x 1.08 µm turns 65 x 62 x 62 voxels into 325 x 115 x 115" in caplog.text


def test_check_and_init_doubt_a_voxel_size(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("bf", "dna"):
        (tmp_path / name).mkdir()
        sized(1).save(tmp_path / name / "1.ome.tif")
    pair = Pair("1", tmp_path / "bf" / "1.ome.tif", tmp_path / "dna" / "1.ome.tif")
    for size, severity in (((0.5, 0.3, 0.3), None), ((5.0, 3.0, 3.0), "warning"), ((500.0, 300.0, 300.0), "error")):
        stated = Pair(pair.name, pair.input, pair.target, voxel_size=size)
        found = check_pair(stated, CheckSettings()).findings
        assert [f.severity for f in found if f.subject == "voxel size"] == [severity] * (severity is not None)
    patterns = {"input_pattern": "bf/*.tif", "target_pattern": "dna/*.tif"}
    with pytest.raises(SpotlightError, match="voxel size of 500 x 300 x 300 µm is none of"):
        init(tmp_path, tmp_path / "a", voxel_size=(500.0, 300.0, 300.0), **patterns)
    with caplog.at_level(logging.WARNING, "spotlight"):
        init(tmp_path, tmp_path / "b", voxel_size=(5.0, 3.0, 3.0), **patterns)
    assert "voxel size of 5 x 3 x 3 µm is unusual" in caplog.text


def test_who_has_no_batches_is_not_told_of_their_size() -> None:
    assert "--batch-size" in less_memory(["train", "pairs.csv"])
    assert "tiles" in less_memory(["predict", "model"])
    for command in ("segment", "evaluate", "check"):
        assert "voxel size" in less_memory([command])
        assert "batch" not in less_memory([command])


def test_a_voxel_size_stated_with_decimal_commas() -> None:
    size = (0.29, 0.108, 0.108)
    for text in ("0.29 0.108 0.108", "0.29,0.108,0.108", "0.29, 0.108, 0.108", "0.29 x 0.108 x 0.108"):
        assert parse_voxel_size(text, "here") == size
        decimal = re.sub(r"(?<=\d),(?=\d)", " ", text).replace(".", ",")
        with pytest.raises(SpotlightError, match=rf"Received: '{decimal}'. Write decimal points: '0.29 0.108 0.108'"):
            parse_voxel_size(decimal, "here")
    assert parse_voxel_size("1,2,3", "here") == (1, 2, 3)
    for text in ("0,29,0,108", "1,2 3", "1 2 3 4", "a b", "", "0,3", "nan 1 1", "inf 1 1"):
        with pytest.raises(SpotlightError, match="two or three lengths"):
            parse_voxel_size(text, "here")
