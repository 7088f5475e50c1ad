"""Pipes, sockets and devices where files are expected, words that XML defines, and files that may not grow."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from spotlight.errors import SpotlightError
from spotlight.images import Stack, read, scenes
from spotlight.import_fnet import read_original_fnet
from spotlight.model import read_description, read_model
from spotlight.pairs import read_pairs
from spotlight.pairs.importers import LAYOUTS
from spotlight.plain_yaml import load_yaml
from spotlight.prediction import find_parts, load_model
from spotlight.prediction.files import doubts_of, stain_files
from spotlight.prediction.options import StainOptions


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    "name", ["x.tif", "x.ome.tif", "x.zarr", "x.npy", "x.czi", "x.nd2", "x.jpg", "x.companion.ome"]
)
def test_no_image_is_a_pipe(pipe: Path, name: str) -> None:
    path = pipe.rename(pipe.with_name(name))
    with pytest.raises(SpotlightError, match=r"is a pipe \(FIFO\), not a file"):
        read(path)


def test_what_lies_in_a_folder_may_be_special_too(tmp_path: Path) -> None:
    folder = tmp_path / "x.zarr"
    folder.mkdir()
    os.mkfifo(folder / "zarr.json")
    with pytest.raises(SpotlightError, match=r"zarr\.json: is a pipe"):
        scenes(folder)
    os.mkfifo(tmp_path / "in.tif")
    (part,) = [part for part in find_parts([tmp_path], strict=False) if part.path.name == "in.tif"]
    assert "is a pipe" in part.fault


def test_models_tables_and_settings_are_files(tmp_path: Path, model_folder: Path) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "m")
    (copy / "model.yaml").unlink()
    (copy / "model.yaml").symlink_to("/dev/zero")
    with pytest.raises(SpotlightError, match="is a device, not a file"):
        read_description(copy)
    (copy / "model.yaml").unlink()
    shutil.copy(model_folder / "model.yaml", copy)
    (copy / "weights.safetensors").unlink()
    os.mkfifo(copy / "weights.safetensors")
    with pytest.raises(SpotlightError, match="is a pipe"):
        read_model(copy)
    os.mkfifo(tmp_path / "pairs.csv")
    with pytest.raises(SpotlightError, match="is a pipe"):
        read_pairs(tmp_path / "pairs.csv")
    with pytest.raises(SpotlightError, match="is a pipe"):
        find_parts([tmp_path / "pairs.csv"])
    with pytest.raises(SpotlightError, match="is a pipe"):
        LAYOUTS["label-free"](tmp_path / "pairs.csv")
    with pytest.raises(SpotlightError, match="is a pipe"):
        load_yaml(tmp_path / "pairs.csv")
    with pytest.raises(SpotlightError, match="is a pipe"):
        read_original_fnet(tmp_path / "pairs.csv")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            os.chdir(tmp_path)  # names of sockets are short
            server.bind("s.tif")
        finally:
            os.chdir(here)
        with pytest.raises(SpotlightError, match="is a socket"):
            read(tmp_path / "s.tif")


def test_words_that_an_ome_xml_defines(tmp_path: Path) -> None:
    words = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))
    bomb = f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "spotlight">{words}]><OME><Image Name="&j;"/></OME>'
    tifffile.imwrite(tmp_path / "bomb.ome.tif", np.zeros((8, 9), np.uint16), description=bomb, metadata=None)
    with pytest.raises(SpotlightError, match="defines words of its own") as caught:
        read(tmp_path / "bomb.ome.tif")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5000, '{"ome": ' * 5000])
def test_json_of_strangers(tmp_path: Path, value: str) -> None:
    folder = tmp_path / "x.zarr"
    folder.mkdir()
    (folder / "zarr.json").write_text(f'{{"zarr_format": 3, "node_type": "group", "attributes": {{"ome": {value}')
    with pytest.raises(SpotlightError, match="cannot be read as OME-Zarr") as caught:
        scenes(folder)
    assert len(str(caught.value)) < 5000
    record = tmp_path / "a-stain.ome.tif.json"
    record.write_text(value)
    assert doubts_of(tmp_path / "a-stain.ome.tif") == ()


LIMITED = """
import resource, sys
from spotlight.prediction import find_parts, load_model
from spotlight.prediction.files import stain_files
from spotlight.prediction.options import StainOptions
model, listed = load_model(sys.argv[1]), find_parts([sys.argv[2]])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for form in ("ome.tif", "ome.zarr"):
    (made,) = stain_files(model, listed, "out", StainOptions(form=form))
    print(made.state, made.reason)
"""


@pytest.mark.slow
def test_files_that_may_not_grow_leave_nothing(model_folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 60_000, (32, 64, 64)).astype(np.uint16)
    Stack(noise, "ZYX", (0.29, 0.29, 0.29)).save(tmp_path / "a.ome.tif")
    command = [sys.executable, "-c", LIMITED, str(model_folder), "a.ome.tif"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.count("failed") == 2
    assert result.stdout.count("would be too large") == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_interrupted_stain_leaves_nothing_that_is_of_no_use(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stack(np.random.default_rng(0).random((32, 64, 64), np.float32), "ZYX", (0.29,) * 3).save(tmp_path / "a.ome.tif")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    listed = find_parts([tmp_path / "a.ome.tif"])
    with pytest.raises(KeyboardInterrupt):
        stain_files(load_model(model_folder), listed, tmp_path / "out", StainOptions(), progress=interrupt)
    assert not (tmp_path / "out").exists()
    (made,) = stain_files(load_model(model_folder), listed, tmp_path / "out", StainOptions())
    assert made.state == "made"
    assert json.loads((tmp_path / "out" / "a-stain.ome.tif.json").read_text())["model"]
