"""Addresses such as ``https://host/a.zarr`` and ``s3://bucket/a.zarr``, told apart from paths."""

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from spotlight.errors import SpotlightError

if TYPE_CHECKING:
    _Path = Path
else:  # Path itself cannot be inherited from before Python 3.12
    _Path = type(Path())

BEGINNING = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""Of an address; one letter and a colon are a drive of Windows."""
REMOTE = ("http", "https", "s3")
"""Kinds of addresses from which OME-Zarr can be read."""


class Address(_Path):
    """An address that passes where paths do. Nothing stands there for the file system; as text it is whole.

    Paths have one slash where addresses have two, so what became a path on its way is an address all the same.
    """

    def __str__(self) -> str:
        begin, *rest = self.parts
        return f"{begin}{'///' if self.scheme == 'file' else '//'}{'/'.join(rest)}"

    @property
    def scheme(self) -> str:
        """What stands before the colon, in small letters."""
        return self.parts[0].rstrip(":").lower()

    @property
    def is_readable(self) -> bool:
        """Whether it is of an OME-Zarr, or of a part of one, that can be read from there."""
        return self.scheme in REMOTE and any(part.lower().endswith(".zarr") for part in self.parts)

    def absolute(self) -> "Address":
        """Return the address itself."""
        return self

    def resolve(self, strict: bool = False) -> "Address":
        """Return the address itself."""
        return self

    def refusal(self) -> SpotlightError:
        """Return the error that says what to do with an address that cannot be used."""
        if self.scheme == "file":
            path = unquote("/" + "/".join(self.parts[1:]))
            return SpotlightError(f"{self}: is an address, but a path is needed. Give the path itself: {path}")
        if self.is_readable:
            return SpotlightError(
                f"{self}: is an address, but a path is needed here. Download it first, and give the path of the copy."
            )
        return SpotlightError(
            f"{self}: is an address, from which only OME-Zarr can be read ({', '.join(f'{s}://' for s in REMOTE)}, "
            "with a name in .zarr). Download it first, and give the path of the copy."
        )


def located(path: str | Path, folder: Path | None = None) -> Path:
    """Give the `Address` that a text or path stands for, or else the path, which may be relative to a folder."""
    if isinstance(path, Address):
        return path
    if BEGINNING.match(str(path)) and not Path(path).exists():
        return Address(path)
    return Path(path) if folder is None else folder / path
