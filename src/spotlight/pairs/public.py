"""Public data sets: downloaded from their authors' servers and prepared as pairs for training."""

import json
import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from spotlight.errors import SpotlightError
from spotlight.pairs.fetch import HASHES, RemoteFile, Server, fetch
from spotlight.pairs.importers import read_integrated_cell
from spotlight.pairs.manifest import write_manifest
from spotlight.pairs.pair import Pair
from spotlight.progress import Progress

log = logging.getLogger("spotlight")

BUCKET = "allencell"
INTEGRATED_CELL = "aics/pipeline_integrated_cell"
DEMO_FIELDS = 40
"""The number of fields in the example of F-net's authors."""


def fetch_integrated_cell(
    to: str | Path,
    fields: int = DEMO_FIELDS,
    *,
    server: Server | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Download fields of the Allen package ``pipeline_integrated_cell``: brightfield, DNA and nuclear masks.

    It uses the first fields of ``metadata.csv``; the first 75 % of them are for training, as in the example of F-net's
    authors. After an interruption, the same call continues; with more fields it downloads the missing ones.

    Parameters
    ----------
    to : path
        Folder for the files and ``manifest.csv``.
    fields : int
        Number of fields of view; all fields if the package has fewer.
    server : Server, optional
        Server that has the bucket; left out: Amazon S3.
    overwrite : bool
        Replace an existing manifest of other pairs.
    progress : callable, optional
        Called with what is being done and how far it is.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    SpotlightError
        If the files cannot be downloaded or do not agree with the package, or a manifest of other pairs exists.

    Examples
    --------
    >>> from spotlight.pairs import fetch_integrated_cell
    >>> manifest = fetch_integrated_cell("allen", fields=8)  # doctest: +SKIP
    """
    if fields < 1:
        raise SpotlightError(f"fields must be at least 1. Received: {fields}.")
    to, server = Path(to), server or Server()
    package = fetch_package(server, BUCKET, INTEGRATED_CELL, to, progress)
    fetch(server, {to / "metadata.csv": find_files(package, ["metadata.csv"])["metadata.csv"]}, progress)
    pairs = read_integrated_cell(to / "metadata.csv", fields=fields)
    manifest, new = to / "manifest.csv", write_manifest(pairs, to / ".manifest.csv.new")
    if manifest.exists() and not overwrite and manifest.read_bytes() != new.read_bytes():
        raise SpotlightError(
            f"{manifest}: already exists, with other pairs. Use --overwrite to replace it, or give another folder."
        )
    names = {_name_within(path, to): path for pair in pairs for path in _files(pair)}
    found = find_files(package, names)
    log.info("%d fields, %d files, %.1f GB", len(pairs), len(found), sum(file.size for file in found.values()) / 1e9)
    fetch(server, {names[name]: file for name, file in found.items()}, progress)
    return new.replace(manifest)


def fetch_package(server: Server, bucket: str, package: str, to: Path, progress: Progress | None = None) -> Path:
    """Download the list of files in a Quilt package's latest version, and return its path.

    The list has one JSON object per line: a head, then one object per file with its name in the package
    (``logical_key``), its locations (``physical_keys``), ``size`` and ``hash``.
    """
    version = server.text(bucket, f".quilt/named_packages/{package}/latest").strip()
    if not re.fullmatch("[0-9a-f]{64}", version):
        raise SpotlightError(
            f"s3://{bucket}: the latest version of {package} is stated as {version[:80]!r}, which is not a hash. Give "
            "a complete copy of the bucket with --endpoint."
        )
    path = to / f"package-{version}.jsonl"
    fetch(server, {path: server.find(bucket, f".quilt/packages/{version}")}, progress)
    return path


def find_files(package: Path, names: Collection[str]) -> dict[str, RemoteFile]:
    """Look up locations, sizes and hashes of files in a Quilt package.

    Raises
    ------
    SpotlightError
        If the list is damaged, or one of the names is missing.
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
                    f"{package}, line {number}: is not part of a Quilt package's list ({error}). Remove the file, and "
                    "run the same command again."
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
    """Return a file's name in its package; a file outside of the folder is an error."""
    if not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts:
        raise SpotlightError(f"{folder / 'metadata.csv'}: names {path}, outside of {folder}. Use the original file.")
    return path.relative_to(folder).as_posix()
