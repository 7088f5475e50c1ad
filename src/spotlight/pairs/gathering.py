"""The image files of a folder; those that are planes of one image are gathered in a list of plane files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.images import is_image, stem
from spotlight.images.formats import is_plane_files
from spotlight.images.layouts import PlaneFiles, find_plane_files
from spotlight.images.plane_files import listed_files, write_plane_files

LISTS = "stacks"
"""The folder beside a manifest with the lists of plane files."""


@dataclass(frozen=True)
class Gathered:
    """What a folder holds.

    Attributes
    ----------
    names : dict of Path to str
        Each image file, or list of plane files, and its path from the folder without its ending.
    reasons : list of str
        Sentences about files that are planes of one image.
    """

    names: dict[Path, str]
    reasons: list[str]


def images_below(folder: Path) -> list[Path]:
    """Every image below a folder, without going into OME-Zarr folders."""
    found: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SpotlightError(f"{folder}: cannot be listed ({error}).") from error
    for entry in entries:
        if is_image(entry):
            found.append(entry)
        elif entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            found += images_below(entry)
    return found


def gather(folder: Path, lists_to: Path | None) -> Gathered:
    """Find the images below a folder; of images of one file per plane, write lists.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders.
    lists_to : Path, optional
        Folder for the lists. Without it, files of planes are an error that says what to do.

    Raises
    ------
    SpotlightError
        If the folder has no image files.
    """
    found = [file for file in images_below(folder) if lists_to is None or not file.is_relative_to(lists_to)]
    if not found:
        raise SpotlightError(f"{folder}: holds no image files. Give the folder with your stacks.")
    listed = {part.resolve() for file in found if is_plane_files(file) for part in listed_files(file)}
    alone = [file for file in found if file.resolve() not in listed]
    images, faults = find_plane_files([file for file in alone if not is_plane_files(file)], folder)
    if images and lists_to is None:
        raise SpotlightError(f"{folder}: {describe(images)} Make stacks of them: spotlight stack-planes.")
    used = {file for image in images for file in image.files}
    names = {file: file.relative_to(folder).with_name(stem(file)).as_posix() for file in alone if file not in used}
    for image in images:
        assert lists_to is not None
        names[write_plane_files(image, lists_to)] = image.name
    reasons = [f"{len(found)} image files were found."]
    reasons += [f"{describe(images)} Lists of these are in {lists_to}; each is read as one image."] if images else []
    return Gathered(names, reasons + [f"Planes are missing, so they are no stack: {fault}." for fault in faults])


def describe(images: Sequence[PlaneFiles]) -> str:
    """Say what files are planes of which images."""
    layouts = ", ".join(sorted({image.layout for image in images}))
    shapes = sorted({" x ".join(f"{n} {axis}" for axis, n in zip(i.axes, i.shape, strict=True)) for i in images})
    count = sum(len(image.files) for image in images)
    images_said = "one image" if len(images) == 1 else f"{len(images)} images"
    return f"{count} files are planes of {images_said}, by their names ({layouts}): {', '.join(shapes)}."
