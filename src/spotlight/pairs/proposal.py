"""`propose_pairs`: from a folder of files, which inputs and targets seem to belong together, and how to split them."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from spotlight.errors import SpotlightError
from spotlight.files import whole_file
from spotlight.images import Part, is_image, parts, read
from spotlight.pairs.manifest import COLUMNS, Pair

WORDS = {
    "input": "bf brightfield bright phase ph ph1 ph2 ph3 phc dic nomarski trans transmitted transmission tl tpmt esid "
    "oblique dpc qpi lightfield",
    "target": "dna dapi hoechst nuclei nucleus nuclear nuc fluor fluo fluorescence fluorescent gfp egfp rfp mcherry "
    "cy3 cy5 fitc tritc mito actin tubulin h2b lamin membrane er golgi target",
    "labels": "label labels mask masks seg segmentation instances",
}
"""Words in names of files, folders and channels, by what they mean."""
ROLES = {word: role for role, words in WORDS.items() for word in words.split()}
SHARES = {"test": 0.15, "val": 0.15}


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
    input_channel: str | None = None,
    target_channel: str | None = None,
) -> Proposal:
    """Look at a folder of images and propose pairs, groups and splits.

    Both channels in one file are told apart by their names; channels in separate files by words in the names of files
    or folders, such as ``bf`` and ``dna``, or by patterns in which ``*`` stands for what both names share.

    Parameters
    ----------
    folder : path
        Searched with its subfolders.
    input_pattern, target_pattern, labels_pattern : str, optional
        For separate files: paths from the folder with one ``*`` each, for example ``"bf/*.tif"`` and ``"dna/*.tif"``.
    input_channel, target_channel : str, optional
        For files with both channels: names or zero-based indices.

    Raises
    ------
    SpotlightError
        If no pairs can be told without guessing; says what was found and how to state it.
    """
    folder = Path(folder)
    files = _images(folder)
    if not files:
        raise SpotlightError(f"{folder}: holds no image files. Give the folder with your stacks.")
    reasons = [f"{len(files)} image files were found."]
    patterns = {"input": input_pattern, "target": target_pattern, "labels": labels_pattern}
    if input_pattern or target_pattern:
        pairs = _by_pattern(folder, files, patterns)
    elif _has_channels(files):
        pairs, reason = _by_channel(folder, files, input_channel, target_channel)
        reasons.append(reason)
    else:
        pairs, reason = _by_word(folder, files)
        reasons.append(reason)
    pairs = [replace(pair, group=_group(folder, pair)) for pair in pairs]
    pairs, reason = split_by_group(pairs)
    return Proposal(pairs, [*reasons, f"{len(pairs)} pairs are proposed.", reason])


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


def _has_channels(files: Sequence[Path]) -> bool:
    first = parts(files[0])[0]
    return "C" in read(files[0], scene=first.scene).axes


def _by_channel(
    folder: Path, files: Sequence[Path], input_channel: str | None, target_channel: str | None
) -> tuple[list[Pair], str]:
    """Pairs of two channels of one file."""
    pairs = []
    chosen: set[tuple[str, str]] = set()
    for file in files:
        for part in parts(file):
            names = read(file, scene=part.scene).channels
            channels = _channels(file, names, input_channel, target_channel)
            chosen.add(channels)
            pairs.append(_pair(part, file, file, channels))
    listed = " or ".join(f"{a!r} and {b!r}" for a, b in sorted(chosen))
    return pairs, f"Both channels are in one file: input and target are {listed}."


def _channels(
    file: Path, names: tuple[str, ...], input_channel: str | None, target_channel: str | None
) -> tuple[str, str]:
    roles = [_roles(name) for name in names]
    light = [name for name, role in zip(names, roles, strict=True) if "input" in role]
    fluorescent = [name for name, role in zip(names, roles, strict=True) if "input" not in role]
    if input_channel is None and len(light) == 1:
        input_channel = light[0]
    if target_channel is None and len(fluorescent) == 1 and light:
        target_channel = fluorescent[0]
    if input_channel is None or target_channel is None:
        raise SpotlightError(
            f"{file}: which channel is the input and which the target cannot be told from their names "
            f"({', '.join(names) or 'none'}). State them with --input-channel and --target-channel, names or indices."
        )
    return input_channel, target_channel


def _roles(text: str) -> set[str]:
    return {ROLES[word] for word in re.split(r"[^a-z0-9]+", text.lower()) if word in ROLES}


def _by_word(folder: Path, files: Sequence[Path]) -> tuple[list[Pair], str]:
    """Pairs of files whose paths differ in one word that tells the role."""
    rows: dict[str, dict[str, Path]] = {}
    words: dict[str, set[str]] = {}
    for file in files:
        pieces = re.split(r"([^A-Za-z0-9]+)", file.relative_to(folder).as_posix())
        places = [i for i, piece in enumerate(pieces) if piece.lower() in ROLES]
        # "nuclei_labels" is a file of labels: the most special word counts.
        found = {ROLES[pieces[i].lower()] for i in places}
        role = "labels" if "labels" in found else found.pop() if len(found) == 1 else ""
        if not role:
            continue
        key = "".join("*" if i in places else piece for i, piece in enumerate(pieces))
        key = re.sub(r"\*([^A-Za-z0-9/]*\*)+", "*", key)
        words.setdefault(role, set()).update(pieces[i] for i in places)
        row = rows.setdefault(key, {})
        if role in row:
            raise SpotlightError(
                f"{file}: seems to be the {role} of the same field as {row[role]}. State which with --input and "
                "--target, patterns such as 'bf/*.tif' in which * stands for what the names share."
            )
        row[role] = file
    whole = [row for row in rows.values() if {"input", "target"} <= set(row)]
    if not whole:
        names = ", ".join(file.relative_to(folder).as_posix() for file in files[:6])
        raise SpotlightError(
            f"{folder}: no pairs can be told from the names of the files ({names}...). State them with --input and "
            "--target, patterns such as 'bf/*.tif' in which * stands for what the names share."
        )
    told = "; ".join(f"{role}: {', '.join(sorted(found))}" for role, found in sorted(words.items()))
    pairs = [pair for row in whole for pair in _pairs_of_row(row)]
    return pairs, f"Input and target are in separate files, told apart by words in their names ({told})."


def _by_pattern(folder: Path, files: Sequence[Path], patterns: dict[str, str | None]) -> list[Pair]:
    rows: dict[str, dict[str, Path]] = {}
    for role, pattern in patterns.items():
        if pattern is None and role != "labels":
            raise SpotlightError("--input and --target patterns go together; give both.")
        if pattern is None:
            continue
        if pattern.count("*") != 1:
            raise SpotlightError(f"a pattern needs one * for what the names share. Received: {pattern!r}.")
        before, after = pattern.split("*")
        for file in files:
            name = file.relative_to(folder).as_posix()
            if fnmatch.fnmatchcase(name, pattern):
                rows.setdefault(name[len(before) : len(name) - len(after)], {})[role] = file
    whole = [row for row in rows.values() if {"input", "target"} <= set(row)]
    if not whole:
        raise SpotlightError(f"{folder}: no two files fit {patterns['input']!r} and {patterns['target']!r}.")
    return [pair for row in whole for pair in _pairs_of_row(row)]


def _pairs_of_row(row: dict[str, Path]) -> list[Pair]:
    return [
        replace(_pair(part, row["input"], row["target"], (None, None)), labels=row.get("labels"))
        for part in parts(row["input"])
    ]


def _pair(part: Part, image: Path, target: Path, channels: tuple[str | None, str | None]) -> Pair:
    scene = None if part.scene is None else str(part.scene)
    return Pair(
        part.name, image, target, input_channel=channels[0], target_channel=channels[1], scene=scene, time=part.time
    )


def _group(folder: Path, pair: Pair) -> str:
    """The folder that a file lies in, if it is not one of a channel; the file, if it holds several fields."""
    above = [name for name in pair.input.relative_to(folder).parent.parts if not _roles(name)]
    several = [pair.input.name] if pair.scene is not None or pair.time is not None else []
    return "/".join([*above, *several])


def split_by_group(pairs: Sequence[Pair], seed: int = 0) -> tuple[list[Pair], str]:
    """Put about 70 % of the groups into training and 15 % each into validation and test.

    Pairs without a group, or of the only group, are split one by one. The same seed gives the same splits.

    Returns
    -------
    (list of Pair, str)
        The pairs with splits, and a sentence that says how.
    """
    groups = sorted({pair.group for pair in pairs})
    grouped = len(groups) >= 3 and all(groups)
    units = groups if grouped else [pair.name for pair in pairs]
    order = np.random.default_rng(seed).permutation(len(units))
    split = dict.fromkeys(units, "train")
    if len(units) >= 3:
        counts = {name: max(1, round(share * len(units))) for name, share in SHARES.items()}
        for place, number in enumerate(order):
            if place < counts["test"]:
                split[units[number]] = "test"
            elif place < counts["test"] + counts["val"]:
                split[units[number]] = "val"
    done = [replace(pair, split=split[pair.group if grouped else pair.name]) for pair in pairs]
    counted = ", ".join(f"{sum(p.split == name for p in done)} {name}" for name in ("train", "val", "test"))
    if len(units) < 3:
        return done, f"Fewer than three pairs: all are for training ({counted}). Split one by the region column."
    by = f"by {len(groups)} groups, none of which is in two splits" if grouped else "pair by pair"
    return done, f"They are split {by}: {counted}."


def write_manifest(pairs: Sequence[Pair], path: str | Path) -> Path:
    """Write a CSV manifest with the columns that are used; paths are relative to its folder where they can be."""
    path = Path(path)
    rows = []
    for pair in pairs:
        row = {name: getattr(pair, name) for name in COLUMNS}
        for name in ("input", "target", "labels", "foreground"):
            file = row[name]
            if file is not None:
                here = path.parent.resolve()
                inside = file.resolve().is_relative_to(here)
                row[name] = (file.resolve().relative_to(here) if inside else file.resolve()).as_posix()
        if pair.voxel_size is not None:
            row["voxel_size"] = " ".join(map(str, pair.voxel_size))
        rows.append({name: "" if value is None else value for name, value in row.items()})
    table = pd.DataFrame(rows)
    used = [name for name in table if (table[name] != "").any()]
    with whole_file(path) as temporary:
        table[used].to_csv(temporary, index=False)
    return path
