"""TLS certificates for Dask: without one, nobody connects to the scheduler or the workers of a run.

Dask sends pickled Python, so whoever can connect can run code as the user who started it. Imports distributed, so this
file is imported only where that is needed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Security

from spotlight.errors import SpotlightError
from spotlight.files import explained_writing

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"


@contextmanager
def temporary_certificates(shared: Path) -> Iterator[Security]:
    """Make a key and a certificate for one run, in files that only this user can read; remove them at the end.

    Parameters
    ----------
    shared : path
        A folder that the workers' machines see, too.
    """
    made = Security.temporary()
    with explained_writing(shared):
        shared.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(prefix=".certificates-", dir=shared.absolute())  # mode 0700
    with folder as name:
        for file, text in ((CA, made.tls_ca_file), (CERTIFICATE, made.tls_worker_cert), (KEY, made.tls_worker_key)):
            path = Path(name) / file
            with explained_writing(path):
                path.touch(0o600)  # before there is anything to read
                path.write_text(text, encoding="ascii")
        yield read_certificates(Path(name))


def read_certificates(folder: str | Path) -> Security:
    """Return the identity that a folder holds, for a client, a scheduler and workers alike.

    Parameters
    ----------
    folder : path
        With ``ca.pem`` (who is trusted), ``cert.pem`` and ``key.pem`` (who we are).

    Raises
    ------
    SpotlightError
        If a file is missing.
    """
    folder = Path(folder)
    missing = [name for name in (CA, CERTIFICATE, KEY) if not (folder / name).is_file()]
    if missing:
        raise SpotlightError(
            f"{folder}: must hold the files {CA}, {CERTIFICATE} and {KEY}. Missing: {', '.join(missing)}. "
            "docs/cluster.md has the command that makes them."
        )
    certificate, key = str(folder / CERTIFICATE), str(folder / KEY)
    return Security(
        require_encryption=True,
        tls_ca_file=str(folder / CA),
        **{f"tls_{role}_cert": certificate for role in ("client", "scheduler", "worker")},
        **{f"tls_{role}_key": key for role in ("client", "scheduler", "worker")},
    )
