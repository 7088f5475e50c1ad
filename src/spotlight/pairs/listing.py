"""Pairs of whatever was given: a manifest, a folder, arrays, or pairs."""

from collections.abc import Sequence
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import Selection, images_in, is_image, suffixes, warn_of_planes
from spotlight.images.joining import parse_channels
from spotlight.images.layouts import find_plane_files
from spotlight.pairs.gathering import describe
from spotlight.pairs.manifest import name_apart, read_manifest, require_distinct
from spotlight.pairs.pair import Image, Listed, Pair, pair_of


def pairs_from_folder(
    folder: str | Path,
    input_channel: str | Sequence[str] | None,
    target_channel: str | None,
    axes: str | None = None,
    inputs_only: bool = False,
) -> list[Pair]:
    """Make a pair of input and target channels from every scene and timepoint of every image file in a folder.

    Parameters
    ----------
    folder : path
        With image files; what lies in its subfolders is not looked at.
    input_channel : str, sequence of str, or None
        Name or index of the transmitted light, or of several channels in order.
    target_channel : str or None
        Name or index of the fluorescence.
    axes : str, optional
        Axes as stored, for files that do not state them or state them wrongly.
    inputs_only : bool
        The input stands in the target's place; its channel is needed only of files with several.

    Returns
    -------
    list of Pair
        In the order of the files' names, then of scenes and timepoints.

    Raises
    ------
    SpotlightError
        If the folder has no image file, or a channel was not stated.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import pairs_from_folder
    >>> both = np.zeros((2, 4, 16, 16), np.uint16)
    >>> for name in ("a1", "a2"):
    ...     path = Stack(both, "CZYX", (0.5, 0.1, 0.1), ("Brightfield", "DNA")).save(f"cells/{name}.ome.tif")
    >>> [pair.name for pair in pairs_from_folder("cells", "Brightfield", "DNA")]
    ['a1', 'a2']
    """
    folder = require_path(folder, "Give a folder of stacks.")
    try:
        files = sorted(file for file in folder.iterdir() if is_image(file))
    except OSError as error:
        raise SpotlightError(f"{folder}: cannot be listed ({error}).") from error
    if not files:
        raise SpotlightError(
            f"{folder}: has no image files ({', '.join(suffixes())}). Give a folder of stacks, or a manifest."
        )
    if not inputs_only and (input_channel is None or target_channel is None):
        raise SpotlightError(
            f"{folder}: for a folder of stacks, state which channel is the input and which is the target "
            "(--input-channel and --target-channel, names or zero-based indices)."
        )
    planes = [image for image in find_plane_files(files, folder)[0] if "Z" in image.axes]
    if planes:
        raise SpotlightError(
            f"{folder}: {describe(planes)} One by one, neighbours would be trained on and tested. Make a manifest of "
            "them: spotlight init; or stacks: spotlight stack-planes."
        )
    channels = parse_channels(input_channel)
    listed = {file: images_in(file, Selection(axes=axes)) for file in files}
    warn_of_planes([part for found in listed.values() for part in found])
    pairs = [
        Pair(
            part.name,
            file,
            file,
            input_channel=channels,  # type: ignore[arg-type]
            target_channel=target_channel,
            scene=part.scene,
            time=part.time,
        )
        for file, found in listed.items()
        for part in found
    ]
    return name_apart(pairs)


def read_pairs(
    source: Listed,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target: str | None = None,
    every_target: bool = False,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    column: str = "target",
) -> list[Pair]:
    """Read pairs from a manifest or from a folder of stacks; a sequence of pairs is checked and returned.

    Parameters
    ----------
    source : path or sequence
        CSV or Parquet manifest, folder, or pairs: each a `Pair`, or a tuple of input and target (paths, stacks or
        NumPy arrays), which is named ``pair-1``, ``pair-2``, ... in their order.
    input_channel : str or sequence of str, optional
        Channel of the input, or several in order, for a folder.
    target_channel : str, optional
        Channel of the target, for a folder.
    target, every_target
        The target to use, for a manifest of several targets; see `read_manifest`.
    axes : str, optional
        Axes as stored, for arrays, and for files that do not state them or state them wrongly. They replace those of a
        manifest.
    voxel_size : tuple of float, optional
        Edge lengths in µm of Z (if there is one), Y and X; the same holds.
    column : str
        The column of the target, for a manifest; see `read_manifest`.

    Returns
    -------
    list of Pair
        Each with a name of its own.

    Raises
    ------
    SpotlightError
        If a file is missing, a fact is neither stated nor given here, or options do not go with the source.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack
    >>> from spotlight.pairs import read_pairs
    >>> light, dna = (Stack(np.zeros((8, 16, 16), np.uint16), "ZYX", (0.5, 0.1, 0.1)) for _ in range(2))
    >>> (pair,) = read_pairs([(light, dna)])
    >>> pair.name
    'pair-1'
    """
    if isinstance(source, (str, Path)):
        listed: Sequence[Pair | tuple[Image, Image]] = _read_source(
            source, input_channel, target_channel, target, every_target, axes, column
        )
    else:
        listed = source
    pairs = [pair_of(item, f"pair-{number}", axes, voxel_size) for number, item in enumerate(listed, start=1)]
    found = [pair for pair in pairs if target is None or pair.target_name == target]
    if pairs and not found:
        raise SpotlightError(f"no pair has the target {target!r}. Found: {sorted({p.target_name for p in pairs})}.")
    require_distinct(found)
    return found


def _read_source(
    source: str | Path,
    input_channel: str | Sequence[str] | None,
    target_channel: str | None,
    target: str | None,
    every_target: bool,
    axes: str | None,
    column: str,
) -> list[Pair]:
    source = require_path(source, "Give a CSV or Parquet manifest, or a folder of stacks.")
    if source.is_dir() and column not in ("target", "input"):
        raise SpotlightError(
            f"{source}: is a folder, which does not say which {column} belongs to which stack. Give a manifest with "
            f"the columns input and {column} or {column}:NAME."
        )
    if source.is_dir():
        if target is not None:
            raise SpotlightError(
                f"{source}: is a folder, but target={target!r} chooses among the targets of a manifest. Remove target, "
                "or give a manifest."
            )
        return pairs_from_folder(source, input_channel, target_channel, axes, column == "input")
    if input_channel is not None or target_channel is not None:
        raise SpotlightError(
            f"{source}: a manifest states channels in its columns input_channel and target_channel. Remove the options "
            "for channels, or give a folder."
        )
    return read_manifest(source, target, every_target, column)
