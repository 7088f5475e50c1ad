"""Stacks and TIFF files: what is stated is read, what is missing is asked for, what is broken is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from conftest import real_data
from spotlight.errors import SpotlightError
from spotlight.images import Selection, Stack, images_in, parse_region, read, resample, resampled_shape
from spotlight.images.normalise import grid_shape, mean_and_std, normalise, prepare_input, zeros_are_padding
from spotlight.images.scaling import input_scale


def ramp(*shape: int, dtype: str = "uint16") -> NDArray[np.generic]:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


# --- reading and writing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (9, 7)), ("ZYX", (5, 9, 7)), ("CZYX", (2, 5, 9, 300)), ("CYX", (3, 270, 300))]
)
def test_what_is_written_is_read_back(tmp_path: Path, axes: str, shape: tuple[int, ...], dtype: str) -> None:
    size = (0.29, 0.108, 0.11)[-len(axes.replace("C", "")) :]
    channels = ("one", "two", "three")[: shape[0]] if "C" in axes else ("only",)
    stack = Stack(ramp(*shape, dtype=dtype), axes, size, channels, origin="test")
    path = stack.save(tmp_path / "a file.ome.tif")
    back = read(path)
    assert (back.axes, back.channels, back.voxel_size) == (axes, channels, pytest.approx(size))
    assert back.data.dtype == stack.data.dtype
    np.testing.assert_array_equal(back.data, stack.data)
    with tifffile.TiffFile(path) as tif:
        assert "<Description>test</Description>" in tif.ome_metadata
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=20)
@given(st.permutations("TCZYX"), st.integers(1, 3), st.integers(1, 3))
def test_any_stored_order_comes_out_as_tczyx(order: list[str], channels: int, planes: int) -> None:
    import tempfile

    sizes = {"T": 1, "C": channels, "Z": planes, "Y": 8, "X": 6}
    axes = "".join(order)
    if not axes.endswith("YX"):  # tifffile's OME writer keeps planes whole
        axes = axes.replace("Y", "").replace("X", "") + "YX"
    data = ramp(*(sizes[a] for a in axes))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ome.tif"
        tifffile.imwrite(path, data, ome=True, metadata={"axes": axes}, photometric="minisblack")
        values = read(path).data
    expected = data.transpose([axes.index(a) for a in "TCZYX"])[0]
    np.testing.assert_array_equal(np.squeeze(values), np.squeeze(expected))


def test_units_and_imagej(tmp_path: Path) -> None:
    path = tmp_path / "nm.ome.tif"
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 290, "PhysicalSizeZUnit": "nm"}
    metadata |= {f"PhysicalSize{a}": 0.000108 for a in "XY"} | {f"PhysicalSize{a}Unit": "mm" for a in "XY"}
    tifffile.imwrite(path, ramp(3, 4, 5), ome=True, metadata=metadata, photometric="minisblack")
    assert read(path).voxel_size == pytest.approx((0.29, 0.108, 0.108))

    imagej = tmp_path / "imagej.tif"
    tifffile.imwrite(
        imagej,
        ramp(3, 2, 4, 5),
        imagej=True,
        resolution=(1 / 0.2, 1 / 0.25),
        metadata={"axes": "ZCYX", "spacing": 0.5, "unit": "um"},
    )
    stack = read(imagej)
    assert stack.axes == "CZYX"
    assert stack.voxel_size == pytest.approx((0.5, 0.25, 0.2))


def test_a_missing_voxel_size_is_asked_for(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "x.ome.tif",
        ramp(3, 4, 5),
        ome=True,
        photometric="minisblack",
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.1},
    )
    stack = read(tmp_path / "x.ome.tif")
    assert stack.voxel_size is None
    with pytest.raises(SpotlightError, match=r"x\.ome\.tif.*no voxel size.*--voxel-size"):
        stack.require_voxel_size()
    assert read(tmp_path / "x.ome.tif", voxel_size=(1, 2, 3)).voxel_size == (1, 2, 3)


def test_missing_axes_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    tifffile.imwrite(path, ramp(3, 4, 5), metadata=None, photometric="minisblack")
    with pytest.raises(SpotlightError, match="does not state its axes.*axes="):
        read(path)
    assert read(path, axes="ZYX").axes == "ZYX"
    with pytest.raises(SpotlightError, match="2 letters"):
        read(path, axes="YX")
    with pytest.raises(SpotlightError, match=r"each once, Y and X among them\. Received: 'QYX'"):
        read(path, axes="QYX")


def test_broken_files(tmp_path: Path) -> None:
    whole = Stack(np.random.default_rng(0).integers(0, 60000, (6, 40, 40)).astype(np.uint16), "ZYX").save(
        tmp_path / "whole.ome.tif"
    )
    content = whole.read_bytes()
    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        cut = tmp_path / "cut.tif"
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(SpotlightError, match=r"cut\.tif"):
            read(cut).data  # noqa: B018
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(SpotlightError, match=r"text\.tif.*cannot be read as TIFF"):
        read(tmp_path / "text.tif")
    with pytest.raises(SpotlightError, match="no such file"):
        read(tmp_path / "absent.tif")
    with pytest.raises(SpotlightError, match="is not a file that can be read here"):
        (tmp_path / "x.png").touch()
        read(tmp_path / "x.png")


def test_an_uncompressed_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "raw.tif"
    tifffile.imwrite(path, ramp(8, 50, 50), imagej=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SpotlightError, match=r"raw\.tif"):
        read(path).data  # noqa: B018


def test_several_images_or_timepoints_in_a_file(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as writer:
        writer.write(ramp(4, 5), metadata={"axes": "YX"}, photometric="minisblack")
        writer.write(ramp(6, 7), metadata={"axes": "YX", "Name": "second"}, photometric="minisblack")
    with pytest.raises(SpotlightError, match="holds 2 images .*1: 'second'.*say which"):
        read(tmp_path / "two.ome.tif")
    for scene in (1, "1", "second"):
        np.testing.assert_array_equal(read(tmp_path / "two.ome.tif", scene=scene).data, ramp(6, 7))
    for scene in (2, "third", -1):
        with pytest.raises(SpotlightError, match="has no image"):
            read(tmp_path / "two.ome.tif", scene=scene)
    assert [(p.name, p.scene) for p in images_in(tmp_path / "two.ome.tif")] == [
        ("two-Image0", "Image0"),
        ("two-second", "second"),
    ]
    tifffile.imwrite(
        tmp_path / "t.ome.tif", ramp(3, 4, 5), ome=True, metadata={"axes": "TYX"}, photometric="minisblack"
    )
    moving = read(tmp_path / "t.ome.tif")
    assert (moving.axes, moving.shape) == ("TYX", (3, 4, 5))
    with pytest.raises(SpotlightError, match="3 timepoints; say which"):
        moving.timepoint()
    with pytest.raises(SpotlightError, match="no timepoint 3"):
        moving.timepoint(3)
    np.testing.assert_array_equal(read(tmp_path / "t.ome.tif", time=2).data, ramp(3, 4, 5)[2])
    assert [(p.name, p.scene, p.time) for p in images_in(tmp_path / "t.ome.tif", Selection(time=1))] == [
        ("t-t1", None, 1)
    ]


def test_real_files_state_what_their_readme_says() -> None:
    pair = read(real_data("allen_dna_3d/brightfield_dna.ome.tif"))
    assert (pair.axes, pair.shape, pair.channels) == ("CZYX", (2, 32, 128, 128), ("Brightfield", "DNA"))
    assert pair.voxel_size == pytest.approx((0.3, 0.3, 0.3))
    field = read(real_data("phase_nuclei_2d/s10.ome.tif"), channel="Nuclei")
    assert (field.axes, field.shape, field.voxel_size) == ("YX", (2048, 2048), None)
    with pytest.raises(SpotlightError, match="does not state its axes"):
        read(real_data("metric_parity/tiny_nuclei_3d.tif"))


# --- stacks ----------------------------------------------------------------------------------------------------------


def test_channels_by_name_and_index() -> None:
    stack = Stack(ramp(2, 3, 4), "CYX", None, ("BF", "DNA"), "file")
    assert np.array_equal(stack.channel("DNA").data, stack.data[1])
    assert stack.channel("0").channels == ("BF",)
    assert stack.channel(1).channels == ("DNA",)
    for which in ("RNA", 2, "-1", -1):
        with pytest.raises(SpotlightError, match="channels here: 0: BF, 1: DNA"):
            stack.channel(which)
    with pytest.raises(SpotlightError, match="has 2 channels"):
        stack.channel(None)
    single = Stack(ramp(3, 4), "YX", None, ("BF",))
    assert single.channel("BF") is single.channel(None) is single
    with pytest.raises(SpotlightError, match="no channel 'DNA'"):
        single.channel("DNA")


@pytest.mark.parametrize(
    ("data", "axes", "size", "message"),
    [
        (ramp(3, 4), "XY", None, "in that order"),
        (ramp(3, 4), "ZYX", None, "3 dimensions"),
        (ramp(3, 4), "YX", (1.0,), "positive lengths"),
        (ramp(3, 4), "YX", (0.1, -1.0), "positive lengths"),
        (ramp(3, 4), "YX", (0.1, np.nan), "positive lengths"),
    ],
)
def test_stacks_that_cannot_be(data: NDArray[np.generic], axes: str, size: tuple[float, ...], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        Stack(data, axes, size)


def test_values_that_are_no_numbers_are_named() -> None:
    data = np.zeros((2, 3, 4), np.float32)
    data[1, 0, 2] = np.nan
    data[1, 2, 2] = 1e30
    with pytest.raises(
        SpotlightError, match=r"2 values are NaN or infinite, or beyond ±1e\+18, the first at ZYX index \(1, 0, 2\)"
    ):
        Stack(data, "ZYX").require_finite()


def test_regions() -> None:
    stack = Stack(ramp(4, 5, 6), "ZYX")
    region = parse_region(" : , 1:3, :-2", "ZYX", "x")
    assert stack.crop(region).shape == (4, 2, 4)
    for text in ("1:2", "a:b, :, :", "1, 2, 3", "1:2:3, :, :"):
        with pytest.raises(SpotlightError, match="start:stop for each of ZYX"):
            parse_region(text, "ZYX", "x")
    with pytest.raises(SpotlightError, match="empty"):
        stack.crop(parse_region("4:, :, :", "ZYX", "x"))


# --- resampling and normalisation ------------------------------------------------------------------------------------


def test_published_sizes_and_values() -> None:
    """65x624x924 at 0.29x0.108x0.108 µm becomes 65x232x344, as scipy's zoom with the published factors gives."""
    assert resampled_shape((65, 624, 924), (0.29, 0.108, 0.108), (0.29,) * 3) == (65, 232, 344)
    image = np.random.default_rng(0).normal(size=(3, 62, 92)).astype(np.float32)
    expected = ndimage.zoom(image, (1, 0.37241, 0.37241), order=3, mode="nearest")
    np.testing.assert_allclose(resample(image, expected.shape), expected, atol=1e-5)


