"""Public data sets, fetched from where their authors keep them and made ready for training."""

import json
import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from spotlight.errors import SpotlightError
from spotlight.pairs.fetch import HASHES, Progress, RemoteFile, Server, fetch
from spotlight.pairs.importers import read_integrated_cell
from spotlight.pairs.manifest import write_manifest
from spotlight.pairs.pair import Pair

log = logging.getLogger("spotlight")

BUCKET = "allencell"
INTEGRATED_CELL = "aics/pipeline_integrated_cell"
DEMO_FIELDS = 40
"""As many as the example of F-net's authors fetches."""


def fetch_integrated_cell(
    to: str | Path,
    fields: int = DEMO_FIELDS,
    *,
    server: Server | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Fetch fields of the Allen package ``pipeline_integrated_cell``: brightfield, DNA and nuclear masks.

    The first fields of its ``metadata.csv`` are taken, the first 75 % of them for training, as the example of F-net's
    authors does. Interrupted, the same call goes on; with more fields it fetches those that are not there.

    Parameters
    ----------
    to : path
        Folder for the files and ``manifest.csv``.
    fields : int
        How many fields of view; all if the package has fewer.
    server : Server, optional
        Where the bucket is; left out: Amazon S3.
    overwrite : bool
        Whether to replace a manifest of other pairs.
    progress : callable, optional
        See `fetch`.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    SpotlightError
        If the files cannot be fetched or are not as the package states, or there is a manifest of other pairs.
    """
    if fields < 1:
        raise SpotlightError(f"fields: {fields} are asked for. Ask for one or more.")
    to, server = Path(to), server or Server()
    package = fetch_package(server, BUCKET, INTEGRATED_CELL, to, progress)
    fetch(server, {to / "metadata.csv": find_files(package, ["metadata.csv"])["metadata.csv"]}, progress)
    pairs = read_integrated_cell(to / "metadata.csv", fields=fields)
    manifest, new = to / "manifest.csv", write_manifest(pairs, to / ".manifest.csv.new")
    if manifest.exists() and not overwrite and manifest.read_bytes() != new.read_bytes():
        raise SpotlightError(
            f"{manifest}: is there already, with other pairs. Say --overwrite to replace it, or name another folder."
        )
    names = {_name_within(path, to): path for pair in pairs for path in _files(pair)}
    found = find_files(package, names)
    log.info("%d fields, %d files, %.1f GB", len(pairs), len(found), sum(file.size for file in found.values()) / 1e9)
    fetch(server, {names[name]: file for name, file in found.items()}, progress)
    return new.replace(manifest)


def fetch_package(server: Server, bucket: str, package: str, to: Path, progress: Progress | None = None) -> Path:
    """Fetch the list of files of a Quilt package's latest version, and give its path.

    The list has one JSON object a line: a head, then one per file with its name in the package (``logical_key``), its
    places (``physical_keys``), ``size`` and ``hash``.
    """
    version = server.text(bucket, f".quilt/named_packages/{package}/latest").strip()
    if not re.fullmatch("[0-9a-f]{64}", version):
        raise SpotlightError(f"s3://{bucket}: the latest version of {package} is stated as {version[:80]!r}, no hash.")
    path = to / f"package-{version}.jsonl"
    fetch(server, {path: server.find(bucket, f".quilt/packages/{version}")}, progress)
    return path


def find_files(package: Path, names: Collection[str]) -> dict[str, RemoteFile]:
    """Look up where files of a Quilt package are, with their sizes and hashes.

    Raises
    ------
    SpotlightError
        If the list is damaged, or does not have one of the names.
    """
    wanted = set(names)
    found = {}
    for entry in _entries(package):
        if entry.get("logical_key") in wanted:
            found[entry["logical_key"]] = _remote_file(package, entry)
    missing = sorted(wanted - set(found))
    if missing:
        raise SpotlightError(f"{package}: the package lacks {len(missing)} of the files, the first: {missing[0]}.")
    return {name: found[name] for name in names}


def _entries(package: Path) -> Iterator[dict[str, Any]]:
    with package.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError) as error:
                raise SpotlightError(
                    f"{package}, line {number}: is no list of a Quilt package ({error}). Remove it, and give the same "
                    "command again."
                ) from error


def _remote_file(package: Path, entry: dict[str, Any]) -> RemoteFile:
    try:
        address = urlsplit(entry["physical_keys"][0])
        kind, value = entry["hash"]["type"], entry["hash"]["value"]
        version = parse_qs(address.query).get("versionId", [None])[0]
        if address.scheme != "s3" or kind not in HASHES:
            raise ValueError(f"places start with s3:, and hashes are {' or '.join(HASHES)}")
        return RemoteFile(address.netloc, unquote(address.path)[1:], int(entry["size"]), kind, str(value), version)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SpotlightError(f"{package}: an entry cannot be used ({error!r}): {entry}") from error


def _files(pair: Pair) -> list[Path]:
    return [path for path in (pair.input, pair.target, pair.labels) if path is not None]


def _name_within(path: Path, folder: Path) -> str:
    """Name of a file in its package; nothing outside of the folder may be written."""
    if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
        raise SpotlightError(f"{folder / 'metadata.csv'}: names {path}, which is outside of {folder}.")
    return path.relative_to(folder).as_posix()
