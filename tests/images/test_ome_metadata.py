"""Metadata that do not fit the planes that are there, or belong to other files, and companions of OME-TIFFs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.images import images_in, is_image, read, scenes, stem
from spotlight.prediction.listing import find_parts

STACK = np.random.default_rng(0).integers(1, 4000, (6, 32, 40)).astype(np.uint16)
SIZE = pytest.approx((0.3, 0.1, 0.1))


def xml(body: str, attributes: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" {attributes}>{body}</OME>'
    )


def image(
    z: int, c: int = 1, t: int = 1, blocks: str = "<TiffData/>", *, number: int = 0, y: int = 32, kind: str = "uint16"
) -> str:
    channels = "".join(
        f'<Channel ID="Channel:{number}:{i}" Name="{name}"/>' for i, name in enumerate(("BF", "DNA")[:c])
    )
    return (
        f'<Image ID="Image:{number}" Name="field {number}"><Pixels ID="Pixels:{number}" DimensionOrder="XYZCT" '
        f'Type="{kind}" SizeX="40" SizeY="{y}" SizeZ="{z}" SizeC="{c}" SizeT="{t}" PhysicalSizeX="0.1" '
        f'PhysicalSizeY="0.1" PhysicalSizeZ="0.3">{channels}{blocks}</Pixels></Image>'
    )


def block(name: str, uuid: str, z: int = 0, c: int = 0, page: int = 0, count: int = 1) -> str:
    return (
        f'<TiffData IFD="{page}" FirstZ="{z}" FirstC="{c}" PlaneCount="{count}">'
        f'<UUID FileName="{name}">{uuid}</UUID></TiffData>'
    )


def write(path: Path, description: str, data: Any = STACK, **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, data, description=description.encode(), metadata=None, photometric="minisblack", **options)
    return path


# --- numbers of planes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("described", "message"),
    [
        (image(3), "describes 3 planes, but the file has 6 pages"),
        (image(1), "describes 1 plane, but the file has 6 pages"),
        (image(3, t=1, blocks='<TiffData IFD="3" PlaneCount="3"/>'), "describes 3 planes, but the file has 6 pages"),
        (
            image(3, 1, blocks='<TiffData IFD="0" FirstC="0" PlaneCount="3"/><TiffData IFD="3" FirstC="1"/>'),
            "has 6 pages",
        ),
        (image(8), "describes 8 planes, but there are only 6 pages"),
        (image(6, y=30), "describes planes of 30 x 40, but the pages of the file are 32 x 40"),
        (
            image(6, blocks="".join(f'<TiffData FirstZ="{z}" PlaneCount="1"/>' for z in range(6))),
            "6 planes .* on 1 pages",
        ),
        (image(6, blocks=""), "does not say on which pages"),
        (image(6).replace("</Pixels>", ""), "its OME-XML is broken"),
        ("", "describes no image"),
    ],
)
def test_ome_xml_that_does_not_fit_is_refused_until_the_axes_are_stated(
    tmp_path: Path, described: str, message: str, compression: str | None
) -> None:
    path = write(tmp_path / "a.ome.tif", xml(described), compression=compression)
    with pytest.raises(SpotlightError, match=rf"a\.ome\.tif: .*{message}.*axes="):
        read(path)
    np.testing.assert_array_equal(read(path, axes="zyx").data, STACK)
    (part,) = find_parts([tmp_path])
    assert part.fault.startswith(f"{path}: its OME-XML")
    assert [part.fault for part in find_parts([tmp_path], axes="ZYX")] == [""]
    assert part.fault in CliRunner().invoke(app, ["info", str(path)]).output


def test_one_plane_whose_ome_xml_is_cut_off(tmp_path: Path) -> None:
    """Its axes are no question, but its voxel size would be lost."""
    path = write(tmp_path / "a.ome.tif", xml(image(1))[:-20], STACK[0])
    with pytest.raises(SpotlightError, match="its OME-XML is broken"):
        read(path)
    np.testing.assert_array_equal(read(path, axes="YX").data, STACK[0])


def test_an_acquisition_that_was_stopped_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ome.tif", xml(image(2, t=4)), STACK[:5], compression="zlib")
    with pytest.raises(SpotlightError, match="describes 8 planes, but there are only 5 pages"):
        read(path)
    np.testing.assert_array_equal(read(path, axes="TZYX", time=1).data, STACK[2:4])
    with pytest.raises(SpotlightError, match="plane 5 of 8 is missing"):
        read(path, axes="TZYX", time=2).data  # noqa: B018
    np.testing.assert_array_equal(read(path, axes="ZYX").data, STACK[:5])


def test_several_images_in_one_file(tmp_path: Path) -> None:
    def two(z: int, *pages: int) -> str:
        return xml(
            "".join(image(z, blocks=f'<TiffData IFD="{p}" PlaneCount="{z}"/>', number=n) for n, p in enumerate(pages))
        )

    path = write(tmp_path / "a.ome.tif", two(3, 0, 3))
    for number in range(2):
        np.testing.assert_array_equal(read(path, scene=f"field {number}").data, STACK[3 * number :][:3])
    path = write(tmp_path / "b.ome.tif", two(2, 0, 2))
    with pytest.raises(SpotlightError, match="describes 4 planes, but the file has 6 pages"):
        read(path, scene=1)
    np.testing.assert_array_equal(read(path, scene=1, axes="ZYX").data, STACK[2:4])
    path = write(tmp_path / "c.ome.tif", two(3, 0, 0))
    with pytest.raises(SpotlightError, match="takes one page for a plane of two images, 0 and 1"):
        read(path, scene=1)


@pytest.mark.parametrize("pyramid", [True, False])
def test_pyramids_and_thumbnails_are_no_planes(tmp_path: Path, pyramid: bool, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    first = xml(image(6, blocks='<TiffData IFD="0" PlaneCount="6"/>')).encode()
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(STACK, description=first, subifds=1 if pyramid else 0, **options)
        if pyramid:
            writer.write(STACK[:, ::2, ::2], subfiletype=1, **options)
        writer.write(STACK[0, ::4, ::4], subfiletype=0 if pyramid else 1, **options)  # a thumbnail, marked or not
    stack = read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(stack.data, STACK)
    assert stack.voxel_size == SIZE
    assert not caplog.records


def test_another_image_that_is_not_described_is_no_thumbnail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(STACK, description=xml(image(6, blocks='<TiffData IFD="0" PlaneCount="6"/>')).encode(), **options)
        writer.write(STACK[0, ::4], **options)
    message = "describes 6 planes, but the file has 7 pages"
    with pytest.raises(SpotlightError, match=message):
        read(tmp_path / "a.ome.tif")
    # What lies there has no one shape: the image is read as it is described, and the rest is told.
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif", axes="ZYX").data, STACK)
    assert [message in r.getMessage() for r in caplog.records] == [True]


def test_thumbnails_are_not_among_the_pages_as_they_lie(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(STACK, description=xml(image(3)).encode(), **options)
        writer.write(STACK[0, ::4, ::4], **options)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif", axes="ZYX").data, STACK)
    assert not caplog.records


def test_names_for_other_numbers_of_channels_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    described = image(3, 2).replace('SizeC="2"', 'SizeC="1"').replace('SizeZ="3"', 'SizeZ="6"')
    path = write(tmp_path / "a.ome.tif", xml(described))
    assert read(path).channels == ()
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: states names for 2 channels, but has 1; the names are left out."
    ]


def test_another_type_of_values_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.ome.tif", xml(image(6, kind="int16")))
    for _ in range(2):
        assert read(path).dtype == np.uint16
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: its OME-XML says 'int16', but its pages say uint16, and are read as uint16."
    ]


@pytest.mark.parametrize(
    "counts", ["images=6\nslices=3", "slices=3", "images=8\nslices=8", "images=6\nchannels=2\nslices=2", "images=1"]
)
def test_imagej_metadata_that_do_not_fit(tmp_path: Path, counts: str) -> None:
    path = write(tmp_path / "a.tif", f"ImageJ=1.54f\n{counts}\nunit=um\nspacing=0.3\n")
    with pytest.raises(SpotlightError, match=r"its ImageJ metadata do not fit .*axes="):
        read(path)
    stack = read(path, axes="ZYX")
    np.testing.assert_array_equal(stack.data, STACK)
    assert stack.voxel_size is not None
    assert stack.voxel_size[0] == pytest.approx(0.3)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("shape", [(3, 32, 40), (8, 32, 40), (12, 16, 40), (3, 3, 32, 40), (2, 2, 32, 40), (32, 40)])
def test_stated_shapes_that_do_not_fit(tmp_path: Path, shape: tuple[int, ...], compression: str | None) -> None:
    """tifffile took the first plane for all of the file, or what lies behind the last one for planes."""
    stated = f'{{"shape": {list(shape)}, "axes": "{"TZYX"[-len(shape) :]}"}}'
    path = write(tmp_path / "a.tif", stated, compression=compression)
    with pytest.raises(SpotlightError, match=r"its tifffile metadata do not fit|does not state its axes"):
        read(path)
    np.testing.assert_array_equal(read(path, axes="ZYX").data, STACK)


def test_one_page_for_many_planes_is_right_where_it_is_stated(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, metadata={"axes": "ZYX"}, truncate=True, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert len(tif.pages) == 1
    np.testing.assert_array_equal(read(tmp_path / "a.tif").data, STACK)


# --- metadata of other files -----------------------------------------------------------------------------------------


def test_metadata_copied_from_another_file(tmp_path: Path) -> None:
    copied = xml(image(6, blocks=block("a.ome.tif", "urn:uuid:1", count=6)))
    write(tmp_path / "a.ome.tif", copied)
    path = write(tmp_path / "b.ome.tif", copied, STACK[::-1])
    with pytest.raises(SpotlightError, match=r"b\.ome\.tif: .*describes other files \('a\.ome\.tif'\)"):
        read(path)
    stack = read(path, axes="ZYX")
    np.testing.assert_array_equal(stack.data, STACK[::-1])
    assert stack.voxel_size is None
    assert [(part.path.name, bool(part.fault)) for part in find_parts([tmp_path])] == [
        ("a.ome.tif", False),
        ("b.ome.tif", True),
    ]
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif").data, STACK)


def test_a_file_that_was_renamed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    described = image(6, blocks=block("old.ome.tif", "urn:uuid:1", count=6))
    path = write(tmp_path / "a.ome.tif", xml(described))
    for _ in range(2):
        np.testing.assert_array_equal(read(path).data, STACK)
    assert [r.getMessage() for r in caplog.records] == [
        f"{path}: its OME-XML calls it 'old.ome.tif'; the pages of this file are read."
    ]
    caplog.clear()
    # Its UUID tells, even where a new file has the old name.
    path = write(tmp_path / "b.ome.tif", xml(described, 'UUID="urn:uuid:1"'))
    write(tmp_path / "old.ome.tif", xml(described), STACK[::-1])
    np.testing.assert_array_equal(read(path).data, STACK)
    path = write(tmp_path / "c.ome.tif", xml(described, 'UUID="urn:uuid:2"'))
    with pytest.raises(SpotlightError, match="describes other files"):
        read(path)
    assert not caplog.records


def write_set(folder: Path, uuids: tuple[str, str] = ("u0", "u1")) -> list[Path]:
    blocks = "".join(block(f"f{c}.ome.tif", f"u{c}", z, c, z) for c in range(2) for z in range(3))
    return [
        write(folder / f"f{c}.ome.tif", xml(image(3, 2, blocks=blocks), f'UUID="{uuids[c]}"'), STACK[3 * c :][:3])
        for c in range(2)
    ]


def test_a_file_of_a_set_was_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_set(tmp_path / "set")
    both = STACK.reshape(2, 3, 32, 40)
    monkeypatch.chdir(tmp_path)
    assert [part.path.name for part in find_parts([Path("set")])] == ["f0.ome.tif"]
    for file in files:
        np.testing.assert_array_equal(read(file).data, both)
    files = write_set(tmp_path / "exchanged", ("u2", "u1"))
    with pytest.raises(SpotlightError, match="the file of that name is another one: its UUID is 'u2', but 'u0'"):
        read(files[1])
    np.testing.assert_array_equal(read(files[1], axes="ZYX").data, both[1])
    # Where the first one has no metadata of its own, the image is listed with the other.
    files = write_set(tmp_path / "plain")
    tifffile.imwrite(files[0], both[0], metadata=None, description=b"plain", photometric="minisblack")
    np.testing.assert_array_equal(read(files[1]).data, both)
    assert [part.path.name for part in images_in(files[1])] == ["f1.ome.tif"]


def test_a_file_of_a_set_has_more_pages_or_is_missing(tmp_path: Path) -> None:
    files = write_set(tmp_path)
    with tifffile.TiffWriter(files[0], append="force") as writer:
        writer.write(STACK[0], metadata=None, photometric="minisblack")
    with pytest.raises(SpotlightError, match=r"describes 3 planes, but f0\.ome\.tif has 4 pages"):
        read(files[1])
    files[0].unlink()
    np.testing.assert_array_equal(read(files[1], channel="DNA").data, STACK[3:])
    with pytest.raises(SpotlightError, match=r"plane 0 of 6 is missing. It is in 'f0\.ome\.tif"):
        read(files[1], channel="BF").data  # noqa: B018


# --- companions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def companion(tmp_path: Path) -> Path:
    """Two channels in two files whose metadata are in a third."""
    blocks = "".join(block(f"f_c{c}.ome.tif", f"u{c}", z, c, z) for c in range(2) for z in range(3))
    for c in range(2):
        reference = xml('<BinaryOnly MetadataFile="f.companion.ome" UUID="m"/>', f'UUID="u{c}"')
        write(tmp_path / f"f_c{c}.ome.tif", reference, STACK[3 * c :][:3])
    (tmp_path / "f.companion.ome").write_text(xml(image(3, 2, blocks=blocks), 'UUID="m"'))
    return tmp_path / "f.companion.ome"


def test_companion_files(companion: Path) -> None:
    for path in (companion, *sorted(companion.parent.glob("*.tif"))):
        stack = read(path)
        assert (stack.axes, stack.channels, stack.voxel_size) == ("CZYX", ("BF", "DNA"), SIZE)
        np.testing.assert_array_equal(stack.data, STACK.reshape(2, 3, 32, 40))
        np.testing.assert_array_equal(read(path, channel="DNA").data, STACK[3:])
    assert [scene.name for scene in scenes(companion)] == ["field 0"]
    companion.write_bytes(companion.read_text(encoding="utf-8").replace("UTF-8", "UTF-16").encode("utf-16"))
    np.testing.assert_array_equal(read(companion, channel="DNA").data, STACK[3:])
    # A folder's images are its TIFF files; a companion that is named itself is all of them.
    assert [part.name for part in find_parts([companion.parent])] == ["f_c0"]
    assert [part.name for part in find_parts([companion])] == [stem(companion)] == ["f"]
    assert not is_image(companion)


def test_a_companion_that_is_lost_or_belongs_to_others(companion: Path) -> None:
    file = companion.with_name("f_c1.ome.tif")
    text = companion.read_text(encoding="utf-8")
    companion.write_text(text.replace('UUID="m"', 'UUID="n"'), encoding="utf-8")
    with pytest.raises(SpotlightError, match=r"f\.companion\.ome' beside it is that of other images"):
        read(file)
    companion.write_text(text.replace("f_c1", "g_c1").replace(">u1<", ">u3<"), encoding="utf-8")
    with pytest.raises(SpotlightError, match=r"the OME-XML of f\.companion\.ome describes other files"):
        read(file)
    companion.unlink()
    with pytest.raises(SpotlightError, match=r"in the companion file 'f\.companion\.ome', which is not beside it"):
        read(file)
    stack = read(file, axes="ZYX", voxel_size=(0.3, 0.1, 0.1))
    np.testing.assert_array_equal(stack.data, STACK[3:])
    assert [bool(part.fault) for part in find_parts([companion.parent])] == [True, True]


def test_a_companion_whose_files_are_lost(companion: Path) -> None:
    companion.with_name("f_c0.ome.tif").unlink()
    np.testing.assert_array_equal(read(companion, channel="DNA").data, STACK[3:])
    with pytest.raises(SpotlightError, match=r"is missing. It is in 'f_c0\.ome\.tif"):
        read(companion, channel="BF").data  # noqa: B018
    companion.with_name("f_c1.ome.tif").unlink()
    with pytest.raises(SpotlightError, match=r"f\.companion\.ome: the TIFF files .* not beside it \('f_c0\.ome\.tif"):
        read(companion)


def test_metadata_in_the_first_file_of_a_set(tmp_path: Path) -> None:
    blocks = "".join(block(f"f{c}.ome.tif", f"u{c}", z, c, z) for c in range(2) for z in range(3))
    write(tmp_path / "f0.ome.tif", xml(image(3, 2, blocks=blocks), 'UUID="u0"'), STACK[:3])
    reference = xml('<BinaryOnly MetadataFile="f0.ome.tif" UUID="u0"/>', 'UUID="u1"')
    path = write(tmp_path / "f1.ome.tif", reference, STACK[3:])
    stack = read(path)
    assert stack.channels == ("BF", "DNA")
    np.testing.assert_array_equal(stack.data, STACK.reshape(2, 3, 32, 40))
    assert [part.path.name for part in find_parts([tmp_path])] == ["f0.ome.tif"]
