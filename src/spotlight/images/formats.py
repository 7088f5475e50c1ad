"""The table of file formats, which other packages extend.

A package adds a format by an entry point of the group ``spotlight.formats`` that leads to a `Format`.
"""

import errno
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from spotlight.addresses import Address
from spotlight.errors import SpotlightError
from spotlight.files import PROGRAM_FAULTS, unreadable
from spotlight.images.facts import Facts, Scene
from spotlight.images.lazy import Source, tell
from spotlight.installation import install_command, missing_package
from spotlight.quoting import safe_name
from spotlight.registry import Names

Kind = Literal["uint8", "uint16", "float32"]
"""Types to which values can be converted when they are written."""


Reader = Callable[[Path], list[Scene]]
Writer = Callable[[Any, Path, Kind | None], Path]
"""Writes a `Stack` to a path, with its values converted to a type or as they are; returns the path."""


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes
    ----------
    name : str
        What it is called in messages, and the name of its entry point.
    suffixes : tuple of str
        Endings of its files, in lower case and with the dot.
    reader : callable or str
        Lists the images of a file as `Scene` objects; an error that it raises is explained as that of a damaged file.
        A text such as ``"package.module:function"`` is imported when the first file is read.
    writer : callable or str, optional
        Writes a stack to a path whose ending is one of `written`; see `Writer`.
    written : tuple of str
        The endings that it writes.
    marks : tuple of str
        For formats whose images are folders: files of which one is in every such folder, whatever its name.
    extra : str
        The optional part of Spotlight that installs what the reader needs.
    packages : tuple of str
        Packages that read the files; an error of the reader names their versions.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from spotlight.images import Facts, Format, Scene
    >>> def images_of(path):
    ...     values = np.fromfile(path, np.uint8).reshape(16, 16)
    ...     return [Scene("", lambda: Facts(values, "YX"))]
    >>> camera = Format("camera", (".camera",), images_of)  # an entry point would name it
    >>> written = Path("a.camera").write_bytes(bytes(256))
    >>> camera.scenes(Path("a.camera"))[0].load().axes
    'YX'
    """

    name: str
    suffixes: tuple[str, ...]
    reader: Reader | str
    writer: Writer | str | None = None
    written: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    extra: str = ""
    packages: tuple[str, ...] = ()

    def scenes(self, path: Path) -> list[Scene]:
        """List the images of a file; every error of the reader, also a later one, is a `SpotlightError`."""
        reader = self._imported(self.reader, f"{path}: reading {self.name} files")
        with explained_reading(path, self.name):
            return [replace(scene, load=partial(self._load, path, scene)) for scene in reader(path)]

    def write(self, stack: Any, path: Path, kind: Kind | None) -> Path:
        """Write a stack."""
        written: Path = self._imported(self.writer, f"{path}: writing {self.name} files")(stack, path, kind)
        return written

    def is_folder(self, path: Path) -> bool:
        """Whether a path is a folder of this format."""
        try:
            return any((path / mark).is_file() for mark in self.marks)
        except OSError:  # a folder that may not be looked into
            return False

    def _load(self, path: Path, scene: Scene) -> Facts:
        with explained_reading(path, self.name):
            facts = scene.load()
            flat = None if facts.flat is None else _Explained(facts.flat, path, self.name)
            return replace(facts, array=_Explained(facts.array, path, self.name), flat=flat)

    def _imported(self, function: Any, purpose: str) -> Any:
        if not isinstance(function, str):
            return function
        module, _, name = function.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise missing_package(purpose, error, self.extra) from error


class _Explained:
    """An array of a file, whose errors are explained."""

    def __init__(self, source: Source, path: Path, kind: str) -> None:
        self.source, self.path, self.kind = source, path, kind
        self.shape, self.dtype = tuple(source.shape), source.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> Any:
        with explained_reading(self.path, self.kind):
            return self.source[index]


FORMATS = Names[Format]("file format", "spotlight.formats")
TIFF = Format(
    "TIFF",
    (".tif", ".tiff", ".btf", ".tf8"),
    "spotlight.images.tiff:scenes",
    "spotlight.images.tiff_writer:write_tiff",
    (".tif", ".tiff"),
    packages=("tifffile", "zarr", "imagecodecs", "numpy"),
)
ZARR = Format(
    "OME-Zarr",
    (".zarr",),
    "spotlight.images.omezarr:scenes",
    "spotlight.images.omezarr_writer:write_omezarr",
    (".zarr",),
    ("zarr.json", ".zgroup", ".zattrs", ".zarray"),
    packages=("zarr", "numcodecs", "fsspec", "numpy"),
)
PLANE_FILES = ".planes.yaml"
"""The ending of lists of files that together are one image."""
BIOIO = Format("bioio image", (), "spotlight.images.bioio:scenes", extra="bioio", packages=("bioio",))
"""What reads files of all other endings, where it is installed."""
for _form in (
    TIFF,
    ZARR,
    Format("NumPy", (".npy",), "spotlight.images.npy:scenes", packages=("numpy",)),
    Format("CZI", (".czi",), "spotlight.images.czi:scenes", extra="czi", packages=("pylibCZIrw",)),
    Format("ND2", (".nd2",), "spotlight.images.nd2:scenes", extra="nd2", packages=("nd2",)),
    Format("list of plane files", (PLANE_FILES,), "spotlight.images.plane_files:scenes"),
    BIOIO,
):
    FORMATS.add(_form.name, _form)

COMPANION = "companion.ome"
"""The ending of files with the metadata of a set of OME-TIFFs and no pixel values."""
NOT_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
"""System errors that do not depend on the contents of a file."""


def all_formats() -> Iterator[Format]:
    """Go through all formats: our own, then those of other packages. One that cannot be loaded is warned of, once."""
    for name in FORMATS.names():
        try:
            form = FORMATS.find(name)
        except SpotlightError as error:
            tell(str(error))
        else:
            yield form


def suffixes() -> tuple[str, ...]:
    """Endings of all files that can be read.

    Returns
    -------
    tuple of str
        In lower case and with the dot, such as ``.ome.tif``.

    Examples
    --------
    >>> from spotlight.images import suffixes
    >>> {".czi", ".nd2", ".tif"} <= set(suffixes())
    True
    """
    return tuple(dict.fromkeys(suffix for form in all_formats() for suffix in form.suffixes))


def is_image(path: Path) -> bool:
    """Whether a path looks like an image file or an OME-Zarr folder; hidden files do not.

    Parameters
    ----------
    path : Path
        It need not exist; a folder is looked into.

    Returns
    -------
    bool
        By its name alone; whether it can be read shows when it is opened.

    Examples
    --------
    >>> from pathlib import Path
    >>> from spotlight.images import is_image
    >>> is_image(Path("plate.ome.zarr")), is_image(Path("notes.txt"))
    (True, False)
    """
    if path.name.startswith("."):
        return False
    return _by_ending(path) is not None or any(form.is_folder(path) for form in all_formats() if form.marks)


def is_companion(path: Path) -> bool:
    """Whether a file name is that of the metadata of a set of OME-TIFFs, whose images are in the other files."""
    return path.name.lower().endswith(COMPANION)


def is_plane_files(path: Path) -> bool:
    """Whether a file name is that of a list of files that together are one image."""
    return path.name.lower().endswith(PLANE_FILES)


def is_zarr(path: Path) -> bool:
    """Whether a folder holds a Zarr group or array."""
    return ZARR.is_folder(path)


def stem(path: str | Path) -> str:
    """File name without what marks the format: ``plate_0.5uM_1.ome.tif`` gives ``plate_0.5uM_1``.

    It names outputs and rows of tables, so control characters and bytes that are no UTF-8 become ``%`` and digits.

    Parameters
    ----------
    path : path
        It need not exist.

    Returns
    -------
    str
        Without folder and endings.

    Examples
    --------
    >>> from spotlight.images import stem
    >>> stem("plate_0.5uM_1.ome.tif")
    'plate_0.5uM_1'
    """
    name = safe_name(Path(path).name)
    if is_companion(Path(path)):
        name = name[: -len(COMPANION)].rstrip(".") + TIFF.suffixes[0]
    for suffix in suffixes():
        for ending in (f".ome{suffix}", suffix):
            if name.lower().endswith(ending):
                return name[: -len(ending)]
    return name


def format_of(path: Path) -> Format:
    """Return the format of a file, a folder or an address.

    Raises
    ------
    SpotlightError
        If it is none that can be read.
    """
    if isinstance(path, Address):
        return ZARR
    form = TIFF if is_companion(path) else _by_ending(path)
    if form is None and path.is_dir():
        form = next((one for one in all_formats() if one.is_folder(path)), None)
    if form is None and path.is_file() and importlib.util.find_spec("bioio") is not None:
        form = BIOIO
    if form is not None:
        return form
    raise SpotlightError(
        f"{path}: is not a file that can be read here ({', '.join(suffixes())}). For other formats install bioio and "
        f"its plugin for them: {install_command('bioio')}"
    )


def format_to_write(path: Path) -> Format:
    """Return the format in which a path is written, by its ending.

    Raises
    ------
    SpotlightError
        If no format is written with that ending.
    """
    if is_labels_of_an_image(path):
        return ZARR
    endings: list[str] = []
    for form in all_formats():
        if path.name.lower().endswith(form.written):
            return form
        endings += form.written
    raise SpotlightError(
        f"{path}: cannot be written; end the name in .ome.tif or .ome.zarr (known here: {', '.join(endings)})."
    )


def is_labels_of_an_image(path: Path) -> bool:
    """Whether a path is that of labels inside of an OME-Zarr: ``image.ome.zarr/labels/name``."""
    return path.parent.name == "labels" and is_zarr(path.parent.parent)


def _by_ending(path: Path) -> Format | None:
    return next((form for form in all_formats() if path.name.lower().endswith(form.suffixes)), None)


@contextmanager
def explained_reading(path: Path, kind: str) -> Iterator[None]:
    """Turn any error of a parser into a `SpotlightError`."""
    try:
        yield
    except SpotlightError:
        raise
    except MemoryError as error:
        raise SpotlightError(
            f"{path}: needs more memory than there is ({error}). Read a smaller region; a small file is damaged."
        ) from error
    except Exception as error:  # a parser of damaged bytes fails in more ways than can be listed
        if isinstance(error, OSError) and error.errno in NOT_THE_FILE:
            raise SpotlightError(f"{path}: cannot be opened ({error.strerror}).") from error
        if isinstance(path, Address) and not isinstance(error, PROGRAM_FAULTS):
            raise SpotlightError(
                f"{path}: cannot be read as {kind} from there ({type(error).__name__}: {error}). Check the address, "
                "the network and, for s3, the credentials; or download it first, and give the path of the copy."
            ) from error
        raise unreadable(path, kind, error, FORMATS.find(kind).packages) from error