def test_resampling_there_and_back_keeps_a_smooth_image() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(20, 40, 44)), 4).astype(np.float32)
    image /= image.std()
    back = resample(resample(image, (30, 29, 31)), image.shape)
    assert np.abs(back - image).max() < 0.05
    labels = (image > 1).astype(np.int32) * 7
    assert set(np.unique(resample(labels, (31, 50, 45), order=0))) == {0, 7}


def test_normalisation_comes_before_resampling() -> None:
    rng = np.random.default_rng(1)
    data = rng.integers(100, 900, (10, 30, 30)).astype(np.uint16)
    stack = Stack(data, "ZYX", (0.29, 0.145, 0.145))
    z = (data - data.mean()) / data.std()
    expected = ndimage.zoom(z, (1, 0.5, 0.5), order=3, mode="nearest")
    np.testing.assert_allclose(prepare_input(stack, 0.29, input_scale(stack, "mean/std")), expected, atol=1e-4)
    np.testing.assert_allclose(prepare_input(stack, "native", input_scale(stack, "mean/std")), z, atol=1e-6)


def test_constant_images_are_refused() -> None:
    with pytest.raises(SpotlightError, match="flat is constant|flat: is constant"):
        mean_and_std(np.full((4, 4), 7), name="flat")
    assert normalise(np.array([1, 3]), 2, 0.5).tolist() == [-2, 2]


