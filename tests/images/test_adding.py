"""Results that are added to an OME-Zarr that is there: nothing of it is lost, and it is whole at every moment."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from yaozarrs import validate_zarr_store

import spotlight.images.adding as adding
from command_line import run_command
from plates import contents, write_plate
from spotlight import SpotlightError, read
from spotlight.images import Stack
from spotlight.images.adding import add_channels, add_labels

SIZE = (0.5, 0.2, 0.2)
RNG = np.random.default_rng(0)
SEEN = RNG.integers(0, 5000, (2, 9, 40, 50), np.uint16)
STAIN = Stack(RNG.integers(0, 900, (9, 40, 50), np.uint16), "ZYX", SIZE, ("DNA (virtual)",), colors=("00FFFF",))


@pytest.fixture(params=["CZYX", "ZYX"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An image of two channels, or of one that is no axis and has no name."""
    if request.param == "CZYX":
        return Stack(SEEN, "CZYX", SIZE, ("BF", "GFP")).save(tmp_path / "image.ome.zarr")
    return Stack(SEEN[0], "ZYX", SIZE).save(tmp_path / "image.ome.zarr")


def test_a_channel_is_added_and_nothing_else_changes(image: Path) -> None:
    before = read(image)
    group = zarr.open_group(image, mode="r+")
    group.attrs["of the user"] = {"kept": True}
    assert add_channels(STAIN, image)
    after = read(image)
    names = before.channels or ("channel 0",)
    assert after.channels == (*names, "DNA (virtual)")
    assert after.voxel_size == SIZE
    np.testing.assert_array_equal(after.channel("DNA (virtual)").data, STAIN.data)
    for number, name in enumerate(names):
        was = before.channel(number).data if "C" in before.axes else SEEN[0]
        np.testing.assert_array_equal(after.channel(name).data, SEEN[number])
        assert was.shape == SEEN[0].shape
    assert dict(zarr.open_group(image, mode="r").attrs)["of the user"] == {"kept": True}
    assert sorted(path.name for path in image.iterdir()) == ["0.2" if len(names) == 1 else "0.3", "zarr.json"]
    assert [path.name for path in image.parent.iterdir()] == [image.name]
    validate_zarr_store(str(image))
    (node,) = Reader(parse_url(str(image), mode="r"))()
    assert node.metadata["channel_names"] == list(after.channels)
    once = contents(image)
    assert not add_channels(STAIN, image)
    assert contents(image) == once
    other = Stack(STAIN.data + 1, "ZYX", SIZE, STAIN.channels)
    with pytest.raises(SpotlightError, match="has a channel 'DNA .virtual.' already, with other values"):
        add_channels(other, image)


