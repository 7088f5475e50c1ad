"""One fingerprint for all that is kept: what changes it, and what does not."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import tifffile
from pydantic import BaseModel, Field

from spotlight import fingerprint as module
from spotlight.evaluation import EvaluationSettings
from spotlight.fingerprint import changed, fingerprint, left_out, plain, recorded, state_of, states_of
from spotlight.images import Stack
from spotlight.images.belonging import files_of
from spotlight.model import InputDescription, TargetDescription
from spotlight.networks import FNetSettings
from spotlight.networks.settings import Pix2PixSettings, UNetPlusPlusSettings
from spotlight.pairs import PreparationSettings
from spotlight.prediction import StainOptions
from spotlight.segmentation import CellposeSettings, SegmentationSettings
from spotlight.settings import Settings
from spotlight.tasks import SegmentTask


class Inner(Settings):
    kind: Literal["inner"] = "inner"
    width: int = 3
    name: str | None = None


class Other(Settings):
    kind: Literal["other"] = "other"
    width: int = 3


class Outer(Settings):
    needed: int
    share: float = 0.5
    inner: Inner | Other = Field(Inner(width=7), discriminator="kind")
    more: Inner | None = None


class OuterLater(Outer):
    """The same in a later version, which has a setting more."""

    added: tuple[int, ...] = (1, 2)


class OuterOther(Outer):
    """The same in a version in which a default has changed."""

    unsaid: ClassVar[Mapping[str, Any]] = {"share": 0.5}
    share: float = 0.9


class InnerOther(Inner):
    unsaid: ClassVar[Mapping[str, Any]] = {"name": None}
    name: str | None = "x"


class OuterWithOther(Outer):
    """The same where a default of the settings inside has changed."""

    inner: InnerOther | Other = Field(InnerOther(width=7), discriminator="kind")


@dataclass(frozen=True)
class Options:
    channel: str | None = None
    inner: Inner = Inner()  # noqa: RUF009 - frozen


def test_what_has_its_default_is_left_out() -> None:
    assert plain(Outer(needed=1)) == {"needed": 1}
    assert plain(Outer(needed=1, share=0.25, inner=Inner(), more=Inner())) == {
        "needed": 1,
        "share": 0.25,
        "inner": {"kind": "inner"},
        "more": {"kind": "inner"},
    }
    assert plain(Outer(needed=1, inner=Other(width=7)))["inner"] == {"kind": "other", "width": 7}
    assert plain(Options("a")) == {"channel": "a"}
    assert plain(Options(inner=Inner(width=4))) == {"inner": {"kind": "inner", "width": 4}}


def test_a_setting_more_changes_nothing_until_it_is_used() -> None:
    assert fingerprint(Outer(needed=1)) == fingerprint(OuterLater(needed=1))
    assert fingerprint(OuterLater(needed=1)) != fingerprint(OuterLater(needed=1, added=(1,)))


def test_a_changed_default_has_another_meaning() -> None:
    before, after = Outer(needed=1), OuterOther(needed=1)
    assert fingerprint(before) != fingerprint(after)
    assert fingerprint(before) == fingerprint(OuterOther(needed=1, share=0.5))
    assert fingerprint(Outer(needed=1, share=0.9)) == fingerprint(after)
    assert fingerprint(before) != fingerprint(OuterWithOther(needed=1))
    assert fingerprint(before) == fingerprint(OuterWithOther(needed=1, inner=InnerOther(width=7, name=None)))


def test_numbers_and_paths_say_the_same_however_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fingerprint((1.0, 0.3), Path("a")) == fingerprint([1, 0.3], tmp_path / "a")
    assert len({fingerprint(fact) for fact in (1, "1", True, None, [1], {"a": 1}, 1.5, float("nan"))}) >= 7


KINDS: tuple[type, ...] = (
    StainOptions,
    EvaluationSettings,
    PreparationSettings,
    InputDescription,
    TargetDescription,
    FNetSettings,
    Pix2PixSettings,
    UNetPlusPlusSettings,
    SegmentationSettings,
    CellposeSettings,
    SegmentTask,
)


def all_left_out(kinds: tuple[type, ...]) -> dict[str, dict[str, Any]]:
    """What is left out of the classes and of all settings inside of them."""
    found: dict[str, dict[str, Any]] = {}
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if kind.__name__ in found:
            continue
        found[kind.__name__] = left_out(kind)
        fields = kind.model_fields.values() if issubclass(kind, BaseModel) else ()
        annotations: list[Any] = [field.annotation for field in fields]
        while annotations:
            annotation = annotations.pop()
            annotations += getattr(annotation, "__args__", ())
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                waiting.append(annotation)
        if kind is StainOptions:
            waiting.append(type(StainOptions().settings))
    return found


def test_no_default_has_changed_its_meaning() -> None:
    """A default that changes must be named in `unsaid` of its class; a new setting is added to the file."""
    file = Path(__file__).with_name("unsaid.json")
    now = json.loads(json.dumps(all_left_out(KINDS)))
    known = json.loads(file.read_text())
    if os.environ.get("SPOTLIGHT_WRITE_UNSAID"):  # only what is new is added
        known = {name: fields | known.get(name, {}) for name, fields in now.items()}
        file.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    for name, fields in known.items():
        differing = {field for field, value in fields.items() if now.get(name, {}).get(field, value) != value}
        assert not differing, f"{name}: name the former default of {differing} in `unsaid`"
    new = {f"{name}.{field}" for name, fields in now.items() for field in fields if field not in known.get(name, {})}
    assert not new, (
        f"new: {new}. Where a default does other than was done without the setting, name in `unsaid` the value that "
        "does the same. Then run this test with SPOTLIGHT_WRITE_UNSAID=1."
    )


def write(path: Path, values: np.ndarray) -> None:
    tifffile.imwrite(path, values, photometric="minisblack")


def test_a_file_is_known_by_its_state_or_by_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "a.tif"
    write(file, np.zeros((4, 8, 8), np.uint16))
    before = state_of(file)
    record = recorded([before])
    assert changed(record, [state_of(file)]) == []
    os.utime(file, (1, 1))  # touched
    assert state_of(file).fingerprint != before.fingerprint
    assert changed(record, [state_of(file)]) == []
    shutil.copy(file, tmp_path / "b.tif")  # copied, and put back
    file.unlink()
    assert changed(record, [state_of(file)]) == [str(file)]
    (tmp_path / "b.tif").rename(file)
    assert changed(record, [state_of(file)]) == []
    facts = file.stat()
    write(file, np.ones((4, 8, 8), np.uint16))  # of the same size, and the time of change set back
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert file.stat().st_size == facts.st_size
    assert changed(record, [state_of(file)]) == [str(file)]


def test_large_files_are_known_by_blocks_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(module, "BLOCK_BYTES", 10)
    file = tmp_path / "a.bin"
    file.write_bytes(bytes(range(256)) * 40)
    before = file.stat()
    record = recorded([state_of(file)])
    assert set(record[str(file)]) == {"stamp", "dated", "sampled"}
    copy = tmp_path / "b.bin"
    shutil.copy2(file, copy)  # another inode, the same times
    copy.replace(file)
    assert changed(record, [state_of(file)]) == []
    os.utime(file, (1, 1))
    assert changed(record, [state_of(file)]) == [str(file)]
    for place in (0, 5000, 10239):  # blocks are at both ends and between
        content = bytearray(range(256)) * 40
        content[place : place + 200] = b"x" * len(content[place : place + 200])
        file.write_bytes(content)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert changed(record, [state_of(file)]) == [str(file)]


@pytest.mark.parametrize("form", ["ome.zarr", "ome.tif"])
def test_an_image_that_is_written_anew_has_changed(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form}"
    values = np.arange(512, dtype=np.uint16).reshape(8, 8, 8)
    Stack(values, "ZYX", (1.0, 1.0, 1.0)).save(path)
    record = recorded(states_of([files_of(path)]))
    assert list(record) == [str(path)]
    Stack(values, "ZYX", (1.0, 1.0, 1.0)).save(path)
    differs = changed(record, states_of([files_of(path)]))
    Stack(values[::-1], "ZYX", (1.0, 1.0, 1.0)).save(path)
    assert changed(record, states_of([files_of(path)])) == [str(path)]
    if form == "ome.zarr":  # a TIFF holds a name that is drawn anew
        assert differs == []
        chunk = max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        record = recorded([state_of(path)])
        chunk.write_bytes(chunk.read_bytes()[::-1])
        assert changed(record, [state_of(path)]) == [str(path)]


SET = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    'DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" SizeZ="2" SizeC="1" SizeT="1">'
    '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
    '<TiffData FirstZ="0" IFD="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:a</UUID></TiffData>'
    '<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="b &amp; c.ome.tif">urn:uuid:b</UUID></TiffData>'
    "</Pixels></Image></OME>"
)


def test_files_of_a_set_belong_to_its_image(tmp_path: Path) -> None:
    first, second = tmp_path / "a.ome.tif", tmp_path / "b & c.ome.tif"
    for number, path in enumerate((first, second)):
        tifffile.imwrite(path, np.full((8, 8), number, np.uint16), description=SET, metadata=None)
    assert files_of(first) == [first, second]
    assert files_of(second) == [second, first]
    record = recorded(states_of([files_of(first)]))
    tifffile.imwrite(second, np.full((8, 8), 7, np.uint16), description=SET, metadata=None)
    assert changed(record, states_of([files_of(first)])) == [str(second)]
    second.unlink()
    assert changed(record, states_of([files_of(first)])) == [str(second)]
    companion = tmp_path / "x.companion.ome"
    companion.write_text(SET)
    third = tmp_path / "d.ome.tif"
    pointing = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><BinaryOnly MetadataFile="{}" UUID="u"/></OME>'
    )
    tifffile.imwrite(third, np.zeros((8, 8), np.uint16), description=pointing.format(companion.name), metadata=None)
    assert files_of(third) == [third, companion, first, second]


def test_a_field_of_a_plate_is_a_folder_of_its_own(tmp_path: Path) -> None:
    field = tmp_path / "plate.ome.zarr" / "A" / "1" / "0"
    Stack(np.zeros((4, 8, 8), np.uint16), "ZYX", (1.0, 1.0, 1.0)).save(field.with_suffix(".ome.zarr")).rename(field)
    assert files_of(tmp_path / "plate.ome.zarr", "A/1/0") == [field]
    assert files_of(tmp_path / "plate.ome.zarr", "no folder") == [tmp_path / "plate.ome.zarr"]


def test_images_of_very_many_files_have_one_state(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:03}.bin" for number in range(module.LISTED + 1)]
    for file in files:
        file.write_bytes(b"a")
    record = recorded(states_of([files]))
    assert list(record) == [str(files[0])]
    assert changed(record, states_of([files])) == []
    files[50].write_bytes(b"b")
    assert changed(record, states_of([files])) == [str(files[0])]


def test_what_is_no_file_has_no_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert state_of(tmp_path / "pipe").files == ()
    assert state_of(tmp_path / "gone").files == ()
    assert files_of(tmp_path / "pipe") == [tmp_path / "pipe"]
