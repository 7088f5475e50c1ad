"""Public data are fetched from a real S3 server on this machine, over a proxy that can break off."""

import hashlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

boto3 = pytest.importorskip("boto3")
pytest.importorskip("flask_cors")

from moto.server import ThreadedMotoServer  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from public_bucket import FIELDS, LATEST, ROOT, Bucket, Proxy  # noqa: E402
from spotlight import SpotlightError  # noqa: E402
from spotlight.cli import app  # noqa: E402
from spotlight.images import Stack  # noqa: E402
from spotlight.pairs import read_manifest  # noqa: E402
from spotlight.pairs.fetch import RemoteFile, Server, fetch, sha256_chunked  # noqa: E402
from spotlight.pairs.public import fetch_integrated_cell, find_files  # noqa: E402


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[str, int]]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield "127.0.0.1", port
    server.stop()


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of a package as its authors lay it out: fields, nuclear masks, and a table with one row per cell."""
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    files, rows = {}, []
    for number, name in enumerate(FIELDS):
        image, mask = f"fovs/{name}.ome.tiff", f"dna_segmentations/{name}.ome_dna_segmentation.tiff"
        data = rng.integers(0, 2**16, (7, 4, 64, 64)).astype(np.uint16)
        labels = Stack((data[0] % 3).astype(np.uint8), "ZYX", (0.29, 0.108, 0.108), labels=True)
        files[image] = Stack(data, "CZYX", (0.29, 0.108, 0.108)).save(folder / f"{number}.ome.tiff").read_bytes()
        files[mask] = labels.save(folder / f"m{number}.ome.tiff").read_bytes()
        row = {"FOVId": 100 + number, "SourceReadPath": image, "NucleusSegmentationReadPath": mask}
        rows += [row | {"CellId": cell, "ChannelNumberBrightfield": 6, "ChannelNumber405": 5} for cell in range(2)]
    files["metadata.csv"] = pd.DataFrame(rows).to_csv(index=False).encode()
    return files


@pytest.fixture
def bucket(moto: tuple[str, int], contents: dict[str, bytes]) -> Iterator[Bucket]:
    address = f"http://{moto[0]}:{moto[1]}"
    with closing(http.client.HTTPConnection(*moto)) as connection:
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
    client = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    client.create_bucket(Bucket="allencell")
    proxy = Proxy(moto)
    front = proxy.serve()
    made = Bucket(proxy, f"http://127.0.0.1:{front.server_address[1]}", client, {})
    for name, content in contents.items():
        made.put(f"{ROOT}/{name}", content)
        made.entries[name] = {
            "logical_key": name,
            "physical_keys": [f"s3://allencell/{ROOT}/{name.replace(' ', '%20').replace('+', '%2B')}"],
            "size": len(content),
            "hash": {"type": "SHA256", "value": hashlib.sha256(content).hexdigest()},
            "meta": {"FOVId": 1},
        }
    made.publish()
    yield made
    client.close()
    front.shutdown()
    front.server_close()


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_a_package_becomes_a_manifest(bucket: Bucket, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    manifest = fetch_integrated_cell(
        tmp_path / "a",
        40,
        server=bucket.server(),
        progress=lambda work, done, total, _: told.append((work, done, total)),
    )
    pairs = read_manifest(manifest)
    assert [pair.split for pair in pairs] == ["train", "train", "train", "test"]
    assert pairs[1].input == tmp_path / "a" / "fovs" / "b+c d.ome.tiff"
    assert (pairs[0].input_channel, pairs[0].target_channel) == ("#6", "#5")
    image, target = pairs[1].read_both()
    assert image.shape == target.shape == (4, 64, 64)
    assert not np.array_equal(image.data, target.data)
    for name, entry in bucket.entries.items():
        content = (tmp_path / "a" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["hash"]["value"])
    assert hidden(tmp_path / "a") == []
    assert [(work, done == total) for work, done, total in told][-1] == ("fetching MB", True)


def test_what_is_whole_is_not_fetched_again(bucket: Bucket, tmp_path: Path) -> None:
    fetch_integrated_cell(tmp_path, 1, server=bucket.server())
    assert len(bucket.fields_asked()) == 1
    assert [pair.split for pair in read_manifest(tmp_path / "manifest.csv")] == ["train"]
    with pytest.raises(SpotlightError, match="with other pairs. Use --overwrite"):
        fetch_integrated_cell(tmp_path, 2, server=bucket.server())
    fetch_integrated_cell(tmp_path, 2, server=bucket.server(), overwrite=True)
    fetch_integrated_cell(tmp_path, 2, server=bucket.server())
    assert len(bucket.fields_asked()) == 2
    # A file that was changed since is replaced.
    file = tmp_path / "fovs" / f"{FIELDS[0]}.ome.tiff"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    fetch_integrated_cell(tmp_path, 2, server=bucket.server())
    assert file.read_bytes() == content


def test_a_file_that_broke_off_goes_on_where_it_ended(bucket: Bucket, tmp_path: Path) -> None:
    name = f"fovs/{FIELDS[0]}.ome.tiff"
    file, path = bucket.remote(name), tmp_path / name
    bucket.proxy.cuts = [100_000, 0]
    with pytest.raises(SpotlightError, match="broke off .* give the same command again"):
        fetch(bucket.server(), {path: file})
    assert not path.exists()
    (part,) = hidden(tmp_path)
    begun = part.stat().st_size
    assert 0 < begun <= 100_000
    bucket.proxy.asked.clear()
    fetch(bucket.server(), {path: file})
    assert [part for _, part in bucket.fields_asked()] == [f"bytes={begun}-"]
    assert file.is_whole(path)
    assert hidden(tmp_path) == []


def test_one_call_outlasts_many_breaks(bucket: Bucket, tmp_path: Path) -> None:
    name = f"fovs/{FIELDS[0]}.ome.tiff"
    bucket.proxy.cuts = [70_000, 66_000, 0, 10, 70_000]
    fetch(bucket.server(attempts=3), {tmp_path / "x": bucket.remote(name)})
    starts = [0 if part is None else int(part[6:-1]) for _, part in bucket.fields_asked()]
    assert len(starts) == 6
    assert starts == sorted(starts)
    assert starts[1] > 0
    assert bucket.remote(name).is_whole(tmp_path / "x")


def test_a_server_that_ignores_where_to_start(bucket: Bucket, tmp_path: Path) -> None:
    name = f"fovs/{FIELDS[0]}.ome.tiff"
    bucket.proxy.cuts, bucket.proxy.ignore_range = [70_000, 0], True
    with pytest.raises(SpotlightError, match="broke off"):
        fetch(bucket.server(), {tmp_path / "x": bucket.remote(name)})
    fetch(bucket.server(), {tmp_path / "x": bucket.remote(name)})
    assert bucket.remote(name).is_whole(tmp_path / "x")


@pytest.mark.parametrize("begun", [b"nonsense", b"\0" * 10**6, b""])
def test_a_damaged_beginning_is_fetched_anew(bucket: Bucket, tmp_path: Path, begun: bytes) -> None:
    file = bucket.remote("metadata.csv")
    (tmp_path / ".x.part").write_bytes(begun)
    fetch(bucket.server(), {tmp_path / "x": file})
    assert file.is_whole(tmp_path / "x")
    assert hidden(tmp_path) == []


def test_files_that_are_not_as_stated(bucket: Bucket, contents: dict[str, bytes], tmp_path: Path) -> None:
    names = [f"fovs/{name}.ome.tiff" for name in FIELDS]
    files = {tmp_path / name: bucket.remote(name) for name in names}
    content = bytearray(contents[names[0]])
    content[1000] ^= 1
    bucket.put(f"{ROOT}/{names[0]}", bytes(content))
    bucket.client.delete_object(Bucket="allencell", Key=f"{ROOT}/{names[1]}")
    with pytest.raises(SpotlightError, match="2 of 4 files could not be fetched; the others are whole"):
        fetch(bucket.server(), files)
    assert sorted(path.name for path in (tmp_path / "fovs").iterdir()) == ["c.ome.tiff", "d.ome.tiff"]
    for name, message in ((names[0], "fetched twice .* SHA256 hash was not the stated"), (names[1], "no such object")):
        with pytest.raises(SpotlightError, match=message):
            fetch(bucket.server(), {tmp_path / name: bucket.remote(name)})
    for wrong in (-1, 1):
        file = replace(bucket.remote(names[2]), size=bucket.remote(names[2]).size + wrong)
        with pytest.raises(SpotlightError, match=r"has \d+ bytes on .*, but \d+ are stated"):
            fetch(bucket.server(), {tmp_path / "x": file})
    (tmp_path / ".x.part").write_bytes(b"x" * bucket.remote(names[2]).size)
    with pytest.raises(SpotlightError, match="smaller than stated"):
        fetch(bucket.server(), {tmp_path / "x": replace(file, size=file.size + 5)})
    assert not (tmp_path / "x").exists()


def test_a_server_that_is_busy_is_asked_again(bucket: Bucket, tmp_path: Path) -> None:
    bucket.proxy.status = [503]
    fetch(bucket.server(attempts=2), {tmp_path / "x": bucket.remote("metadata.csv")})
    assert bucket.remote("metadata.csv").is_whole(tmp_path / "x")
    bucket.proxy.status = [503]
    with pytest.raises(SpotlightError, match="busy or out of order"):
        fetch(bucket.server(), {tmp_path / "y": bucket.remote("metadata.csv")})
    bucket.put("private", b"x", "private")
    with pytest.raises(SpotlightError, match="may not be read without an account"):
        fetch(bucket.server(), {tmp_path / "y": RemoteFile("allencell", "private", 1)})


def test_servers_that_are_not_there(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(SpotlightError, match="cannot be reached .* Look at the network"):
        fetch_integrated_cell(tmp_path / "a", server=Server("http://127.0.0.1:9", attempts=1))
    with pytest.raises(SpotlightError, match="An endpoint is an address"):
        Server("nonsense")
    bucket.client.delete_object(Bucket="allencell", Key=LATEST)
    with pytest.raises(SpotlightError, match="no such object"):
        fetch_integrated_cell(tmp_path / "a", server=bucket.server())
    with pytest.raises(SpotlightError, match="there is no bucket 'elsewhere'"):
        fetch(bucket.server(), {tmp_path / "x": RemoteFile("elsewhere", "x", 1)})
    assert not (tmp_path / "a").exists()


def test_the_stated_version_is_asked_for_and_a_copy_need_not_have_it(bucket: Bucket, tmp_path: Path) -> None:
    bucket.client.put_bucket_versioning(Bucket="allencell", VersioningConfiguration={"Status": "Enabled"})
    first = bucket.put("x", b"first")
    bucket.put("x", b"other")
    stated = RemoteFile("allencell", "x", 5, "SHA256", hashlib.sha256(b"first").hexdigest(), first)
    fetch(bucket.server(), {tmp_path / "x": stated})
    assert (tmp_path / "x").read_bytes() == b"first"
    bucket.put("y", b"first")
    unknown = replace(stated, key="y", version="Wu9gGkPWhkjVbPB4HGqBB.9mBLc4N2Ln")
    fetch(bucket.server(), {tmp_path / "y": unknown})
    assert (tmp_path / "y").read_bytes() == b"first"
    with pytest.raises(SpotlightError, match="SHA256"):
        fetch(bucket.server(), {tmp_path / "z": replace(unknown, key="x")})


def test_no_room_is_said_before_anything_is_fetched(bucket: Bucket, tmp_path: Path) -> None:
    bucket.entries[f"fovs/{FIELDS[0]}.ome.tiff"]["size"] = 10**18
    bucket.publish()
    with pytest.raises(SpotlightError, match="1000000000.0 GB are to be fetched, but the disk has"):
        fetch_integrated_cell(tmp_path / "a", server=bucket.server())
    assert bucket.fields_asked() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hash": {"type": "MD5", "value": "0"}}, "hashes are SHA256 or sha2-256-chunked"),
        ({"hash": None}, "an entry cannot be used"),
        ({"physical_keys": ["file:///x"]}, "places start with s3:"),
        ({"physical_keys": []}, "an entry cannot be used"),
        ({"size": "large"}, "an entry cannot be used"),
        ({"logical_key": "fovs/other"}, "lacks 1 of the files, the first: fovs/c.ome.tiff"),
    ],
)
def test_entries_that_cannot_be_used(bucket: Bucket, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    bucket.entries["fovs/c.ome.tiff"] |= change
    bucket.publish()
    with pytest.raises(SpotlightError, match=message):
        fetch_integrated_cell(tmp_path / "a", server=bucket.server())
    assert bucket.fields_asked() == []


def test_a_list_that_is_none(bucket: Bucket, tmp_path: Path) -> None:
    for text in ("nonsense", "[1, 2]", "1"):
        (tmp_path / "p.jsonl").write_text(f'{{"version": "v0"}}\n{text}\n')
        with pytest.raises(SpotlightError, match=r"p\.jsonl, line 2: is not part of a Quilt package's list"):
            find_files(tmp_path / "p.jsonl", ["x"])
    bucket.put(LATEST, b"<html>")
    with pytest.raises(SpotlightError, match="'<html>', which is not a hash"):
        fetch_integrated_cell(tmp_path / "a", server=bucket.server())


@pytest.mark.parametrize("name", ["../outside.tiff", "/tmp/outside.tiff", "fovs/../../outside.tiff"])
def test_nothing_is_written_outside_of_the_folder(bucket: Bucket, tmp_path: Path, name: str) -> None:
    columns = "FOVId,SourceReadPath,NucleusSegmentationReadPath,ChannelNumberBrightfield,ChannelNumber405"
    content = f"{columns}\n1,{name},dna_segmentations/c.tiff,6,5\n".encode()
    bucket.put(f"{ROOT}/metadata.csv", content)
    bucket.entries["metadata.csv"] |= {
        "size": len(content),
        "hash": {"type": "SHA256", "value": hashlib.sha256(content).hexdigest()},
    }
    bucket.publish()
    with pytest.raises(SpotlightError, match="outside of"):
        fetch_integrated_cell(tmp_path / "a", server=bucket.server())


def test_hashes_of_chunks(tmp_path: Path) -> None:
    # What quilt3 8.0.0 gives for such files.
    known = {
        0: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        1024: "Bf429VUXn+uHEurbKhytrIw8c3iFn42+qopuoiTqNlg=",
        2**23: "Y+xic9HIIzUM7UUKGrqpoVRY1UsuM4TGmguA+JTxZgU=",
        2**23 + 256: "+e2Gv2lTSzFchxN4SHTohm2tl8MksHP/NrEQE37/VgY=",
        20 * 2**20: "jlOQJudio7Gr8QqPvEra/UYL7VVPPIwcyf0baj1gbyw=",
    }
    path = tmp_path / "x"
    for size, value in known.items():
        path.write_bytes(bytes(range(256)) * (size // 256))
        assert sha256_chunked(path) == value


@pytest.mark.slow
def test_killed_at_any_moment_the_command_goes_on(
    bucket: Bucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    to = tmp_path / "a"
    arguments = ["data", "allen-dna", "--to", str(to), "--fields", "3", "--endpoint", bucket.endpoint]
    bucket.proxy.slow = 0.1
    code = "from spotlight.cli import main; main()"
    begun = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)
    while not any(path.stat().st_size for path in to.glob("fovs/.*.part")) and begun.poll() is None:
        time.sleep(0.01)
    os.kill(begun.pid, signal.SIGKILL)
    begun.communicate()
    assert begun.returncode == -signal.SIGKILL
    assert not (to / "manifest.csv").exists()
    for path in to.rglob("*.tiff"):
        assert bucket.remote(path.relative_to(to).as_posix()).is_whole(path)
    bucket.proxy.slow = 0
    bucket.proxy.asked.clear()
    with caplog.at_level("INFO", "spotlight"):
        ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0
    assert any(part for _, part in bucket.fields_asked())
    assert "3 fields, 6 files" in caplog.text
    assert f"spotlight check {to / 'manifest.csv'}" in ended.stdout
    assert len(read_manifest(to / "manifest.csv")) == 3
    assert hidden(to) == []
