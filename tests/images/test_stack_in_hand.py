"""A stack as NumPy and a notebook take it: as an array, by an index, and as a picture."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spotlight.errors import SpotlightError
from spotlight.images import Stack, read
from spotlight.images.lazy import LazyArray

RNG = np.random.default_rng(5)
DATA = RNG.integers(0, 999, (2, 3, 4, 6, 5)).astype(np.uint16)


def whole() -> Stack:
    return Stack(DATA, "TCZYX", (0.5, 0.2, 0.1), ("BF", "DNA", "actin"), colors=("FFFFFF", "0000FF", "FF0000"))


def test_numpy_takes_the_values() -> None:
    stack = whole()
    assert np.asarray(stack) is not stack
    assert np.shares_memory(np.asarray(stack), DATA)
    assert not np.shares_memory(np.array(stack), DATA)
    assert np.asarray(stack, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(stack, DATA)
    assert np.mean(stack) == DATA.mean()  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="copy"):
        np.array(stack, dtype=float, copy=False)
    with pytest.raises(TypeError, match="not iterable"):
        iter(stack)


def test_a_stack_equals_itself_alone() -> None:
    """Whether two hold the same values is asked of NumPy; == raises nothing and reads no file."""
    stack = whole()
    assert stack == stack
    assert stack != whole()
    assert stack in [whole(), stack]
    assert len({stack, stack, whole()}) == 2


@pytest.mark.parametrize(
    ("key", "axes", "size", "channels"),
    [
        (0, "CZYX", (0.5, 0.2, 0.1), ("BF", "DNA", "actin")),
        ((-1, np.int64(1)), "ZYX", (0.5, 0.2, 0.1), ("DNA",)),
        ((0, -1, 2), "YX", (0.2, 0.1), ("actin",)),
        ((slice(None), slice(1, None)), "TCZYX", (0.5, 0.2, 0.1), ("DNA", "actin")),
        ((..., slice(1, 3), slice(-2, None)), "TCZYX", (0.5, 0.2, 0.1), ("BF", "DNA", "actin")),
        ((0, ..., 1, slice(2), slice(99)), "CYX", (0.2, 0.1), ("BF", "DNA", "actin")),
        (Ellipsis, "TCZYX", (0.5, 0.2, 0.1), ("BF", "DNA", "actin")),
    ],
)
@pytest.mark.parametrize("where", ["memory", "file"])
def test_an_index_takes_what_numpy_takes(
    key: object, axes: str, size: tuple[float, ...], channels: tuple[str, ...], where: str, tmp_path: Path
) -> None:
    stack = whole() if where == "memory" else read(whole().save(tmp_path / "a.ome.tif"))
    part = stack[key]
    assert (part.axes, part.voxel_size, part.channels) == (axes, pytest.approx(size), channels)
    assert isinstance(part.values, LazyArray) == (where == "file")
    np.testing.assert_array_equal(part, DATA[key])  # type: ignore[index]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (2, "has no T index 2; there are 0 to 1"),
        ((..., 0), r"whole numbers. Received: \[:, :, :, :, 0\]. .*numpy.asarray\(stack\)"),
        ((..., slice(None, None, 2)), "without a step"),
        (np.array([0, 1]), "without a step"),
        (True, "without a step"),
        ((0, 0, 0, slice(None), slice(None), 0), "without a step"),
        ((..., slice(3, 3)), r"\[:, :, :, :, 3:3\] of TCZYX \(2, 3, 4, 6, 5\) is empty"),
    ],
)
def test_another_index_is_an_error(key: object, message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        whole()[key]


def test_a_stack_says_what_it_is(tmp_path: Path) -> None:
    stack = read(whole().save(tmp_path / "a<b>.ome.tif"))
    assert repr(stack).splitlines()[0] == "<Stack TCZYX (2, 3, 4, 6, 5) of uint16, 0.001373 MiB in its file>"
    assert "voxel size (Z, Y, X): 0.5 0.2 0.1 µm" in repr(stack)
    assert "channels: BF, DNA, actin" in repr(stack)
    assert "not stated" in repr(Stack(np.zeros((2, 2), bool), "YX"))
    assert "\x1b" not in repr(Stack(np.zeros((2, 2)), "YX", source="a\x1b[31m"))
    shown = stack._repr_html_()
    assert "a&lt;b&gt;.ome.tif" in shown
    pictures = re.findall(r"base64,([^\"]+)", shown)
    assert len(pictures) == 3
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert picture.size == (5, 6)
    assert "data" not in stack.__dict__  # the file was not read as a whole


class Counting:
    """A large source that counts what is read of it."""

    shape, dtype = (100, 50_000, 50_000), np.dtype(np.uint16)
    read = 0

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        cut = np.zeros([i.stop - i.start for i in index if isinstance(i, slice)], self.dtype)
        self.read += cut.size
        return cut


def test_of_a_large_file_little_is_read() -> None:
    source = Counting()
    assert "<img" in Stack(LazyArray.of(source), "ZYX")._repr_html_()
    assert source.read == 1024**2
    assert "nan" not in Stack(np.full((9, 9), np.nan), "YX")._repr_html_()


def test_a_damaged_file_is_shown_without_a_picture(tmp_path: Path) -> None:
    path = whole().save(tmp_path / "a.ome.tif")
    stack = read(path)
    path.write_bytes(path.read_bytes()[:600])
    shown = stack._repr_html_()
    assert "<img" not in shown
    assert "0.5 0.2 0.1" in shown
    assert "damaged" in shown
