"""NumPy arrays where stacks go: what they do not state is asked for."""

import pickle
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage import draw

from spotlight import measure, segment
from spotlight.errors import SpotlightError
from spotlight.images import Selection, Stack, as_stack, images_in, read, read_selected
from spotlight.images.arrays import ArrayAddress, content_digest
from spotlight.pairs import Pair, read_pairs
from spotlight.pairs.manifest import write_manifest

RNG = np.random.default_rng(3)
FIELD = RNG.integers(0, 900, (4, 12, 10)).astype(np.uint16)
SIZE = (0.5, 0.2, 0.1)


def test_axes_are_stated_or_plain_and_end_in_order() -> None:
    assert (as_stack(FIELD, voxel_size=SIZE).axes, as_stack(FIELD[0], voxel_size=SIZE[1:]).axes) == ("ZYX", "YX")
    stack = as_stack(np.moveaxis(FIELD, 0, -1), "yxz", SIZE)
    np.testing.assert_array_equal(stack, FIELD)
    assert (stack.axes, stack.voxel_size) == ("ZYX", SIZE)
    assert np.shares_memory(np.asarray(stack), FIELD)
    whole = Stack(FIELD, "ZYX", SIZE, source="a.tif")
    assert as_stack(whole) is whole
    stated = as_stack(whole, voxel_size=(1.0, 1.0, 1.0))
    assert (stated.voxel_size, stated.axes, stated.source) == ((1.0, 1.0, 1.0), "ZYX", "a.tif")
    assert stated.data is whole.data
    assert as_stack(whole, "TYX").voxel_size is None


