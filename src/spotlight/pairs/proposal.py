"""`propose_pairs`: from a folder of files, which inputs and targets seem to belong together, and how to split them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import Part, Selection, images_in, is_image, stem
from spotlight.images.colour import LUMINANCE, sample_names
from spotlight.images.joining import SEPARATOR, parse_channels
from spotlight.images.modality import LIGHT_WORDS
from spotlight.images.selection import Channels
from spotlight.pairs.manifest import name_apart
from spotlight.pairs.pair import Pair

WORDS = {
    "input": " ".join(LIGHT_WORDS),
    "target": "dna dapi hoechst nuclei nucleus nuclear nuc fluor fluo fluorescence fluorescent gfp egfp rfp mcherry "
    "cy3 cy5 fitc tritc mito actin tubulin h2b lamin membrane er golgi target",
    "labels": "label labels mask masks seg segmentation instances",
}
"""Words in names of files, folders and channels, by what they mean."""
ROLES = {word: role for role, words in WORDS.items() for word in words.split()}


@dataclass(frozen=True)
class Proposal:
    """Pairs that were found in a folder, and how.

    Attributes
    ----------
    pairs : list of Pair
        With splits and groups.
    reasons : list of str
        Sentences that say what was decided and why.
    """

    pairs: list[Pair]
    reasons: list[str]


def propose_pairs(
    folder: str | Path,
    *,
    input_pattern: str | None = None,
    target_pattern: str | None = None,
    labels_pattern: str | None = None,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> Proposal:
    """Look at a folder of images and propose pairs, groups and splits.

    Two channels in one file are recognised by their names; channels in separate files by words in the names of files
    or folders, such as ``bf`` and ``dna``, or by patterns in which ``*`` stands for what both names share.

    Parameters
    ----------
    folder : path
        Searched with its subfolders.
    input_pattern, target_pattern, labels_pattern : str, optional
        For separate files: paths from the folder with one ``*`` each, for example ``"bf/*.tif"`` and ``"dna/*.tif"``.
    input_channel : str or sequence of str, optional
        Name or zero-based index, or several in order, for files with several channels.
    target_channel : str, optional
        Name or zero-based index, for files with several channels.
    axes, voxel_size : optional
        For files that do not state them; they become columns of the manifest.

    Raises
    ------
    SpotlightError
        If no pairs can be found without guessing. The error states what was found and how to name the pairs.
    """
    folder = require_path(folder, "Give a folder with images.")
    light = parse_channels(input_channel)
    found = _images(folder)
    if not found:
        raise SpotlightError(f"{folder}: holds no image files. Give the folder with your stacks.")
    opened, unreadable = _opened(found, axes)
    reasons = [f"{len(found)} image files were found."]
    patterns = {"input": input_pattern, "target": target_pattern, "labels": labels_pattern}
    if any(patterns.values()):
        pairs = _by_pattern(folder, opened, patterns)
    elif sum(_has_both(listed[0], target_channel) for listed in opened.values()) >= len(opened) / 2:
        pairs, reason = _by_channel(opened, light, target_channel)
        reasons.append(reason)
    else:
        pairs, reason = _by_word(folder, opened)
        reasons.append(reason)
    if not pairs[0].input_channel:
        colour = {file for file, listed in opened.items() if light is None and _is_colour(listed[0])}
        pairs = [
            replace(
                pair,
                input_channel=LUMINANCE if pair.input in colour else light,  # type: ignore[arg-type]
                target_channel=target_channel,
            )
            for pair in pairs
        ]
        if any(pair.input in colour for pair in pairs):
            reasons.append(
                f"Inputs are colour images, of which the mean of red, green and blue ({LUMINANCE}) is taken; another "
                "channel is chosen with --input-channel."
            )
    used = {file for pair in pairs for file in (pair.input, pair.target, pair.labels)}
    left = [file for file in opened if file not in used]
    if left:
        names = ", ".join(file.relative_to(folder).as_posix() for file in left[:5])
        reasons.append(f"{len(left)} files belong to no pair: {names}{', ...' if len(left) > 5 else ''}.")
    hints = [listed[0].hint for listed in opened.values() if listed[0].hint and listed[0].time is not None]
    if hints:
        reasons.append(f"{len(hints)} files are taken as time series of single planes.{hints[0]}")
    reasons += [f"Cannot be read, and left out: {message}" for message in unreadable]
    pairs = [replace(pair, group=_group(folder, pair), axes=axes, voxel_size=voxel_size) for pair in pairs]
    pairs, reason = split_by_group(name_apart(pairs))
    return Proposal(pairs, [*reasons, f"{len(pairs)} pairs are proposed.", reason])


def _is_colour(part: Part) -> bool:
    return part.channels is not None and part.channels == sample_names(len(part.channels))


def _has_both(part: Part, target_channel: str | None) -> bool:
    """Whether input and target may be channels of one file; those of a colour camera are both only if it is stated."""
    return part.channels is not None and (target_channel is not None or not _is_colour(part))


def _images(folder: Path) -> list[Path]:
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
            found += _images(entry)
    return found


def _opened(files: Sequence[Path], axes: str | None) -> tuple[dict[Path, list[Part]], list[str]]:
    """The images of every file that can be read, and what is wrong with the others."""
    opened: dict[Path, list[Part]] = {}
    wrong: list[str] = []
    for file in files:
        try:
            listed = images_in(file, Selection(axes=axes))
        except SpotlightError as error:
            wrong.append(str(error))
        else:
            opened |= {file: listed} if listed else {}
    if not opened:
        raise SpotlightError(wrong[0] if wrong else f"{files[0]}: holds no image that starts in it.")
    return opened, wrong


def _by_channel(
    opened: dict[Path, list[Part]], input_channel: Channels, target_channel: str | None
) -> tuple[list[Pair], str]:
    """Pairs of two channels of one file."""
    pairs = []
    chosen: set[tuple[Channels, str]] = set()
    for file, listed in opened.items():
        for part in listed:
            if part.channels is not None:
                channels = _channels(file, part.channels, input_channel, target_channel)
                chosen.add(channels)
                pairs.append(_pair(part, file, channels))
    listed_channels = " or ".join(f"{a!r} and {b!r}" for a, b in sorted(chosen, key=repr))
    return pairs, f"Both channels are in one file: input and target are {listed_channels}."


def _channels(
    file: Path, names: tuple[str, ...], input_channel: Channels, target_channel: str | None
) -> tuple[Channels, str]:
    light = [name for name in names if "input" in _roles(name)]
    fluorescent = [name for name in names if "input" not in _roles(name)]
    if input_channel is None and len(light) == 1:
        input_channel = light[0] if SEPARATOR not in light[0] else f"#{names.index(light[0])}"
    if target_channel is None and len(fluorescent) == 1 and light:
        target_channel = fluorescent[0]
    if input_channel is None or target_channel is None:
        raise SpotlightError(
            f"{file}: which channel is the input and which the target is not clear from their names "
            f"({', '.join(names) or 'none'}). State them with --input-channel and --target-channel, names or indices."
        )
    return input_channel, target_channel


def _roles(text: str) -> set[str]:
    return {ROLES[word] for word in re.split(r"[^a-z0-9]+", text.lower()) if word in ROLES}


def _role(path: str) -> tuple[str, str]:
    """The role that words in a path name, and the path without these words; the file name goes before folders."""
    folders, _, name = path.lower().rpartition("/")
    place = name if _roles(name) else folders
    roles = _roles(place)
    # "nuclei_labels" is a file of labels: the most special word counts.
    role = "labels" if "labels" in roles else roles.pop() if len(roles) == 1 else ""
    bare = re.sub(r"[a-z0-9]+", lambda word: "" if word[0] in ROLES else word[0], place)
    bare = re.sub(r"[^a-z0-9/]+", " ", bare).strip()
    return role, f"{folders}/{bare}" if place is name else f"{bare}/{name}"


def _by_word(folder: Path, opened: dict[Path, list[Part]]) -> tuple[list[Pair], str]:
    """Pairs of files whose paths differ in the words that tell the role."""
    rows: dict[str, dict[str, Path]] = {}
    words: set[str] = set()
    for file in opened:
        path = file.relative_to(folder).with_name(stem(file)).as_posix()
        role, key = _role(path)
        if not role:
            continue
        words |= {word for word in re.split(r"[^a-z0-9]+", path.lower()) if ROLES.get(word) == role}
        row = rows.setdefault(key, {})
        if role in row:
            raise SpotlightError(
                f"{file}: seems to be the {role} of the same field as {row[role]}. State which with --input and "
                "--target, patterns such as 'bf/*.tif' in which * stands for what the names share."
            )
        row[role] = file
    whole = [row for row in rows.values() if {"input", "target"} <= set(row)]
    if not whole:
        names = ", ".join(file.relative_to(folder).as_posix() for file in list(opened)[:6])
        raise SpotlightError(
            f"{folder}: the names of the files show no pairs ({names}...). State them with --input and "
            "--target, patterns such as 'bf/*.tif' in which * stands for what the names share."
        )
    pairs = [pair for row in whole for pair in _pairs_of_row(row, opened)]
    return (
        pairs,
        f"Input and target are in separate files, recognised by words in their paths ({', '.join(sorted(words))}).",
    )


def _by_pattern(folder: Path, opened: dict[Path, list[Part]], patterns: dict[str, str | None]) -> list[Pair]:
    if patterns["input"] is None or patterns["target"] is None:
        raise SpotlightError("--input and --target patterns go together; give both.")
    rows: dict[str, dict[str, Path]] = {}
    for role, pattern in patterns.items():
        if pattern is None:
            continue
        if pattern.count("*") != 1 or set("?[") & set(pattern):
            raise SpotlightError(
                f"a pattern needs one * for what the names share, and no ? or [. Received: {pattern!r}."
            )
        shape = re.compile("(.+)".join(re.escape(piece) for piece in pattern.split("*")))
        for file in opened:
            fit = shape.fullmatch(file.relative_to(folder).as_posix())
            if fit:
                rows.setdefault(fit[1], {})[role] = file
    whole = [row for row in rows.values() if {"input", "target"} <= set(row)]
    if not whole:
        raise SpotlightError(f"{folder}: no two files fit {patterns['input']!r} and {patterns['target']!r}.")
    return [pair for row in whole for pair in _pairs_of_row(row, opened)]


def _pairs_of_row(row: dict[str, Path], opened: dict[Path, list[Part]]) -> list[Pair]:
    return [
        replace(_pair(part, row["target"], (None, None)), labels=row.get("labels")) for part in opened[row["input"]]
    ]


def _pair(part: Part, target: Path, channels: tuple[Channels, str | None]) -> Pair:
    return Pair(
        part.name,
        part.path,
        target,
        input_channel=channels[0],  # type: ignore[arg-type]
        target_channel=channels[1],
        scene=part.scene,
        time=part.time,
    )


def _group(folder: Path, pair: Pair) -> str:
    """The folder that a file lies in, if it is not one of a channel; the file, if it holds several fields."""
    above = [name for name in pair.input.relative_to(folder).parent.parts if not _roles(name)]
    several = [pair.input.name] if pair.scene is not None or pair.time is not None else []
    return "/".join([*above, *several])


def split_by_group(pairs: Sequence[Pair], seed: int = 0) -> tuple[list[Pair], str]:
    """Put about 70 % of the groups into training and 15 % each into validation and test.

    A pair without a group is a group of its own. Two groups become training and test. If there is just one, its pairs
    are split, and the group is dropped, unless they are timepoints, which are too alike: these are all for training.
    The same seed gives the same splits.

    Returns
    -------
    (list of Pair, str)
        The pairs with splits, and a sentence that says how.
    """
    groups = {pair.group for pair in pairs if pair.group}
    single = len(groups) == 1 and all(pair.group for pair in pairs)
    if single and not any(pair.time is not None for pair in pairs):
        pairs = [replace(pair, group="") for pair in pairs]
        groups = set()
    units = [pair.group or f"{number}" for number, pair in enumerate(pairs)]
    names = sorted(set(units))
    split = dict.fromkeys(names, "train")
    order = [names[number] for number in np.random.default_rng(seed).permutation(len(names))]
    count = max(1, round(0.15 * len(names))) if len(names) > 1 else 0
    split |= dict.fromkeys(order[:count], "test")
    if len(names) > 2:
        split |= dict.fromkeys(order[count : 2 * count], "val")
    done = [replace(pair, split=split[unit]) for pair, unit in zip(pairs, units, strict=True)]
    counted = ", ".join(f"{sum(p.split == name for p in done)} {name}" for name in ("train", "val", "test"))
    if len(names) == 1:
        return done, f"All are for training ({counted}): they cannot be split without showing the test to the training."
    how = f"by {len(groups)} groups, none of which is in two splits" if groups else "pair by pair"
    return done, f"They are split {how}: {counted}."
