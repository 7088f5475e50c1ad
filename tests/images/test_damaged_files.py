"""Damaged files give an image or one `SpotlightError`; what damage by the thousand found is here one by one."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from fuzzing import DATA, FORMATS, fuzz
from spotlight.addresses import Address
from spotlight.errors import SpotlightError
from spotlight.images import read
from spotlight.images.formats import explained_reading


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.slow
def test_damaged_files_are_refused_or_read(form: str) -> None:
    if form.startswith("czi"):
        pytest.importorskip("pylibCZIrw.czi")
    count = 100 if form in ("zarr", "czi", "czi-zstd") else 200
    found = fuzz(form, count, seed=1)
    assert found.total() == count
    assert found["refused"] > count / 10


@pytest.mark.parametrize("form", list(FORMATS))
def test_what_is_damaged_was_right_before(form: str, tmp_path: Path) -> None:
    if form.startswith("czi"):
        pytest.importorskip("pylibCZIrw.czi")
    axes = {"npy": "CZYX", "plain": "ZYX"}.get(form)
    np.testing.assert_array_equal(read(FORMATS[form](tmp_path), axes=axes).data.reshape(DATA.shape), DATA)


def pieces(content: bytes) -> list[tuple[int, int]]:
    """Places of the directory's entries of a CZI, and of the pieces of planes that they lead to."""
    (directory,) = struct.unpack_from("<q", content, 84)
    (count,) = struct.unpack_from("<i", content, directory + 32)
    found, place = [], directory + 160
    for _ in range(count):
        found.append((place, struct.unpack_from("<q", content, place + 6)[0]))
        place += 32 + 20 * struct.unpack_from("<i", content, place + 28)[0]
    return found


@pytest.mark.parametrize(
    ("in_piece", "offset", "form", "value", "message"),
    [
        # These overran memory in libCZI 6.1 and mostly ended the process.
        (False, 28, "<i", -1, "states -1 dimensions"),
        (False, 28, "<i", 2**31 - 1, "states 2147483647 dimensions"),
        (True, 48 + 28, "<i", -65529, "states -65529 dimensions"),
        (True, 48 + 28, "<i", 41, "states 41 dimensions"),
        (False, 0, "<h", 0, "in the layout"),  # libCZI would leave out this piece and all that follow
        (True, 40, "<q", 2**40, "bytes of metadata, attachments and values"),
        (True, 40, "<q", -1, "bytes of metadata, attachments and values"),
        (True, 32, "<i", -1, "bytes of metadata, attachments and values"),
        (True, 32, "<i", 500, "bytes of metadata, attachments and values"),
        (True, 0, "<q", 0, "ZISRAWSUBBLOCK should be at byte"),
        (False, 6, "<q", 10**12, "ZISRAWSUBBLOCK should be at byte"),
        (False, 6, "<q", -5, "ZISRAWSUBBLOCK should be at byte -5"),
    ],
)
def test_a_czi_whose_statements_cannot_be(
    tmp_path: Path, in_piece: bool, offset: int, form: str, value: int, message: str
) -> None:
    pytest.importorskip("pylibCZIrw.czi")
    path = FORMATS["czi-zstd"](tmp_path)
    content = bytearray(path.read_bytes())
    entry, piece = pieces(content)[2]
    struct.pack_into(form, content, (piece if in_piece else entry) + offset, value)
    path.write_bytes(content)
    with pytest.raises(SpotlightError, match=message):
        read(path)


def test_a_czi_with_one_plane_twice_and_another_not(tmp_path: Path) -> None:
    """For a plane that is not there libCZI gives zeros."""
    pytest.importorskip("pylibCZIrw.czi")
    path = FORMATS["czi"](tmp_path)
    content = bytearray(path.read_bytes())
    entry, _ = pieces(content)[2]
    struct.pack_into("<i", content, content.index(b"Z\0\0\0", entry) + 4, 3)
    path.write_bytes(content)
    with pytest.raises(SpotlightError, match="only 7 are there"):
        read(path)


def test_a_numpy_file_with_more_than_its_array(tmp_path: Path) -> None:
    content = FORMATS["npy"](tmp_path).read_bytes()
    place = len(content) - 1000
    (tmp_path / "x.npy").write_bytes(content[:place] + b"12" + content[place:])
    with pytest.raises(SpotlightError, match=r"x\.npy: is damaged, or holds more than one array"):
        read(tmp_path / "x.npy", axes="CZYX")


@pytest.mark.parametrize(("word", "wrong"), [(b"channels=2", b"chaonels=2"), (b"slices=4", b"slices=2")])
def test_an_imagej_file_with_fewer_planes_than_pages(tmp_path: Path, word: bytes, wrong: bytes) -> None:
    path = FORMATS["imagej"](tmp_path)
    content = path.read_bytes()
    assert content.count(word) == 1
    path.write_bytes(content.replace(word, wrong))
    with pytest.raises(SpotlightError, match="has 4 planes, but 8 are stated and the file has 8 pages"):
        read(path)


@pytest.mark.parametrize("predictor", [False, True])
def test_a_tiff_that_does_not_say_that_it_is_compressed(tmp_path: Path, predictor: bool) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.ones((18, 16), np.uint16), compression="zlib", predictor=predictor)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags["Compression"].offset
    content[place] += 64  # of a tag that nobody knows, so that the compression is none
    path.write_bytes(content)
    message = (
        "differences, as in compressed" if predictor else r"plane 0: the header says \d+ bytes, but 576 are needed"
    )
    with pytest.raises(SpotlightError, match=message):
        read(path).data  # noqa: B018


def test_a_plane_that_is_nowhere(tmp_path: Path) -> None:
    path = FORMATS["set"](tmp_path)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.tags["StripByteCounts"].valueoffset
    content[place : place + 4] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(SpotlightError, match="plane 0: the header says 0 bytes, but 576 are needed"):
        read(path).data  # noqa: B018


def test_two_planes_of_a_set_on_one_page(tmp_path: Path) -> None:
    path = FORMATS["set"](tmp_path)
    content = path.read_bytes()
    assert content.count(b'IFD="2"') == 2
    path.write_bytes(content.replace(b'IFD="2"', b'IGD="2"', 1))
    with pytest.raises(SpotlightError, match="8 planes are to be found on 7 pages"):
        read(path)


def test_a_compression_that_is_not_known_is_no_damage(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DATA, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        for page in tif.pages:
            page.tags["Compression"].overwrite(34676)  # SGI LogLuv
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=DATA)
    stored = tmp_path / "a.zarr" / "0" / ".zarray"
    stored.write_text(json.dumps(json.loads(stored.read_text()) | {"compressor": {"id": "of-tomorrow"}}))
    for path in (tmp_path / "a.tif", tmp_path / "a.zarr" / "0"):
        with pytest.raises(SpotlightError, match="compression or form is not supported") as caught:
            read(path, axes="CZYX").data  # noqa: B018
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [AttributeError("'module' object has no attribute 'x'"), TypeError("x"), ImportError()]
)
def test_a_fault_of_the_program_is_no_damage(tmp_path: Path, error: Exception) -> None:
    for path in (tmp_path / "a.tif", Address("https://host/a.zarr")):
        with pytest.raises(SpotlightError, match=r"a fault of Spotlight.* \(tifffile \d+.*Update Spotlight") as caught:
            with explained_reading(path, "TIFF"):
                raise error
        assert "damaged" not in str(caught.value)
    with pytest.raises(SpotlightError, match="The file is damaged"), explained_reading(tmp_path / "a.tif", "TIFF"):
        raise ValueError("x")
