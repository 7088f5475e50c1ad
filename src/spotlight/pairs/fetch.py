"""Files of public S3 buckets: fetched without an account, resumed where they broke off, verified by size and hash."""

import hashlib
import logging
import os
import shutil
import threading
import weakref
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spotlight.errors import SpotlightError
from spotlight.files import explained_writing
from spotlight.installation import missing_package
from spotlight.progress import Progress

log = logging.getLogger("spotlight")

BLOCK = 2**16
"""Bytes that are read at a time."""
CHUNK = 2**23
"""Bytes of a chunk of Quilt's hash ``sha2-256-chunked``, of files with no more than `CHUNKS` of them."""
CHUNKS = 10_000
AGAIN = "What is whole stays; give the same command again to go on."


class NotAsStatedError(SpotlightError):
    """A file is not on the server, may not be read, or differs from its description."""


class BrokenOffError(SpotlightError):
    """The server began to give a file, and broke off."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a bucket, and how to tell that it arrived as it was.

    Attributes
    ----------
    bucket, key : str
        Where it is.
    size : int
        In bytes.
    hash_kind : str
        ``"SHA256"``, of all bytes, as hexadecimal digits; ``"sha2-256-chunked"``, of the hashes of its chunks, in base
        64, as Quilt has it; or nothing where no hash is known.
    hash_value : str
        The hash.
    version : str, optional
        Of the object, in a bucket that keeps versions.
    """

    bucket: str
    key: str
    size: int
    hash_kind: str = ""
    hash_value: str = ""
    version: str | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def is_whole(self, path: Path) -> bool:
        """Whether a file of this size and hash stands under a path."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        return not self.hash_kind or HASHES[self.hash_kind](path) == self.hash_value


def sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_chunked(path: Path) -> str:
    """Hash the hashes of a file's chunks, as S3 does for objects that arrive in parts."""
    chunk, size = CHUNK, path.stat().st_size
    while size > chunk * CHUNKS:
        chunk *= 2
    outer = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            inner, left = hashlib.sha256(), chunk
            while left and (block := file.read(min(BLOCK, left))):
                inner.update(block)
                left -= len(block)
            if left == chunk:
                return b64encode(outer.digest()).decode()
            outer.update(inner.digest())


HASHES = {"SHA256": sha256, "sha2-256-chunked": sha256_chunked}


