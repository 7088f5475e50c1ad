"""What OME-XML says: of which pages of which files an image is made, its channels and its voxel size."""

import codecs
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import tifffile

from spotlight.errors import SpotlightError
from spotlight.images.formats import explained_reading
from spotlight.images.lazy import no_problems
from spotlight.images.units import read_lengths, seconds

STATE_AXES = (
    "To read the file's pages as they lie, state their axes with axes=, --axes or an axes column, for example 'ZYX'"
)
"""What remains where metadata do not fit."""

Places = Mapping[tuple[str, str], Path | None]
"""Files by the name and UUID that OME-XML gives them; None if they are not there."""


class Disagreement(SpotlightError):
    """Metadata do not fit the file; its pages can be read nevertheless if the axes are stated."""


@dataclass(frozen=True)
class Described:
    """One image, as OME-XML describes it.

    Attributes
    ----------
    name : str
        As the metadata call it; possibly empty.
    pixels : Element
        Its sizes, channels and lengths.
    missing : tuple of str
        Names of files with planes of it that are not there.
    """

    name: str
    pixels: ElementTree.Element
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """All images that the OME-XML of a file, or of its companion, describes.

    Attributes
    ----------
    xml : str
        The OME-XML as tifffile follows it without doubt: images are named by their numbers, other files are given by
        their whole paths, and planes in files that are missing are left out.
    images : tuple of Described
        By their numbers.
    file : Path
        The TIFF file to open.
    silent : frozenset of Path
        Other files with planes, which have no OME-XML themselves.
    renamed : str
        What the OME-XML calls the file, if the file has another name now.
    """

    xml: str
    images: tuple[Described, ...]
    file: Path
    silent: frozenset[Path]
    renamed: str


def describe(path: Path, text: str) -> Description:
    """Follow the OME-XML of a TIFF file, or that of the file to which it refers.

    Raises
    ------
    Disagreement
        If it is broken or cannot be found, or describes other files than this one.
    """
    root = _parsed(path, text)
    uuid, source = root.get("UUID"), path
    reference = root.find("{*}BinaryOnly")
    if reference is not None:
        root, source = _referred(path, reference)
    return _follow(root, source, path, uuid)


def describe_companion(path: Path) -> Description:
    """Follow the OME-XML of a companion file, which has no pixel values itself.

    Raises
    ------
    SpotlightError
        If it is broken, or none of the TIFF files that it names is there.
    """
    root = _parsed(path, _text(path))
    named = dict.fromkeys(uuid.get("FileName", "") for uuid in root.iterfind(".//{*}TiffData/{*}UUID"))
    there = [file for name in named if (file := beside(path, name)) is not None]
    if not there:
        names = ", ".join(map(repr, list(named)[:5])) or "it names none"
        raise SpotlightError(f"{path}: the TIFF files of this companion file are not beside it ({names}). Add them.")
    return _follow(root, path, there[0], None)


def _parsed(path: Path, text: str) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # a few lines of these can stand for gigabytes
        raise Disagreement(f"{path}: its OME-XML defines words of its own, which OME-XML never does. {STATE_AXES}.")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Disagreement(f"{path}: its OME-XML is broken ({error}). {STATE_AXES}; or write the file anew.") from error


def _text(path: Path) -> str:
    """Take the OME-XML out of a TIFF file, or the whole of a companion file."""
    if not _is_tiff(path):
        content = path.read_bytes()
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    with explained_reading(path, "TIFF"), no_problems(path), tifffile.TiffFile(path) as tif:
        # tifffile loads the pages of other files like this, and leaves a file open where that fails.
        tif.pages.useframes = True
        tif.pages.set_keyframe(0)
        list(tif.pages)
        return tif.ome_metadata or ""


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"II", b"MM")


def _referred(path: Path, reference: ElementTree.Element) -> tuple[ElementTree.Element, Path]:
    """Give the OME-XML to which a TIFF file refers for its metadata, and where it was found."""
    name = reference.get("MetadataFile", "")
    file = beside(path, name)
    if file is None:
        raise Disagreement(
            f"{path}: its axes, sizes and channels are in the companion file {name!r}, which is not beside it. Copy it "
            f"there. {STATE_AXES}."
        )
    root = _parsed(file, _text(file))
    wanted, given = reference.get("UUID"), root.get("UUID")
    if wanted and given and wanted != given:
        raise Disagreement(
            f"{path}: the companion file {name!r} beside it is that of other images: its UUID is {given!r}, but "
            f"{wanted!r} is needed. Copy the right one there. {STATE_AXES}."
        )
    return root, file


def beside(path: Path, name: str) -> Path | None:
    """Find a file by the name that another one gives it; in the same folder if it is not where the name leads."""
    given = Path(name.replace("\\", "/"))
    for candidate in (path.parent / given, path.parent / PureWindowsPath(name).name):
        if name and candidate.is_file():
            return candidate
    return None


