"""Stains of several targets in files: where they are, and how they are read onto the grid of a target."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.images import Stack, images_in, is_image, read_like, scenes, stem
from spotlight.images.same_field import require_match
from spotlight.model import DESCRIPTION
from spotlight.pairs.pair import Pair
from spotlight.prediction.files import SUFFIX
from spotlight.prediction.finishing import VIRTUAL


@dataclass(frozen=True)
class StainFile:
    """Where the stain of one target is.

    Attributes
    ----------
    path : Path
        The file.
    channel : str or None
        Its channel; None where it holds this stain alone.
    """

    path: Path
    channel: str | None

    def read(self, pair: Pair, target: Stack) -> Stack:
        """Read the stain on the grid of the target; of the whole input, a row's region is cut out.

        Raises
        ------
        SpotlightError
            If it is damaged, not finite or of another shape or voxel size than the target.
        """
        stain = pair.cut(read_like(self.path, target, pair.axes).timepoint().channel(self.channel))
        if stain.voxel_size is None or target.voxel_size is None:
            stain = replace(stain, voxel_size=target.voxel_size if stain.axes == target.axes else None)
        stain.require_finite()
        require_match(target, stain)
        return stain


def find_stain_files(folder: Path, pairs: Sequence[Pair]) -> list[StainFile | None]:
    """Find the stain of every pair in a folder.

    Files are named after the input, as ``NAME`` or ``NAME-stain``, and lie either in one folder per target
    (``Nucleus/NAME.ome.tiff``) or side by side, with a channel per target (``Nucleus (virtual)`` or ``Nucleus``). A
    folder of a target's name goes before channels of that name.

    Parameters
    ----------
    folder : path
        The folder.
    pairs : sequence of Pair
        With `target_name`.

    Returns
    -------
    list of StainFile or None
        In the order of the pairs; None for targets of which the folder has no stain of any pair.

    Raises
    ------
    SpotlightError
        If it has none at all, or has stains of a target for some of its pairs alone.
    """
    if (folder / DESCRIPTION).exists() or not folder.is_dir():
        raise SpotlightError(
            f"{folder}: is not a folder of stains. Make them first: spotlight predict MODEL IMAGES --to STAINS."
        )
    listing = {place: images_by_name(place) for place in {folder, *(folder / pair.target_name for pair in pairs)}}
    channels: dict[Path, tuple[str, ...]] = {}
    found: list[StainFile | None] = []
    for pair in pairs:
        own = listing[folder / pair.target_name]
        listed = own or listing[folder]
        file = the_one(listed, name_of_input(pair)) if listed else None
        if file is None or own:
            found.append(None if file is None else StainFile(file, None))
            continue
        if file not in channels:
            channels[file] = scenes(file)[0].load().all_channels
        names = [n for n in (f"{pair.target_name}{VIRTUAL}", pair.target_name) if n in channels[file]]
        found.append(StainFile(file, names[0]) if names else None)
    _require_whole(folder, pairs, found)
    return found


def images_by_name(folder: Path) -> dict[str, list[Path]]:
    """Images of a folder by their names without ``-stain``; none if there is no such folder."""
    listed: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        if is_image(file):
            listed.setdefault(stem(file).removesuffix(SUFFIX), []).append(file)
    return listed


def the_one(listed: dict[str, list[Path]], name: str) -> Path | None:
    """The image of a name; None if there is none, and a `SpotlightError` if there are several."""
    found = listed.get(name, [])
    if len(found) > 1:
        raise SpotlightError(
            f"{found[0].parent}: each of {', '.join(file.name for file in found)} may be the stain of {name}. Give a "
            "folder with one of them."
        )
    return found[0] if found else None


def name_of_input(pair: Pair) -> str:
    """What `spotlight predict` names the stain of a pair's input after."""
    (part,) = images_in(pair.input, pair.selection("input"))
    return part.name


def _require_whole(folder: Path, pairs: Sequence[Pair], found: Sequence[StainFile | None]) -> None:
    """A target that is stained is stained in all pairs: what is left out would make its mean look better."""
    if not any(found):
        raise SpotlightError(
            f"{folder}: has no stain of these pairs. Name files after the inputs, for example "
            f"{pairs[0].target_name}/{stem(pairs[0].input)}.ome.tiff, or {stem(pairs[0].input)}-stain.ome.tif with a "
            f"channel {pairs[0].target_name}."
        )
    for target in dict.fromkeys(pair.target_name for pair in pairs):
        lacking = [p for p, file in zip(pairs, found, strict=True) if p.target_name == target and file is None]
        if lacking and len(lacking) < sum(pair.target_name == target for pair in pairs):
            raise SpotlightError(
                f"{folder}: has no stain of {target} for {len(lacking)} rows that have that target: "
                f"{', '.join(stem(pair.input) for pair in lacking[:5])}. Add them, or take the rows out."
            )
