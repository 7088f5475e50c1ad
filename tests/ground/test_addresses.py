"""Addresses are told apart from paths; OME-Zarr is read from web servers and from S3."""

import functools
import pickle
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from spotlight.addresses import Address, located
from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.files import atomic_file, atomic_folder, require_path
from spotlight.images import Stack, images_in, read, scenes, stem
from spotlight.locks import working_in, working_on
from spotlight.model import read_description
from spotlight.pairs import read_pairs
from spotlight.pairs.proposal import propose_pairs
from spotlight.prediction.listing import find_parts, read_part

SIZE = (0.29, 0.108, 0.108)
STACK = Stack(np.arange(2 * 5 * 40 * 48, dtype=np.uint16).reshape(2, 5, 40, 48), "CZYX", SIZE, ("BF", "DNA"))
ADDRESSES = (
    "https://127.0.0.1:1/idr/a%20b.zarr/0",
    "http://host/a.ome.tif",
    "s3://bucket/plate.zarr",
    "gs://bucket/a.zarr",
    "FTP://host/a.zarr",
)


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_stays_whole(text: str) -> None:
    assert str(located(text) / "more") == text + "/more"
    for given in (text, Path(text), located(text)):
        address = located(given)
        assert isinstance(address, Address)
        assert str(address) == text
        assert str(pickle.loads(pickle.dumps(address))) == str(address)  # workers get their orders so
        assert located(address, Path("folder")) is address
        assert not address.exists()
    assert located(text).name == Path(text).name
    assert stem(located("s3://bucket/plate.ome.zarr")) == "plate"
    assert str(located(text).parent.absolute()) == text.rsplit("/", 1)[0]


def test_paths_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "day2:").mkdir()
    (tmp_path / "day2:" / "a.tif").touch()
    for text in ("a.tif", "/data/a.tif", "C:/data/a.tif", "C:\\data", "day2:/a.tif", "2024:a/b.tif"):
        assert type(located(text)) is type(Path(text))
        assert str(located(text)) == str(Path(text))
    assert located("a.tif", tmp_path) == tmp_path / "a.tif"


def test_what_cannot_be_read_from_an_address_is_said(tmp_path: Path) -> None:
    for text in ("http://host/a.ome.tif", "gs://bucket/a.zarr", "https://host/a.zarr.zip"):
        for work in (
            lambda text=text: read(text),
            lambda text=text: scenes(Path(text)),
            lambda text=text: images_in(text),
        ):
            with pytest.raises(SpotlightError, match=f"^{text}: is an address, from which only .* Download it first"):
                work()
        assert text in CliRunner().invoke(app, ["info", text]).exception.args[0]  # type: ignore[union-attr]
    with pytest.raises(SpotlightError, match=r"^file:///data/a%20b.tif: .* Give the path itself: /data/a b\.tif$"):
        read("file:///data/a%20b.tif")
    for work in (read_description, propose_pairs, lambda path: require_path(path, "hint"), read_pairs):
        with pytest.raises(SpotlightError, match="^https://host/model: is an address"):
            work("https://host/model")
    manifest = tmp_path / "pairs.csv"
    manifest.write_text("input,target\nhttps://host/a.zarr,https://host/b.zarr\n")
    with pytest.raises(SpotlightError, match=r"line 2: input: https://host/a\.zarr: is an address.* Download it first"):
        read_pairs(manifest)