def _follow(root: ElementTree.Element, source: Path, path: Path, uuid: str | None) -> Description:
    """Find the files of all planes: `source` is where the OME-XML lies, `path` and `uuid` are those of the TIFF."""
    named = {_key(element): None for element in root.iterfind(".//{*}TiffData/{*}UUID")}
    names = Counter(text for _, text in named)
    places: dict[tuple[str, str], Path | None] = {}
    for name, text in named:
        # A file that was renamed keeps its UUID; several files with one UUID can only be told apart by their names.
        own = text == uuid and names[text] == 1 if uuid else not name
        own = own or name.lower() == path.name.lower()
        places[name, text] = path if own else beside(source, name)
    renamed = ""
    if places and path not in places.values():
        renamed = _one_missing(path, source, places)
        places = dict.fromkeys(places, path)
    others = {file: text for (_, text), file in places.items() if file is not None and file != path}
    silent = frozenset(file.absolute() for file, text in others.items() if not _states_uuid(path, file, text))
    unnamed = source if _is_tiff(source) else None
    images = []
    for image in root.iterfind("{*}Image"):
        for pixels in image.iterfind("{*}Pixels"):
            images.append(Described(image.get("Name", ""), pixels, _resolve(pixels, path, unnamed, places)))
            image.set("Name", str(len(images) - 1))
    if not images:
        raise Disagreement(f"{path}: its OME-XML describes no image. {STATE_AXES}.")
    root.attrib.pop("UUID", None)
    return Description(ElementTree.tostring(root, "unicode"), tuple(images), path, silent, renamed)


def _key(element: ElementTree.Element) -> tuple[str, str]:
    return element.get("FileName", ""), element.text or ""


def _one_missing(path: Path, source: Path, places: Places) -> str:
    """Give the one name that the OME-XML of a renamed file has for it; it must not be that of another file."""
    names = [name or text for name, text in places]
    if len(names) == 1 and source == path and not any(places.values()):
        return names[0]
    listed = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    where = "its OME-XML" if source == path else f"the OME-XML of {source.name}"
    raise Disagreement(
        f"{path}: {where} describes other files ({listed}), not this one: it was copied from there, or this file was "
        f"renamed. Give the file its name again, or write it anew. {STATE_AXES}."
    )


def _states_uuid(path: Path, file: Path, text: str) -> bool:
    """Whether another file of a set has OME-XML; it must not be a file of the same name from elsewhere."""
    written = _text(file)
    stated = _parsed(file, written).get("UUID") if written else None
    if stated and text and stated != text:
        raise Disagreement(
            f"{path}: some of its planes are in {file.name}, but the file of that name is another one: its UUID is "
            f"{stated!r}, but {text!r} is needed. Copy the right one there. {STATE_AXES}."
        )
    return bool(written)


def _resolve(pixels: ElementTree.Element, path: Path, unnamed: Path | None, places: Places) -> tuple[str, ...]:
    """Give each block of planes the path of its file; blocks of files that are missing are taken out and named."""
    kept, missing = [], {}
    for child in pixels:
        element = child.find("{*}UUID")
        file, name = unnamed, "a file that is not named"
        if element is not None:
            file, name = places[_key(element)], element.get("FileName", "")
            child.remove(element)
        if not child.tag.endswith("TiffData") or file is not None:
            kept.append(child)
        else:
            missing[name] = True
        if element is not None and file not in (None, path):
            whole = str(file.absolute())
            ElementTree.SubElement(child, "UUID", {"FileName": whole}).text = whole
    pixels[:] = kept
    return tuple(missing)


def value_type(pixels: ElementTree.Element) -> str:
    """NumPy's name of the type of the pixel values."""
    stated = pixels.get("Type", "").lower()
    return {"float": "float32", "double": "float64", "bit": "bool"}.get(stated, stated)


def facts_of(pixels: ElementTree.Element) -> tuple[tuple[str, ...], dict[str, float], str, str]:
    """Names of the channels, and the lengths as `read_lengths` gives them."""
    sizes = {axis: f"PhysicalSize{axis}" for axis in "ZYX"}
    stated = {a: (pixels.get(key), pixels.get(f"{key}Unit", "µm")) for a, key in sizes.items() if key in pixels.attrib}
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    channels = tuple(name for name in names if name) if all(names) else ()
    return channels, *read_lengths(stated)


def frame_interval_of(pixels: ElementTree.Element) -> float | None:
    """Seconds from one timepoint to the next, if they are stated."""
    return seconds(pixels.get("TimeIncrement", 0), pixels.get("TimeIncrementUnit", "s"))