@pytest.mark.parametrize(
    ("array", "stated", "message"),
    [
        (FIELD, {}, "Give voxel_size=, the edge lengths in µm of Z, Y, X"),
        (FIELD[0], {}, r"of Y, X\. If they are unknown, give spotlight.Stack\(array, 'YX'\)"),
        (FIELD[None], {"voxel_size": SIZE}, r"Its axes are not stated for shape \(1, 4, 12, 10\)"),
        (FIELD[0, 0], {"voxel_size": SIZE}, "State one letter of TCZYX per dimension"),
        (FIELD, {"axes": "ZY", "voxel_size": SIZE}, "axes 'ZY' for shape"),
        (FIELD, {"axes": "ZZX", "voxel_size": SIZE}, "axes 'ZZX'"),
        (FIELD, {"axes": "ZYS", "voxel_size": SIZE}, "axes 'ZYS'"),
        (FIELD, {"voxel_size": SIZE[1:]}, "must be 3 positive lengths"),
        (FIELD.tolist(), {"voxel_size": SIZE}, "Received: list. Convert it with numpy.asarray"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_asked_for(array: object, stated: dict[str, object], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        as_stack(array, **stated)  # type: ignore[arg-type]


def test_the_remedy_for_an_unknown_voxel_size_works() -> None:
    """What the message says to type is typed."""
    with pytest.raises(SpotlightError) as caught:
        measure((FIELD > 800).astype(np.uint8))
    found = re.search(r"give (spotlight\.Stack\(array, '[A-Z]+'\))", str(caught.value))
    assert found
    import spotlight

    stack = eval(found[1], {"spotlight": spotlight, "array": FIELD // 899})
    assert len(measure(stack)) == 1


def test_arrays_are_segmented_and_measured_as_stacks_are() -> None:
    image = np.full((64, 80), 10.0, np.float32)
    for center in ((20, 20), (40, 55)):
        image[draw.disk(center, 10)] = 200
    image += RNG.normal(0, 2, image.shape).astype(np.float32)
    size = (0.7, 0.7)
    labels = segment(image, voxel_size=size)
    assert (labels.axes, labels.voxel_size) == ("YX", size)
    np.testing.assert_array_equal(labels, segment(Stack(image, "YX", size)))
    np.testing.assert_array_equal(segment(image.T, axes="XY", voxel_size=size), labels)
    assert labels.data.max() == 2
    wanted = measure(labels, Stack(image, "YX", size))
    pd.testing.assert_frame_equal(measure(np.asarray(labels), image, voxel_size=size), wanted)
    pd.testing.assert_frame_equal(measure(labels, image), wanted)
    with pytest.raises(SpotlightError, match=r"intensity: has shape \(63, 80\), but the labels have \(64, 80\)"):
        measure(labels, image[1:])


def test_a_stack_in_memory_passes_where_paths_do(tmp_path: Path) -> None:
    stack = Stack(FIELD, "ZYX", SIZE, ("DNA",), "mine")
    address = ArrayAddress.of(stack)
    assert str(address) == f"memory://array-{content_digest(stack)[:32]}"
    assert address == ArrayAddress.of(replace(stack, array=FIELD.copy()))
    others = (replace(stack, array=FIELD + 1), replace(stack, voxel_size=(1.0,) * 3), stack[:2], Stack(FIELD, "TYX"))
    assert len({address, *map(ArrayAddress.of, others)}) == 5
    on_disk = read(stack.save(tmp_path / "a.ome.tif"))
    assert ArrayAddress.of(replace(on_disk, voxel_size=SIZE)) == address  # whatever it is called
    for same in (address, pickle.loads(pickle.dumps(address)), deepcopy(address)):
        for found in (same.stack, read(same)):
            np.testing.assert_array_equal(found, FIELD)
            assert repr(found) == repr(stack)
    np.testing.assert_array_equal(read_selected(address, Selection(plane=2)), FIELD[2])
    assert read(address, axes="TYX", time=1).shape == (12, 10)
    assert [part.channels for part in images_in(address)] == [None]
    thin = ArrayAddress.of(Stack(FIELD[:1], "ZYX", SIZE))
    assert read(thin).shape == (1, 12, 10)
    with pytest.raises(SpotlightError, match="mine: is in memory, but a file is needed here. Save it"):
        write_manifest([Pair("a", address, address)], tmp_path / "pairs.csv")


def test_pairs_are_named_and_known_by_their_values() -> None:
    target = FIELD[::-1]
    (pair,) = read_pairs([(FIELD, target)], voxel_size=SIZE)
    image, stain = pair.read_both()
    assert pair.name == "pair-1"
    np.testing.assert_array_equal(image, FIELD)
    np.testing.assert_array_equal(stain, target)
    assert (image.voxel_size, stain.source) == (SIZE, "pair-1 (target)")
    (same,) = read_pairs([(Stack(FIELD, "ZYX", SIZE), target.copy())], voxel_size=SIZE)
    assert same.digest() == pair.digest()
    assert same.fingerprints() == pair.fingerprints()
    (other,) = read_pairs([(FIELD, target + 1)], voxel_size=SIZE)
    (coarse,) = read_pairs([(FIELD, target)], voxel_size=(1.0,) * 3)
    assert len({pair.digest(), other.digest(), coarse.digest()}) == 3
    assert read_pairs([pair], voxel_size=(2.0,) * 3)[0].read_input().voxel_size == (2.0,) * 3


def test_a_pair_of_arrays_has_what_other_pairs_have() -> None:
    both, labels = np.stack([FIELD, FIELD + 1], axis=-1), (FIELD > 500).astype(np.uint8)
    images = {"axes": "ZYXC", "voxel_size": SIZE, "labels": labels, "foreground": labels > 0, "repeat": both}
    pair = Pair.of_arrays("a", both, both, split="test", input_channel="0", target_channel="1", **images)  # type: ignore[arg-type]
    image, target = pair.read_both()
    np.testing.assert_array_equal(target.data, image.data + 1)
    for found in (pair.read_labels(target), pair.read_foreground(target)):
        np.testing.assert_array_equal(found, labels)  # type: ignore[arg-type]
    np.testing.assert_array_equal(pair.read_repeat(target), target)  # type: ignore[arg-type]
    part = replace(pair, region="0:2, :, 3:9")
    assert part.read_labels(part.read_target()).shape == (2, 12, 6)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([FIELD], r"Received: ndarray. Give \[\(input, target\), ...\]"),
        ((FIELD, FIELD), r"Received: ndarray"),
        ([(FIELD, FIELD, FIELD)], "Received: tuple"),
        ([("a.tif", FIELD)], "pair-1: one of input and target is a path and the other is not"),
        ([(FIELD, FIELD)], r"pair-1 \(input\): an array does not state its voxel size"),
    ],
)
def test_what_is_no_pair_is_said(pairs: list[object], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        read_pairs(pairs)  # type: ignore[arg-type]


def test_tuples_of_paths_are_pairs(tmp_path: Path) -> None:
    files = [Stack(part, "ZYX", SIZE).save(tmp_path / f"{n}.ome.tif") for n, part in enumerate((FIELD, FIELD + 1))]
    (pair,) = read_pairs([(str(files[0]), files[1])])
    np.testing.assert_array_equal(pair.read_target(), FIELD + 1)