class Server:
    """An S3-compatible server that is asked without an account.

    Parameters
    ----------
    endpoint : str, optional
        Address of a mirror, for example ``https://s3.example.org``; left out: Amazon's.
    attempts : int
        How often something is asked for before the server counts as unreachable; the waits between double.
    connections : int
        Files that are fetched at a time.

    Raises
    ------
    SpotlightError
        If boto3 is not installed, or the endpoint is no address.
    """

    def __init__(self, endpoint: str | None = None, attempts: int = 5, connections: int = 4) -> None:
        try:
            import boto3
            from botocore import UNSIGNED
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise missing_package("fetching data", error, "data") from error
        self.name = endpoint or "Amazon S3"
        self.attempts, self.connections = attempts, connections
        settings = Config(
            signature_version=UNSIGNED,
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=20,
            read_timeout=60,
            max_pool_connections=connections,
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        try:
            # Without a region boto3 reads the user's own settings; a bucket elsewhere answers with its region.
            self.client = boto3.client("s3", region_name="us-west-2", endpoint_url=endpoint, config=settings)
        except (BotoCoreError, ValueError) as error:
            raise SpotlightError(
                f"{self.name}: cannot be asked ({error}). An endpoint is an address such as https://s3.example.org."
            ) from error
        weakref.finalize(self, self.client.close)

    def text(self, bucket: str, key: str) -> str:
        """Give the contents of a small text object."""
        with self._explained(bucket, key):
            contents: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
            return contents.decode(errors="replace")

    def find(self, bucket: str, key: str) -> RemoteFile:
        """Look an object up whose size is not known; its hash is not known then either."""
        with self._explained(bucket, key):
            return RemoteFile(bucket, key, self.client.head_object(Bucket=bucket, Key=key)["ContentLength"])

    def blocks(self, file: RemoteFile, start: int) -> Iterator[bytes]:
        """Give an object's bytes from a place on.

        Raises
        ------
        NotAsStatedError
            If it is not there, may not be read, or has another size.
        BrokenOffError
            If the server breaks off.
        SpotlightError
            If the server cannot be reached.
        """
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        with self._explained(file.bucket, file.key):
            answer = self._open(file, start)
        with closing(answer["Body"]) as body:
            skip = 0 if "ContentRange" in answer else start  # a server may ignore where to start
            size = answer["ContentLength"] + start - skip
            if size != file.size:
                raise NotAsStatedError(f"{file}: has {size} bytes on {self.name}, but {file.size} are stated.")
            try:
                while skip:
                    skip -= len(body.read(min(BLOCK, skip)))
                while block := body.read(BLOCK):
                    yield block
            except (BotoCoreError, HTTPError) as error:
                raise BrokenOffError(f"{file}: {self.name} broke off ({error}). {AGAIN}") from error

    def _open(self, file: RemoteFile, start: int) -> dict[str, Any]:
        """Ask for the stated version; a copy of the bucket has not kept it, and the hash decides what is right."""
        from botocore.exceptions import ClientError

        asked = {"Bucket": file.bucket, "Key": file.key} | ({"Range": f"bytes={start}-"} if start else {})
        if file.version is not None:
            try:
                return dict(self.client.get_object(**asked, VersionId=file.version))
            except ClientError as error:
                if not file.hash_kind or error.response["Error"]["Code"] not in VERSION_REFUSED:
                    raise
        return dict(self.client.get_object(**asked))

    @contextmanager
    def _explained(self, bucket: str, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= 500 or status == 429:
                raise SpotlightError(f"{self.name}: is busy or out of order ({error}). {AGAIN}") from error
            reasons = {
                403: "it may not be read without an account",
                404: "there is no such object",
                416: "it is smaller than stated",
            }
            found = f"there is no bucket {bucket!r}" if code == "NoSuchBucket" else reasons.get(status, str(error))
            raise NotAsStatedError(
                f"s3://{bucket}/{key}: cannot be downloaded from {self.name}: {found}. If another server has it, name "
                "that server with --endpoint."
            ) from error
        except BotoCoreError as error:
            raise SpotlightError(f"{self.name}: cannot be reached ({error}). Look at the network. {AGAIN}") from error


VERSION_REFUSED = ("NoSuchVersion", "InvalidArgument", "AccessDenied")


def fetch(server: Server, files: Mapping[Path, RemoteFile], progress: Progress | None = None) -> None:
    """Fetch files to paths, several at a time; those that are there with the right size and hash stay.

    A file appears under its name when it is whole and verified; until then it is ``.NAME.part`` beside it, and a later
    call goes on where that ends.

    Parameters
    ----------
    server : Server
        Where they are.
    files : mapping of Path to RemoteFile
        What is to stand where.
    progress : callable, optional
        Called with the work, how many MB are done, how many there are, and no figures.

    Raises
    ------
    SpotlightError
        If the disk has no room for them, a file is not on the server or not as stated (the others are fetched first),
        or the server cannot be reached.
    """
    report = progress or (lambda *_: None)
    left: dict[Path, RemoteFile] = {}
    for number, (path, file) in enumerate(files.items()):
        with explained_writing(path):
            if not file.is_whole(path):
                left[path] = file
        report("looking at what is there", number + 1, len(files), {})
    if left:
        _require_room(left)
        _fetch_all(server, left, report)


def _require_room(files: Mapping[Path, RemoteFile]) -> None:
    needed = sum(file.size - _begun(_part(path), file) for path, file in files.items())
    folder = next(iter(files)).parent
    with explained_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    log.info("to fetch: %d files, %.1f MB", len(files), needed / 1e6)
    if needed > free:
        raise SpotlightError(
            f"{folder}: {needed / 1e9:.1f} GB are to be fetched, but the disk has {free / 1e9:.1f} GB of room. Free "
            "some, name a folder elsewhere, or ask for less."
        )


def _fetch_all(server: Server, files: Mapping[Path, RemoteFile], report: Progress) -> None:
    total = sum(file.size for file in files.values())
    done = dict.fromkeys(files, 0)
    stop = threading.Event()
    faults: list[NotAsStatedError] = []
    with ThreadPoolExecutor(server.connections) as pool:
        jobs = [pool.submit(_fetch_one, server, file, path, done, stop) for path, file in files.items()]
        try:
            waiting = set(jobs)
            while waiting:
                ended, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                for job in ended:
                    try:
                        job.result()
                    except NotAsStatedError as error:
                        faults.append(error)
                so_far, whole = sum(done.values()), -(-total // 10**6)
                report("fetching MB", whole if so_far == total else so_far // 10**6, whole, {})
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
    if faults:
        raise SpotlightError(
            f"{len(faults)} of {len(files)} files could not be fetched; the others are whole. The first: {faults[0]}"
        )


def _fetch_one(server: Server, file: RemoteFile, path: Path, done: dict[Path, int], stop: threading.Event) -> None:
    part = _part(path)
    with explained_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # what was begun earlier may be damaged, or of another version
            try:
                _go_on(server, file, part, lambda size: done.update({path: size}), stop)
            except NotAsStatedError:
                part.unlink()
                raise
            if stop.is_set():
                return
            if file.is_whole(part):
                part.replace(path)
                return
            part.unlink()
    raise NotAsStatedError(
        f"{file}: was fetched twice from {server.name}, and both times its {file.hash_kind} hash was not the stated "
        f"{file.hash_value}. The file is damaged there; name another server with --endpoint, or ask for fewer fields."
    )


def _go_on(server: Server, file: RemoteFile, part: Path, report: Callable[[int], None], stop: threading.Event) -> None:
    """Append to a part of a file until it has its size."""
    size, failures = _begun(part, file), 0
    with part.open("r+b" if size else "wb") as out:
        out.seek(0, os.SEEK_END)
        while size < file.size and not stop.is_set():
            start = size
            try:
                for block in server.blocks(file, start):
                    out.write(block)
                    size += len(block)
                    report(size)
                    if stop.is_set():
                        return
            except BrokenOffError:
                failures = failures + 1 if size == start else 0
                if failures == server.attempts:
                    raise
                stop.wait(failures)


def _begun(part: Path, file: RemoteFile) -> int:
    """Bytes of a part that can be gone on from."""
    size = part.stat().st_size if part.is_file() else 0
    return size if size <= file.size else 0


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