def test_nothing_is_written_to_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (atomic_file, atomic_folder, working_in, working_on):
        with pytest.raises(SpotlightError, match=r"^s3://bucket/a\.ome\.tif: .* results are written to files"):
            with place("s3://bucket/a.ome.tif"):
                raise AssertionError("not reached")
    assert list(tmp_path.iterdir()) == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image and a plate of one."""
    folder = tmp_path_factory.mktemp("served")
    STACK.save(folder / "a.ome.zarr")
    write_plate(folder / "plate.zarr")
    STACK.save(folder / "b.ome.zarr").rename(folder / "plate.zarr" / "B" / "03" / "0")
    (folder / "nothing.zarr").mkdir()
    return folder


def write_plate(path: Path) -> None:
    ome = {"version": "0.5", "plate": {"wells": [{"path": "B/03"}], "rows": [], "columns": []}}
    zarr.open_group(path, mode="a", zarr_format=3).attrs["ome"] = ome
    well = {"version": "0.5", "well": {"images": [{"path": "0"}]}}
    zarr.open_group(path / "B" / "03", mode="a", zarr_format=3).attrs["ome"] = well


@pytest.fixture(scope="module")
def web(folder: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_ome_zarr_from_a_web_server(web: str, tmp_path: Path) -> None:
    address = f"{web}/a.ome.zarr"
    for given in (address, Path(address)):  # the command line makes paths of its arguments
        stack = read(given)
        assert (stack.axes, stack.channels, stack.voxel_size) == (STACK.axes, STACK.channels, SIZE)
        assert stack.source == address
        np.testing.assert_array_equal(stack.data, STACK.data)
    region = read(address, channel="DNA").crop((slice(1, 3), slice(5, 9), slice(0, 2)))
    np.testing.assert_array_equal(region.data, STACK.data[1, 1:3, 5:9, :2])
    told = CliRunner().invoke(app, ["info", address])
    assert told.exit_code == 0
    assert address in told.output
    assert "BF" in told.output
    # A field of a plate, with and without listing them all.
    plate = f"{web}/plate.zarr"
    assert [scene.name for scene in scenes(plate)] == ["B/03/0"]
    for scene in (None, "B/03/0"):
        np.testing.assert_array_equal(read(plate, scene=scene).data, STACK.data)
    # As an input to be stained, named itself or by a table.
    (tmp_path / "inputs.csv").write_text(f"input,input_channel\n{address},BF\n")
    for given in (Path(address), tmp_path / "inputs.csv"):
        (part,) = find_parts([given])
        assert (part.name, str(part.path)) == ("a", address)
        np.testing.assert_array_equal(read_part(part).data, STACK.data)


@pytest.mark.slow
def test_an_image_at_an_address_is_stained_once(web: str, folder: Path, manifest: Path, model_folder: Path) -> None:
    image = read_pairs(manifest)[0].read_input().crop((slice(0, 16), slice(0, 32), slice(0, 32)))
    image.save(folder / "cells.ome.zarr")
    for given, to in ((f"{web}/cells.ome.zarr", "web"), (str(folder / "cells.ome.zarr"), "disk")):
        told = CliRunner().invoke(app, ["predict", str(model_folder), given, "--to", str(folder / to)])
        assert told.exit_code == 0, told.output
    one, other = (next((folder / to).glob("*.ome.tif")) for to in ("web", "disk"))
    np.testing.assert_array_equal(read(one).data, read(other).data)
    written = one.stat().st_mtime_ns
    again = ["predict", str(model_folder), f"{web}/cells.ome.zarr", "--to", str(folder / "web")]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert one.stat().st_mtime_ns == written


def test_what_is_not_at_an_address(web: str) -> None:
    for name in ("b.zarr", "nothing.zarr"):
        with pytest.raises(SpotlightError, match=rf"^{web}/{name}: no OME-Zarr is there \(zarr\.json, .*Check"):
            read(f"{web}/{name}")
    with pytest.raises(SpotlightError, match=r"^http://127.0.0.1:1/a.zarr: cannot be read .* Check the address"):
        read("http://127.0.0.1:1/a.zarr")


@pytest.mark.slow
def test_ome_zarr_from_s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for needed in ("boto3", "flask_cors", "s3fs"):
        pytest.importorskip(needed)
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        for name, value in (("ENDPOINT_URL", endpoint), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x")):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="images")
        for file in (folder / "a.ome.zarr").rglob("*"):
            if file.is_file():
                key = file.relative_to(folder).as_posix()
                client.put_object(Bucket="images", Key=key, Body=file.read_bytes(), ACL="public-read")
        client.close()
        for anonymous in (False, True):
            if anonymous:
                for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
                    monkeypatch.delenv(f"AWS_{name}")
                monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
                monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
            stack = read("s3://images/a.ome.zarr", channel="DNA")
            assert stack.source == "s3://images/a.ome.zarr"
            np.testing.assert_array_equal(stack.data, STACK.data[1])
        with pytest.raises(SpotlightError, match=r"^s3://images/b\.zarr: no OME-Zarr is there"):
            read("s3://images/b.zarr")
    finally:
        server.stop()
