"""Lists of models: what comes with Spotlight, folders, addresses, and files that are not what a list says."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spotlight.catalogue import INDEX, MOST_INDEX_BYTES, copy_model, list_models, write_list
from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.model import SHIPPED, InputDescription, ModelDescription, TargetDescription, save_model
from spotlight.networks import FNet, FNetSettings
from spotlight.prediction import load_model

MOST_SHIPPED_BYTES = 3 * 10**6


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of two models and their list."""
    torch.manual_seed(0)
    target = TargetDescription(channel="DNA", normalised_range=(0.0, 1.0), intensity_range=(0.0, 1.0))
    settings = FNetSettings(depth=1, mult_chan=1)
    description = ModelDescription(network=settings, input=InputDescription(axes="YX", grid="native"), target=target)
    for name in ("first", "second"):
        save_model(tmp_path / "shelf" / name, description, FNet(2, 1, 1))
    (tmp_path / "shelf" / "first" / "card.md").write_text("# First\n")
    write_list(tmp_path / "shelf", licence="CC0-1.0")
    return tmp_path / "shelf"


@pytest.fixture
def address(shelf: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shelf)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def run(*command: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in command], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_comes_with_spotlight_is_what_its_list_says() -> None:
    listed = list_models().models
    assert "demo-nuclei" in listed
    folders = {path.name for path in SHIPPED.iterdir() if path.is_dir()}
    assert folders == set(listed)
    for name, model in listed.items():
        files = {file.name: file.read_bytes() for file in (SHIPPED / name).iterdir()}
        assert {file: hashlib.sha256(content).hexdigest() for file, content in files.items()} == model.sha256
        assert len(files["weights.safetensors"]) < MOST_SHIPPED_BYTES
        assert "simulated" in files["card.md"].decode()
        assert model.licence
    assert "demo-nuclei" in run("models")


def test_a_model_that_came_with_spotlight_stains_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    cells = Stack(rng.normal(1000, 90, (16, 32, 32)).astype(np.float32), "ZYX", (0.29,) * 3, ("Brightfield",))
    cells.save("cells.ome.tif")
    run("predict", "demo-nuclei", "cells.ome.tif", "--to", "stains")
    assert (tmp_path / "stains" / "cells-stain.ome.tif").exists()
    # A folder of that name comes first.
    (tmp_path / "demo-nuclei").mkdir()
    with pytest.raises(SpotlightError, match=r"has no model\.yaml"):
        load_model("demo-nuclei")


def test_models_of_a_folder_are_listed_and_copied(shelf: Path, tmp_path: Path) -> None:
    said = run("models", shelf)
    assert "first  DNA from transmitted light (YX) [CC0-1.0]" in said
    run("models", shelf, "--get", "first", "--to", tmp_path / "mine")
    assert load_model(tmp_path / "mine").digest == load_model(shelf / "first").digest
    assert (tmp_path / "mine" / "card.md").exists()
    with pytest.raises(SpotlightError, match="is there already"):
        copy_model("first", tmp_path / "mine", shelf)
    with pytest.raises(SpotlightError, match=r"no model 'third'\. It has: first, second"):
        copy_model("third", tmp_path / "third", shelf)


def test_the_list_keeps_what_people_wrote(shelf: Path) -> None:
    index = shelf / INDEX
    index.write_text(index.read_text().replace("DNA from transmitted light (YX)", "Nuclei of yeast"))
    run("models", shelf, "--write", "--licence", "MIT")
    listed = list_models(shelf).models["second"]
    assert (listed.summary, listed.licence) == ("Nuclei of yeast", "CC0-1.0")


@pytest.mark.network
def test_models_of_an_address_are_listed_and_downloaded(address: str, shelf: Path, tmp_path: Path) -> None:
    assert set(list_models(address).models) == {"first", "second"}
    run("models", f"{address}/{INDEX}", "--get", "second", "--to", tmp_path / "mine")
    assert load_model(tmp_path / "mine").digest == load_model(shelf / "second").digest
    with pytest.raises(SpotlightError, match=r"cannot be read \(HTTP Error 404"):
        list_models(f"{address}/nothing")
    (shelf / "large.yaml").write_bytes(b" " * (MOST_INDEX_BYTES + 1))
    with pytest.raises(SpotlightError, match="no list of models"):
        list_models(f"{address}/large.yaml")
    with pytest.raises(SpotlightError, match="http:// or https://"):
        list_models("s3://bucket/models")


def test_a_file_that_is_not_what_the_list_says_is_not_taken(shelf: Path, tmp_path: Path) -> None:
    with (shelf / "first" / "card.md").open("a") as card:
        card.write("Trust me.\n")
    with pytest.raises(SpotlightError, match="the list states"):
        copy_model("first", tmp_path / "mine", shelf)
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("path", ["../first", "/etc", "a/../../b", "C:\\x", ""])
def test_lists_do_not_lead_out_of_their_folder(shelf: Path, path: str) -> None:
    index = shelf / INDEX
    index.write_text(index.read_text().replace("folder: first", f"folder: '{path}'"))
    with pytest.raises(SpotlightError, match="relative and stays in its folder"):
        list_models(shelf)


def test_what_is_no_list(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match=r"has no models\.yaml\. Write one"):
        list_models(shelf / "first")
    with pytest.raises(SpotlightError, match="holds no model folder"):
        write_list(shelf / "first")
    with pytest.raises(SpotlightError, match="give both"):
        CliRunner().invoke(app, ["models", str(shelf), "--get", "first"], catch_exceptions=False, standalone_mode=False)