def test_zero_padding_is_told_from_a_dark_background() -> None:
    rng = np.random.default_rng(2)
    camera = rng.normal(100, 5, (40, 40)).round().clip(1)
    padded = np.pad(camera, 6)
    assert zeros_are_padding(padded)
    subtracted = (rng.normal(0, 5, (40, 40)) + 50 * (rng.uniform(size=(40, 40)) < 0.2)).round().clip(0)
    assert (subtracted == 0).mean() > 0.3
    assert not zeros_are_padding(subtracted)
    assert not zeros_are_padding(camera)


def test_padding_is_found_in_dark_and_in_bright_whole_numbers() -> None:
    rng = np.random.default_rng(0)
    for level in (100, 60000):
        image = rng.normal(level, 5, (12, 40, 40)).clip(1, 65535).astype(np.uint16)
        image[:, :, :9] = 0
        assert zeros_are_padding(image)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("padded", [False, True])
def test_counted_values_have_the_statistics_of_all(kind: type, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotlight.images.slabs.SLAB_VOXELS", 3 * 90 * 100)
    rng = np.random.default_rng(3)
    for level, spread in ((200, 9), (5, 3), (120, 40)):
        image = rng.normal(level, spread, (10, 90, 100)).clip(0, 255).astype(kind)
        if padded:
            image[:, :, :9] = 0
        wide = image.astype(np.float64)
        assert mean_and_std(image, padded) == pytest.approx(mean_and_std(wide, padded), rel=1e-12)
        assert zeros_are_padding(image) == zeros_are_padding(wide) == (padded and level == 200)
        assert mean_and_std(image) == pytest.approx((wide.mean(), wide.std()), rel=1e-12)
        np.testing.assert_array_equal(normalise(image, 70.1, 3.3), ((wide - 70.1) / 3.3).astype(np.float32))
    with pytest.raises(SpotlightError, match="is constant"):
        mean_and_std(np.zeros((4, 4), kind), padded=padded)


def test_real_two_dimensional_fluorescence_has_no_padding() -> None:
    stack = read(real_data("phase_nuclei_2d/s10.ome.tif"))
    assert not zeros_are_padding(stack.channel(stack.channels[-1]).data)  # a few dead pixels


def test_shapes_on_the_grid_and_a_voxel_size_in_another_unit() -> None:
    image = np.zeros((10, 100, 100), np.float32)
    # Voxel sizes that differ by less than a file's precision must not give pairs of two shapes.
    assert grid_shape(Stack(image, "ZYX", (0.29, 0.108, 0.108)), 0.29) == (10, 37, 37)
    with pytest.raises(SpotlightError, match="a voxel size of 290 x 108 x 108 µm is none of a light microscope"):
        grid_shape(Stack(image, "ZYX", (290.0, 108.0, 108.0)), 0.29)


def test_values_that_were_read_are_the_stacks_from_then_on(tmp_path: Path) -> None:
    Stack(ramp(2, 3, 4, 5), "CZYX").save(tmp_path / "a.ome.tif")
    stack = read(tmp_path / "a.ome.tif")
    stack.data[:] = 7
    assert (stack.channel(1).crop((slice(0, 2), slice(None), slice(None))).data == 7).all()
    assert (read(stack.save(tmp_path / "b.ome.tif")).data == 7).all()
    assert (read(tmp_path / "a.ome.tif").data == ramp(2, 3, 4, 5)).all()


def test_a_channel_of_a_one_channel_file() -> None:
    stack = Stack(np.zeros((4, 5)), "YX", channels=("DNA",))
    assert stack.channel("0") is stack
    assert stack.channel(0) is stack
    assert stack.channel("DNA") is stack
    for absent in ("GFP", "1", 1):
        with pytest.raises(SpotlightError, match="no channel"):
            stack.channel(absent)


@pytest.mark.parametrize(
    ("kind", "stored"), [("bool", "uint8"), ("int64", "int32"), ("uint64", "uint32"), ("float16", "float32")]
)
def test_values_are_stored_in_a_type_that_readers_know(tmp_path: Path, kind: str, stored: str) -> None:
    data = np.array([[0, 1, 1], [1, 0, 1]]).astype(kind)
    back = read(Stack(data, "YX").save(tmp_path / "a.tif"))
    assert back.data.dtype == stored
    np.testing.assert_array_equal(back.data, data)


@pytest.mark.parametrize("data", [np.array([[2**40, 1]]), np.array([[1e300, 1]])])
def test_values_that_would_be_lost_are_not_stored(tmp_path: Path, data: NDArray[np.generic]) -> None:
    with pytest.raises(SpotlightError, match="values cannot be stored without loss"):
        Stack(data, "YX").save(tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


def test_text_that_xml_cannot_hold_is_cleaned(tmp_path: Path) -> None:
    back = read(Stack(ramp(4, 5), "YX", channels=("D\x00N\x07A <&>",)).save(tmp_path / "a.ome.tif"))
    assert back.channels == ("DNA <&>",)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_file_gives_an_image_or_one_error(seed: int) -> None:
    import io
    import tempfile

    rng = np.random.default_rng(seed)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, ramp(3, 16, 16), ome=True, metadata={"axes": "ZYX"}, compression="zlib")
    content = np.frombuffer(buffer.getvalue(), np.uint8).copy()
    content[rng.integers(0, len(content), rng.integers(1, 30))] = rng.integers(0, 256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ome.tif"
        path.write_bytes(content.tobytes()[: rng.integers(8, len(content) + 1)])
        try:
            stack = read(path)
            assert stack.data.shape == stack.shape
        except SpotlightError as error:
            assert str(path) in str(error)  # noqa: PT017


# --- what a reviewer found -------------------------------------------------------------------------------------------


def test_each_axis_of_an_imagej_file_has_its_unit_and_may_run_downwards(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": -500.0, "unit": "um", "zunit": "nm"}
    tifffile.imwrite(tmp_path / "a.tif", ramp(3, 4, 5), imagej=True, resolution=(5, 4), metadata=metadata)
    assert read(tmp_path / "a.tif").voxel_size == pytest.approx((0.5, 0.25, 0.2))


@pytest.mark.parametrize("length", [0.0, -1.0])
def test_a_voxel_size_that_cannot_be_is_none_and_can_be_stated(tmp_path: Path, length: float) -> None:
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": length}
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp(3, 4, 5), ome=True, metadata=metadata, photometric="minisblack")
    assert read(tmp_path / "a.ome.tif").voxel_size is None
    assert read(tmp_path / "a.ome.tif", voxel_size=(1, 2, 3)).voxel_size == (1, 2, 3)


@pytest.mark.parametrize("size", [0.5, ("a", "b"), (1, 2), (1, 2, np.nan)])
def test_voxel_sizes_of_the_wrong_kind(size: Any) -> None:
    with pytest.raises(SpotlightError, match="must be 3 positive lengths"):
        Stack(ramp(3, 4, 5), "ZYX", size)


def test_numbers_as_names_are_not_taken_for_indices(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for number in range(3):
            data = np.full((4, 5), 10 * number, np.uint8)
            writer.write(data, metadata={"axes": "YX", "Name": str(number + 1)}, photometric="minisblack")
    listed = images_in(tmp_path / "a.ome.tif")
    assert [read(p.path, scene=p.scene).data[0, 0] for p in listed] == [0, 10, 20]
    assert read(tmp_path / "a.ome.tif", scene="1").data[0, 0] == 0
    assert read(tmp_path / "a.ome.tif", scene="#1").data[0, 0] == 10
    stack = Stack(ramp(3, 4, 5), "CYX", channels=("1", "2", "3"))
    assert stack.channel("1").data[0, 0] == 0
    assert stack.channel("#1").data[0, 0] == stack.channel(1).data[0, 0] == 20


def test_channel_names_go_when_the_axis_is_said_to_be_another(tmp_path: Path) -> None:
    Stack(ramp(3, 4, 5), "CYX", channels=("a", "b", "c")).save(tmp_path / "a.ome.tif")
    assert read(tmp_path / "a.ome.tif", axes="ZYX").channels == ()


def test_one_plane_is_a_plane_in_every_format(tmp_path: Path) -> None:
    stack = Stack(ramp(1, 4, 5), "ZYX", (3, 1, 1))
    for ending in ("ome.tif", "ome.zarr"):
        back = read(stack.save(tmp_path / f"a.{ending}"))
        assert (back.axes, back.voxel_size) == ("YX", (1, 1))
    assert read(tmp_path / "a.ome.zarr", axes="ZYX").axes == "ZYX"


def test_of_channels_of_one_name_the_number_is_asked_for() -> None:
    twins = Stack(np.zeros((2, 4, 4)), "CYX", (1, 1), ("DNA", "DNA"))
    with pytest.raises(SpotlightError, match="has 2 channels 'DNA'; channels here: .* Name one by its number"):
        twins.channel("DNA")
