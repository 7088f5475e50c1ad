"""Every file format, read lazily: values and facts are those that another library wrote."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from yaozarrs import v05
from yaozarrs.write.v05 import LabelsBuilder, PlateBuilder, write_bioformats2raw, write_image

from conftest import real_data
from spotlight.errors import SpotlightError
from spotlight.images import images_in, read, scenes
from spotlight.images.lazy import LazyArray
from spotlight.pairs import read_pairs

SIZE = {"Z": 0.29, "Y": 0.108, "X": 0.11}


def ramp(*shape: int) -> NDArray[np.uint16]:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)


# --- lazy arrays -----------------------------------------------------------------------------------------------------


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[Any, ...]]]:
    """Index a three-dimensional array several times in a row."""
    order = tuple(draw(st.permutations(range(3))))
    steps = []
    shape = [(4, 5, 6)[axis] for axis in order]
    for _ in range(draw(st.integers(0, 3))):
        key: list[Any] = []
        left = []
        for length in shape[: draw(st.integers(0, len(shape)))]:
            if length and draw(st.booleans()):
                key.append(draw(st.integers(-length, length - 1)))
            else:
                bound = st.none() | st.integers(-length - 1, length + 1)
                key.append(slice(draw(bound), draw(bound)))
                left.append(len(range(length)[key[-1]]))
        shape = left + shape[len(key) :]
        steps.append(tuple(key))
    return order, steps


@given(cuts())
def test_views_are_those_of_numpy(case: tuple[tuple[int, ...], list[tuple[Any, ...]]]) -> None:
    order, steps = case
    array = ramp(4, 5, 6)
    view, expected = LazyArray.of(array).transpose(order), array.transpose(order)
    for key in steps:
        view, expected = view[key], expected[key]
    assert view.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(view), expected)


def test_an_ellipsis_stands_for_the_axes_between() -> None:
    array = ramp(4, 5, 6)
    np.testing.assert_array_equal(np.asarray(LazyArray.of(array)[1, ..., 2:4]), array[1, ..., 2:4])
    np.testing.assert_array_equal(np.asarray(LazyArray.of(array)[..., 3]), array[..., 3])
    for wrong in ((0, 0, 0, 0), 4, (slice(0, 4, 2),)):
        with pytest.raises(IndexError):
            LazyArray.of(array)[wrong]


# --- TIFF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"bigtiff": True}, {"compression": "lzw"}, {"tile": (16, 16)}, {"rowsperstrip": 5}],
)
def test_layouts_of_tiff(tmp_path: Path, options: dict[str, Any]) -> None:
    data = ramp(2, 3, 30, 40)
    path = tmp_path / "ä file.ome.tif"
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "CZYX"}, photometric="minisblack", **options)
    stack = read(path)
    assert stack.dtype == np.dtype("uint16").newbyteorder("=")
    np.testing.assert_array_equal(
        stack.channel(1).crop((slice(1, 3), slice(5, 25), slice(7, 9))).data, data[1, 1:, 5:25, 7:9]
    )
    np.testing.assert_array_equal(stack.data, data)


@pytest.mark.parametrize("kind", ["uncompressed TIFF", "tiled TIFF", "OME-Zarr", "sharded OME-Zarr"])
def test_regions_are_put_together_from_parts(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotlight.images.tiff.MAPPED_BYTES", 900)
    monkeypatch.setattr("spotlight.images.omezarr.PIECE_BYTES", 700)
    monkeypatch.setattr("spotlight.images.omezarr.WORKERS", 3)
    data = ramp(2, 7, 50, 60)
    path = tmp_path / ("a.ome.tif" if "TIFF" in kind else "a.zarr")
    if "TIFF" in kind:
        tile = (16, 16) if "tiled" in kind else None
        compression = "zlib" if tile else None
        options: dict[str, Any] = {"tile": tile, "compression": compression, "metadata": {"axes": "CZYX"}}
        tifffile.imwrite(path, data, ome=True, photometric="minisblack", **options)
    else:
        shards = (1, 4, 32, 32) if "sharded" in kind else None
        zarr.create_array(path, data=data, chunks=(1, 2, 16, 8), shards=shards, dimension_names=list("czyx"))
    array = read(path).array
    rng = np.random.default_rng(0)
    for _ in range(20):
        cuts = [slice(*sorted(rng.integers(0, n + 1, 2).tolist())) for n in data.shape]
        region = tuple(c.start if c.stop - c.start == 1 else c for c in cuts)
        np.testing.assert_array_equal(np.asarray(array[region]), data[region])
    assert np.asarray(array[1, 2, 3, 4]) == data[1, 2, 3, 4]


def test_a_set_of_ome_tiffs(tmp_path: Path) -> None:
    """One image whose channels lie in two files, each of which knows the other."""
    data = ramp(2, 3, 20, 24)
    names = ("a_c0.ome.tif", "a_c1.ome.tif")
    blocks = "".join(
        f'<TiffData IFD="{z}" FirstC="{c}" FirstZ="{z}" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{c:032x}</UUID></TiffData>'
        for c, name in enumerate(names)
        for z in range(3)
    )
    for c, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{c:032x}"><Image ID="Image:0" Name="set"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            'Type="uint16" SizeX="24" SizeY="20" SizeZ="3" SizeC="2" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.1" '
            'PhysicalSizeZ="300" PhysicalSizeZUnit="nm"><Channel ID="Channel:0:0" Name="BF"/>'
            f'<Channel ID="Channel:0:1" Name="DNA"/>{blocks}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / name, data[c], description=xml, metadata=None, photometric="minisblack")
    for name in names:
        stack = read(tmp_path / name)
        assert (stack.axes, stack.channels, stack.voxel_size) == ("CZYX", ("BF", "DNA"), pytest.approx((0.3, 0.1, 0.1)))
        np.testing.assert_array_equal(stack.data, data)
    (tmp_path / names[1]).unlink()
    stack = read(tmp_path / names[0])
    np.testing.assert_array_equal(stack.channel("BF").data, data[0])
    with pytest.raises(SpotlightError, match="is missing"):
        stack.channel("DNA").data  # noqa: B018


def test_eight_gigabytes_are_opened_at_once_and_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "large.ome.tif"
    shape = (1000, 2048, 2048)
    large = tifffile.memmap(path, shape=shape, dtype=np.uint16, bigtiff=True, ome=True, metadata={"axes": "ZYX"})
    large[700, 100:110, 50:60] = ramp(10, 10)
    large.flush()
    del large
    stack = read(path)
    assert stack.shape == shape
    np.testing.assert_array_equal(stack.crop((slice(700, 701), slice(100, 110), slice(50, 60))).data[0], ramp(10, 10))


def test_a_region_does_not_touch_the_other_planes(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = np.random.default_rng(0).integers(0, 60000, (6, 64, 64)).astype(np.uint16)
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZYX"}, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        start, length = tif.pages[4].dataoffsets[0], tif.pages[4].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\xff" * length
    path.write_bytes(content)
    stack = read(path)
    np.testing.assert_array_equal(stack.crop((slice(0, 4), slice(None), slice(None))).data, data[:4])
    with pytest.raises(SpotlightError, match=r"a\.ome\.tif"):
        stack.data  # noqa: B018


# --- OME-Zarr --------------------------------------------------------------------------------------------------------


def image_v05(axes: str, name: str = "image", unit: str = "micrometer", factor: float = 1.0) -> v05.Image:
    kinds: dict[str, Any] = {
        "T": v05.TimeAxis(name="t", unit="second"),
        "C": v05.ChannelAxis(name="c"),
        **{letter: v05.SpaceAxis(name=letter.lower(), unit=unit) for letter in "ZYX"},  # type: ignore[arg-type]
    }
    scale = [SIZE[a] * factor if a in SIZE else 1.0 for a in axes]
    dataset = v05.Dataset(path="0", coordinateTransformations=[v05.ScaleTransformation(scale=scale)])
    window = v05.OmeroWindow(min=0, max=1, start=0, end=1)
    omero = v05.Omero(
        channels=[v05.OmeroChannel(label=label, color="FFFFFF", window=window) for label in ("BF", "DNA")]
    )
    multiscale = v05.Multiscale(name=name, axes=[kinds[a] for a in axes], datasets=[dataset])
    return v05.Image(multiscales=[multiscale], omero=omero if "C" in axes else None)


@pytest.mark.parametrize(
    ("axes", "unit", "factor"), [("TCZYX", "micrometer", 1.0), ("CZYX", "nanometer", 1e3), ("YX", "meter", 1e-6)]
)
def test_ome_zarr_0_5(tmp_path: Path, axes: str, unit: str, factor: float) -> None:
    data = ramp(*(n for n, a in zip((3, 2, 4, 20, 24), "TCZYX", strict=True) if a in axes))
    write_image(tmp_path / "a.ome.zarr", image_v05(axes, unit=unit, factor=factor), data, writer="zarr")
    stack = read(tmp_path / "a.ome.zarr")
    assert stack.axes == axes
    assert stack.voxel_size == pytest.approx([SIZE[a] for a in axes if a in SIZE])
    assert stack.channels == (("BF", "DNA") if "C" in axes else ())
    np.testing.assert_array_equal(stack.data, data)
    assert [scene.name for scene in scenes(tmp_path / "a.ome.zarr")] == ["image"]


def test_ome_zarr_0_4(tmp_path: Path) -> None:
    data = ramp(2, 4, 20, 24)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("s0", data=data, chunks=(1, 2, 10, 10))
    axes = [{"name": "c", "type": "channel"}] + [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    steps = [{"type": "scale", "scale": [1, 0.145, 0.054, 0.055]}, {"type": "translation", "translation": [0, 5, 5, 5]}]
    multiscale = {
        "version": "0.4",
        "axes": axes,
        "datasets": [{"path": "s0", "coordinateTransformations": steps}],
        "coordinateTransformations": [{"type": "scale", "scale": [1, 2, 2, 2]}],
    }
    group.attrs.update({"multiscales": [multiscale], "omero": {"channels": [{"label": "BF"}, {"label": "DNA"}]}})
    stack = read(tmp_path / "a.zarr")
    assert (stack.axes, stack.channels) == ("CZYX", ("BF", "DNA"))
    assert stack.voxel_size == pytest.approx(tuple(SIZE.values()))
    np.testing.assert_array_equal(stack.channel("DNA").data, data[1])
    # One of its arrays alone states nothing.
    with pytest.raises(SpotlightError, match="does not state its axes"):
        read(tmp_path / "a.zarr" / "s0")
    np.testing.assert_array_equal(read(tmp_path / "a.zarr" / "s0", axes="CZYX").data, data)


def test_a_plate_has_wells_fields_and_labels(tmp_path: Path) -> None:
    fields = {("B", "03", "0"): 0, ("B", "03", "1"): 100, ("C", "11", "0"): 200}
    plate = v05.Plate(
        plate=v05.PlateDef(
            columns=[v05.Column(name="03"), v05.Column(name="11")],
            rows=[v05.Row(name="B"), v05.Row(name="C")],
            wells=[
                v05.PlateWell(path="B/03", rowIndex=0, columnIndex=0),
                v05.PlateWell(path="C/11", rowIndex=1, columnIndex=1),
            ],
        )
    )
    builder = PlateBuilder(tmp_path / "p.ome.zarr", plate=plate, writer="zarr")
    for row, column in (("B", "03"), ("C", "11")):
        images = {
            f: (image_v05("CZYX"), [ramp(2, 3, 16, 18) + offset])
            for (r, c, f), offset in fields.items()
            if (r, c) == (row, column)
        }
        builder.write_well(row=row, col=column, images=images)
    labels = LabelsBuilder(tmp_path / "p.ome.zarr" / "C" / "11" / "0" / "labels", writer="zarr")
    label_image = v05.LabelImage(multiscales=image_v05("ZYX").multiscales, image_label=v05.ImageLabel())
    labels.write_label("nuclei", label_image, ramp(3, 16, 18))
    path = tmp_path / "p.ome.zarr"
    assert [scene.name for scene in scenes(path)] == ["B/03/0", "B/03/1", "C/11/0"]
    np.testing.assert_array_equal(read(path, scene="C/11/0", channel="BF").data, ramp(2, 3, 16, 18)[0] + 200)
    np.testing.assert_array_equal(read(path / "B" / "03", scene="1", channel=1).data, ramp(2, 3, 16, 18)[1] + 100)
    np.testing.assert_array_equal(read(path / "C" / "11" / "0" / "labels" / "nuclei").data, ramp(3, 16, 18))
    np.testing.assert_array_equal(read(path / "C" / "11" / "0" / "labels", scene="nuclei").data, ramp(3, 16, 18))
    assert [part.name for part in images_in(path)] == ["p-B-03-0", "p-B-03-1", "p-C-11-0"]
    # A manifest names a field and its labels; a folder gives every field.
    (tmp_path / "pairs.csv").write_text(
        "input,target,input_channel,target_channel,scene,labels\n"
        "p.ome.zarr,p.ome.zarr,BF,DNA,C/11/0,p.ome.zarr/C/11/0/labels/nuclei\n"
    )
    (pair,) = read_pairs(tmp_path / "pairs.csv")
    _, target = pair.read_both()
    np.testing.assert_array_equal(target.data, ramp(2, 3, 16, 18)[1] + 200)
    found = pair.read_labels(target)
    assert found is not None
    np.testing.assert_array_equal(found.data, ramp(3, 16, 18))
    (tmp_path / "pairs.csv").unlink()
    pairs = read_pairs(tmp_path, "BF", "DNA")
    assert [p.name for p in pairs] == ["p-B-03-0", "p-B-03-1", "p-C-11-0"]
    np.testing.assert_array_equal(pairs[1].read_input().data, ramp(2, 3, 16, 18)[0] + 100)


def test_a_converted_collection(tmp_path: Path) -> None:
    images = {str(n): (image_v05("CZYX", f"series {n}"), [ramp(2, 3, 16, 18) + n]) for n in range(3)}
    write_bioformats2raw(tmp_path / "c.zarr", images, writer="zarr")
    np.testing.assert_array_equal(read(tmp_path / "c.zarr", scene="2").data, ramp(2, 3, 16, 18) + 2)


def test_a_region_touches_only_its_chunks(tmp_path: Path) -> None:
    data = ramp(4, 64, 64)
    write_image(tmp_path / "a.zarr", image_v05("ZYX"), data, writer="zarr", chunks=(1, 32, 32))
    for chunk in (tmp_path / "a.zarr" / "0" / "c").rglob("*"):
        if chunk.is_file() and chunk.parts[-3:] != ("2", "0", "1"):
            chunk.write_bytes(b"rubbish")
    stack = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(stack.crop((slice(2, 3), slice(4, 30), slice(34, 60))).data, data[2:3, 4:30, 34:60])
    with pytest.raises(SpotlightError, match="cannot be read as OME-Zarr"):
        stack.data  # noqa: B018


def test_groups_that_are_no_image(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(SpotlightError, match="without OME metadata"):
        scenes(tmp_path / "empty.zarr")
    (tmp_path / "nothing.zarr").mkdir()
    with pytest.raises(SpotlightError, match="cannot be read as OME-Zarr"):
        scenes(tmp_path / "nothing.zarr")
    write_image(tmp_path / "a.zarr", image_v05("ZYX"), ramp(2, 3, 4), writer="zarr")
    for text in ("", "{", '{"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"multiscales": [{}]}}}'):
        (tmp_path / "a.zarr" / "zarr.json").write_text(text)
        with pytest.raises(SpotlightError, match="cannot be read as OME-Zarr"):
            read(tmp_path / "a.zarr")


# --- others ----------------------------------------------------------------------------------------------------------


def test_scenes_of_a_czi(tmp_path: Path) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi")
    data = ramp(2, 2, 3, 40, 50)  # scene, channel, z, y, x
    with czi.create_czi(str(tmp_path / "a.czi")) as writer:
        for s, c, z in np.ndindex(2, 2, 3):
            writer.write(data[s, c, z], plane={"C": c, "Z": z, "T": 0}, scene=s, location=(100 * s, 7))
        writer.write_metadata(
            "a", channel_names={0: "BF", 1: "DNA"}, scale_x=0.11e-6, scale_y=0.108e-6, scale_z=0.29e-6
        )
    assert [part.name for part in images_in(tmp_path / "a.czi")] == ["a-0", "a-1"]
    for number in range(2):
        stack = read(tmp_path / "a.czi", scene=number)
        assert (stack.axes, stack.channels) == ("CZYX", ("BF", "DNA"))
        assert stack.voxel_size == pytest.approx(tuple(SIZE.values()))
        np.testing.assert_array_equal(stack.data, data[number])
        region = (slice(1, 2), slice(5, 30), slice(11, 13))
        np.testing.assert_array_equal(stack.channel("DNA").crop(region).data, data[number, 1][region])
    (tmp_path / "b.czi").write_bytes((tmp_path / "a.czi").read_bytes()[:3000])
    with pytest.raises(SpotlightError, match=r"b\.czi"):
        read(tmp_path / "b.czi", scene=0).data  # noqa: B018


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_colours_of_a_czi(tmp_path: Path, kind: type) -> None:
    """Zeiss stores blue first, which the bytes of the uncompressed file show."""
    czi = pytest.importorskip("pylibCZIrw.czi")
    data = np.random.default_rng(0).integers(0, 250, (2, 12, 16, 3)).astype(kind)  # blue, green, red
    with czi.create_czi(str(tmp_path / "a.czi")) as writer:
        for z in range(2):
            writer.write(data[z], plane={"C": 0, "Z": z, "T": 0})
        writer.write_metadata("a", channel_names={0: "BF"}, scale_x=1e-7, scale_y=1e-7, scale_z=3e-7)
    assert data[1].tobytes() in (tmp_path / "a.czi").read_bytes()
    stack = read(tmp_path / "a.czi")
    assert (stack.axes, stack.channels, stack.dtype) == ("CZYX", ("blue", "green", "red"), kind)
    np.testing.assert_array_equal(stack.channel("red").data, data[..., 2])
    np.testing.assert_array_equal(stack.channel("blue")[1].data, data[1, ..., 0])
    np.testing.assert_array_equal(
        read(tmp_path / "a.czi", channel="luminance").crop((slice(0, 1), slice(3, 9), slice(2, 5))).data,
        data[:1, 3:9, 2:5].mean(-1, dtype=np.float64).astype(np.float32),
    )


def test_frames_that_an_nd2_lacks_are_no_zeros(tmp_path: Path) -> None:
    pytest.importorskip("nd2")
    content = real_data("multichannel_nd2/example-multichannel.nd2").read_bytes()
    (tmp_path / "a.nd2").write_bytes(content)
    assert read(tmp_path / "a.nd2").data.any()
    where = content.rindex(b"ImageDataSeq|0!")  # in the table of places at the end
    (tmp_path / "a.nd2").write_bytes(content[:where] + b"ImageDataSeq|7!" + content[where + 15 :])
    with pytest.raises(SpotlightError, match=r"a\.nd2: is damaged or incomplete: frame 0 is stated, but not in"):
        read(tmp_path / "a.nd2").data  # noqa: B018


def test_a_real_nd2() -> None:
    """nd2reader 3.3.1, which shares no code with nd2, gives the same values for the file."""
    pytest.importorskip("nd2")
    file = real_data("nd2_timelapse/cluster.nd2")
    stack = read(file)
    assert (stack.axes, stack.shape) == ("TCZYX", (3, 2, 10, 31, 38))
    assert stack.voxel_size == pytest.approx((0.5, 0.16780898, 0.16780898))
    assert stack.channels == ("5-FAM/pH 9.0", "FM 4-64/2% CHAPS")
    digest = hashlib.sha256(stack.data.astype("<u2").tobytes()).hexdigest()
    assert digest == "689919135433077f7152ff6e37394fcac71cc02d8708eeddd600528d160ecc65"
    region = (slice(2, 5), slice(3, 20), slice(1, 9))
    part = read(file, time=1, channel="FM 4-64/2% CHAPS").crop(region)
    np.testing.assert_array_equal(part.data, stack.data[1, 1][region])


def test_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(3, 4, 5))
    with pytest.raises(SpotlightError, match="does not state its axes"):
        read(tmp_path / "a.npy")
    stack = read(tmp_path / "a.npy", axes="ZYX", voxel_size=(1, 1, 1))
    np.testing.assert_array_equal(stack.data, ramp(3, 4, 5))
    np.save(tmp_path / "b.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SpotlightError, match=r"b\.npy: cannot be read as NumPy"):
        read(tmp_path / "b.npy")


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.czi").touch()
    monkeypatch.setitem(sys.modules, "pylibCZIrw.czi", None)
    monkeypatch.delitem(sys.modules, "spotlight.images.czi", raising=False)
    with pytest.raises(SpotlightError, match=r"reading CZI files needs the package .* pip install .*\[czi\]"):
        scenes(tmp_path / "a.czi")


# --- damaged files ---------------------------------------------------------------------------------------------------


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").symlink_to(tmp_path / "b.zarr")
    (tmp_path / "b.zarr").symlink_to(tmp_path / "a.zarr")
    with pytest.raises(SpotlightError, match=r"a\.zarr: cannot be opened"):
        read(tmp_path / "a.zarr")
    write_image(tmp_path / "c.zarr", image_v05("ZYX"), ramp(2, 3, 4), writer="zarr")
    (tmp_path / "c.zarr" / "more").symlink_to(tmp_path / "c.zarr")
    assert read(tmp_path / "c.zarr").data.shape == (2, 3, 4)


def test_positions_in_separate_files_of_a_set(tmp_path: Path) -> None:
    """Two images, each in a file of its own, both described in both files."""
    names, data = ("fa.ome.tif", "fb.ome.tif"), ramp(2, 20, 24)
    images = "".join(
        f'<Image ID="Image:{n}" Name="pos {n}"><Pixels ID="Pixels:{n}" DimensionOrder="XYZCT" Type="uint16" SizeX="24" '
        f'SizeY="20" SizeZ="1" SizeC="1" SizeT="1"><Channel ID="Channel:{n}:0"/><TiffData IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{n:032x}</UUID></TiffData></Pixels></Image>'
        for n, name in enumerate(names)
    )
    for n, name in enumerate(names):
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{n:032x}">{images}</OME>'
        )
        tifffile.imwrite(tmp_path / name, data[n], description=xml, metadata=None, photometric="minisblack")
    for name in names:
        for n in range(2):
            np.testing.assert_array_equal(read(tmp_path / name, scene=f"pos {n}").data, data[n])
    # Each position once, in the file where it starts.
    assert [[part.scene for part in images_in(tmp_path / name)] for name in names] == [["pos 0"], ["pos 1"]]


def test_plates_with_wells_that_were_not_acquired(tmp_path: Path) -> None:
    wells = [v05.PlateWell(path=f"A/{n}", rowIndex=0, columnIndex=n - 1) for n in (1, 2)]
    plate = v05.PlateDef(columns=[v05.Column(name=str(n)) for n in (1, 2)], rows=[v05.Row(name="A")], wells=wells)
    builder = PlateBuilder(tmp_path / "p.zarr", plate=v05.Plate(plate=plate), writer="zarr")
    builder.write_well(row="A", col="2", images={"0": (image_v05("ZYX"), [ramp(2, 3, 4)])})
    assert [scene.name for scene in scenes(tmp_path / "p.zarr")] == ["A/2/0"]
    np.testing.assert_array_equal(read(tmp_path / "p.zarr", scene="A/2/0").data, ramp(2, 3, 4))
    group = zarr.open_group(tmp_path / "p.zarr" / "A" / "2" / "0", mode="r+")
    group.attrs["ome"] = dict(group.attrs["ome"]) | {"omero": None}  # type: ignore[arg-type]
    assert read(tmp_path / "p.zarr", scene="A/2/0").channels == ()