def test_every_level_has_it(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(1100), np.arange(1200)).astype(np.uint16)
    image = Stack(ramp, "YX", (0.2, 0.2), ("BF",)).save(tmp_path / "image.ome.zarr")
    small = read(image / "1", axes="YX").data
    assert add_channels(Stack(ramp[::-1], "YX", (0.2, 0.2), ("DNA",)), image)
    np.testing.assert_array_equal(read(image, channel="DNA").data, ramp[::-1])
    level = read(image / "1.2", axes="CYX").data
    np.testing.assert_array_equal(level[0], small)
    assert np.abs(level[1].astype(int) - small[::-1]).max() <= 2


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_a_whole_image(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step is the last one, the image is as before or as after, and the next call makes it complete."""
    before = read(image).data
    steps: list[str] = []

    class Killed(BaseException):
        pass

    def watched(name: str, function: Any, last: int) -> Any:
        def step(*given: Any, **more: Any) -> Any:
            steps.append(name)
            if len(steps) > last:
                raise Killed
            return function(*given, **more)

        return step

    for last in range(20):
        steps.clear()
        with monkeypatch.context() as patched:
            for name in ("_enlarged", "write_attributes", "unconsolidate"):
                patched.setattr(adding, name, watched(name, getattr(adding, name), last))
            patched.setattr(adding.shutil, "rmtree", watched("rmtree", adding.shutil.rmtree, last))
            patched.setattr(Path, "replace", watched("replace", Path.replace, last))
            try:
                add_channels(STAIN, image)
            except Killed:
                pass
            else:
                break
        validate_zarr_store(str(image))
        now = read(image)
        if "DNA (virtual)" in now.channels:
            np.testing.assert_array_equal(now.data[:-1].squeeze(), before)
            np.testing.assert_array_equal(now.data[-1], STAIN.data)
        else:
            np.testing.assert_array_equal(now.data, before)
    else:
        raise AssertionError("it never ended")
    assert last > 3
    np.testing.assert_array_equal(read(image).data[-1], STAIN.data)
    assert len([path for path in image.iterdir() if path.is_dir()]) == 1


def test_what_does_not_fit_is_refused(image: Path, tmp_path: Path) -> None:
    before = contents(image)
    old = tmp_path / "old.ome.zarr"
    zarr.open_group(old, mode="w", zarr_format=2).attrs["multiscales"] = [{}]
    for stain, to, message in (
        (Stack(STAIN.data.astype(np.float32), "ZYX", SIZE, ("DNA",)), image, "--dtype uint16"),
        (Stack(STAIN.data[1:], "ZYX", SIZE, ("DNA",)), image, "not of one field"),
        (Stack(STAIN.data, "ZYX", SIZE), image, "have no names"),
        (STAIN, old, "is not one image of OME-Zarr 0.5"),
        (STAIN, tmp_path / "none.ome.zarr", "is not one image of OME-Zarr 0.5"),
    ):
        with pytest.raises(SpotlightError, match=message):
            add_channels(stain, to)
    assert contents(image) == before


def test_labels_are_copied_with_what_they_state(image: Path, tmp_path: Path) -> None:
    values = np.zeros(SEEN.shape[1:], np.int32)
    values[2:5, 3:9, 4:11] = 7
    labels = Stack(values, "ZYX", SIZE, labels=True).save(tmp_path / "labels.ome.zarr")
    group = zarr.open_group(labels, mode="r+")
    ome: Any = group.attrs["ome"]
    group.attrs["ome"] = ome | {"image-label": {"properties": [{"label-value": 7, "volume": 2.5}]}}
    assert add_labels(labels, image, "nuclei")
    assert not add_labels(labels, image, "nuclei")
    np.testing.assert_array_equal(read(image / "labels" / "nuclei").data, values)
    found = [node.metadata for node in Reader(parse_url(str(image), mode="r"))()]
    assert found[-1]["properties"] == {7: {"volume": 2.5}}
    other = Stack(values * 2, "ZYX", SIZE, labels=True).save(tmp_path / "other.ome.zarr")
    with pytest.raises(SpotlightError, match="other labels are there already"):
        add_labels(other, image, "nuclei")


def test_a_plate_takes_stain_and_labels_of_its_own(tmp_path: Path) -> None:
    names = ["A/01/0", "B/01/0"]
    plate = write_plate(tmp_path / "plate.ome.zarr", {name: SEEN[n] for n, name in enumerate(names)}, SIZE)
    with pytest.warns(zarr.errors.ZarrUserWarning, match="Consolidated metadata"):
        zarr.consolidate_metadata(str(plate))
    results = write_plate(tmp_path / "stained.ome.zarr", dict.fromkeys(names, STAIN.data), SIZE)
    for name in names:
        STAIN.save(tmp_path / "one.ome.zarr").rename(tmp_path / "named")
        (results / name).rename(tmp_path / f"old{name[0]}")
        (tmp_path / "named").rename(results / name)
        Stack((STAIN.data > 800).astype(np.int32), "ZYX", SIZE, labels=True).save(results / name / "labels" / "nuclei")
    done = run_command("add", results, "--to", plate)
    assert (done.returncode, done.stdout) == (0, f"{plate}: 4 channels and labels added in 2 images\n"), done.stderr
    assert run_command("add", results, "--to", plate).stdout.startswith(f"{plate}: 0 channels")
    for n, name in enumerate(names):
        field = read(plate, scene=name)
        assert field.channels == ("channel 0", "DNA (virtual)")
        np.testing.assert_array_equal(field.data, np.stack([SEEN[n], STAIN.data]))
        np.testing.assert_array_equal(read(plate / name / "labels" / "nuclei").data, STAIN.data > 800)
    assert "nuclei" in zarr.open_group(plate, mode="r")["B/01/0/labels"]  # no old copy of the metadata hides it
    assert "consolidated_metadata" not in json.loads((plate / "zarr.json").read_text(encoding="utf-8"))
    done = run_command("add", plate, "--to", plate)
    assert (done.returncode, "is the same as the results" in done.stderr) == (2, True)
    done = run_command("add", results, "--to", tmp_path / "one.ome.zarr")
    assert (done.returncode, "is no plate with the wells" in done.stderr) == (2, True)
