"""`propose_pairs`: from a folder of files, which inputs and targets seem to belong together, and how to split them."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spotlight.errors import SpotlightError
from spotlight.files import require_path
from spotlight.images import Part, Selection, images_in, read_selected
from spotlight.images.colour import LUMINANCE, sample_names
from spotlight.images.formats import is_plane_files
from spotlight.images.joining import SEPARATOR, parse_channels
from spotlight.images.selection import Channels
from spotlight.pairs.flat_targets import flatten
from spotlight.pairs.gathering import gather
from spotlight.pairs.manifest import name_apart
from spotlight.pairs.pair import Pair
from spotlight.pairs.splits import split_by_group, split_by_region
from spotlight.pairs.suggestion import patterns_for
from spotlight.pairs.words import names_in, role_of, roles_in
from spotlight.quoting import counted

ROLES = ("input", "target")
Row = dict[str, Path]
"""Files of one field, by their roles: input, labels, and target or target:NAME."""


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
    mask_pattern: str | None = None,
    input_channel: str | Sequence[str] | None = None,
    target_channel: str | None = None,
    target_plane: str | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    lists_to: Path | None = None,
) -> Proposal:
    """Look at a folder of images and propose pairs, groups and splits.

    Channels in one file are recognised by their names; channels in separate files by words in the names of files or
    folders, such as ``bf`` and ``dna``, or by patterns in which ``*`` stands for what both names share. Of several
    dyes, each becomes a target with a name. Files of single planes become stacks, by lists of these files.

    Parameters
    ----------
    folder : path
        Searched with its subfolders.
    input_pattern, target_pattern, labels_pattern : str, optional
        For separate files: paths from the folder with one ``*`` each, for example ``"bf/*.tif"`` and ``"dna/*.tif"``.
    mask_pattern : str, optional
        Instead of a target: masks of a structure, which are learnt by the task "segment".
    input_channel : str or sequence of str, optional
        Name or zero-based index, or several in order, for files with several channels.
    target_channel : str, optional
        Name or zero-based index, for files with several channels.
    target_plane : str, optional
        Which plane of targets that are stacks: ``max``, ``mean``, ``focus`` or a zero-based index.
    axes, voxel_size : optional
        For files that do not state them; they become columns of the manifest.
    lists_to : Path, optional
        Folder for lists of plane files; needed where there are any.

    Raises
    ------
    SpotlightError
        If no pairs can be found without guessing. The error states what was found and how to name the pairs.
    """
    folder = require_path(folder, "Give a folder with images.")
    light = parse_channels(input_channel)
    gathered = gather(folder, lists_to)
    names = gathered.names
    opened, unreadable = _opened(list(names), axes)
    reasons = list(gathered.reasons)
    if mask_pattern is not None and (target_pattern or labels_pattern or target_channel):
        raise SpotlightError("a mask stands in place of target and labels. Give --mask and --input alone.")
    patterns = {"input": input_pattern, "target": mask_pattern or target_pattern, "labels": labels_pattern}
    if any(patterns.values()):
        pairs = _by_pattern(folder, names, opened, patterns)
    elif sum(_has_both(listed[0], target_channel) for listed in opened.values()) >= len(opened) / 2:
        pairs, reason = _by_channel(folder, opened, light, target_channel)
        reasons.append(reason)
    else:
        pairs, reason = _by_word(folder, names, opened)
        reasons.append(reason)
    if not pairs[0].input_channel:
        colour = {file for file, listed in opened.items() if light is None and _is_colour(listed[0])}
        pairs = [
            replace(
                pair,
                input_channel=LUMINANCE if pair.input in colour else light,  # type: ignore[arg-type]
                target_channel=target_channel or pair.target_channel,
            )
            for pair in pairs
        ]
        if any(pair.input in colour for pair in pairs):
            reasons.append(
                f"Inputs are colour images, of which the mean of red, green and blue ({LUMINANCE}) is taken; another "
                "channel is chosen with --input-channel."
            )
    used = {file for pair in pairs for file in (pair.input, pair.target, pair.labels)}
    left = [_shown(file, names) for file in opened if file not in used]
    if left:
        belong = "1 file belongs" if len(left) == 1 else f"{len(left)} files belong"
        reasons.append(f"{belong} to no pair: {', '.join(left[:5])}{', ...' if len(left) > 5 else ''}.")
    hints = [listed[0].hint for listed in opened.values() if listed[0].hint and listed[0].time is not None]
    if hints:
        reasons.append(f"Taken as time series of single planes: {counted(len(hints), 'file')}.{hints[0]}")
    reasons += [f"Cannot be read, and left out: {message}" for message in unreadable]
    pairs = [replace(pair, group=_group(names[pair.input], pair), axes=axes, voxel_size=voxel_size) for pair in pairs]
    pairs, said = flatten(pairs, target_plane)
    pairs, reason = _split(name_apart(pairs))
    return Proposal(pairs, [*reasons, *said, f"Proposed: {counted(len(pairs), 'pair')}.", reason])


def _split(pairs: list[Pair]) -> tuple[list[Pair], str]:
    """Split by groups or, if there is one field alone, by regions."""
    first = pairs[0]
    fields = {(pair.input, pair.scene, pair.time) for pair in pairs}
    if len(fields) == 1 and first.time is None:
        stack = read_selected(first.input, first.selection("input").only("scene", "axes"))
        size = first.voxel_size or stack.voxel_size
        planes = stack.shape[-3:-2] if "Z" in stack.axes and not isinstance(first.input_channel, tuple) else ()
        found = split_by_region(pairs, (*planes, *stack.shape[-2:]), size[-1] if size else None)
        if found is not None:
            return found
    return split_by_group(pairs)


def _is_colour(part: Part) -> bool:
    return part.channels is not None and part.channels == sample_names(len(part.channels))


def _has_both(part: Part, target_channel: str | None) -> bool:
    """Whether input and target may be channels of one file.

    Those of a colour camera are both only if it is stated, and channels none of which is transmitted light are targets
    of another file.
    """
    if part.channels is None:
        return False
    dyes = bool(part.channels) and all(roles_in(name) == {"target"} for name in part.channels)
    return target_channel is not None or not (_is_colour(part) or dyes)


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
    folder: Path, opened: dict[Path, list[Part]], input_channel: Channels, target_channel: str | None
) -> tuple[list[Pair], str]:
    """Pairs of channels of one file; a pair for each target."""
    pairs = []
    chosen: set[tuple[Channels, tuple[str, ...]]] = set()
    for file, listed in opened.items():
        for part in listed:
            if part.channels is not None:
                light, targets = _channels(folder, file, part.channels, input_channel, target_channel)
                chosen.add((light, targets))
                pairs += [_pair(part, file, (light, name), name if len(targets) > 1 else "") for name in targets]
    listed_channels = " or ".join(f"{a!r} and {', '.join(map(repr, b))}" for a, b in sorted(chosen, key=repr))
    return pairs, f"All channels are in one file: input and target are {listed_channels}."


def _channels(
    folder: Path, file: Path, names: tuple[str, ...], input_channel: Channels, target_channel: str | None
) -> tuple[Channels, tuple[str, ...]]:
    """The channels of the input, and those of the targets."""
    light = [name for name in names if "input" in roles_in(name)]
    fluorescent = [name for name in names if "input" not in roles_in(name)]
    targets: tuple[str, ...] = (target_channel,) if target_channel is not None else ()
    if input_channel is None and len(light) == 1:
        input_channel = light[0] if SEPARATOR not in light[0] else f"#{names.index(light[0])}"
    taken = input_channel if isinstance(input_channel, tuple) else (input_channel,)
    if not targets and light:
        targets = tuple(name for name in fluorescent if name not in taken)
        if len(targets) > 1 and len(set(targets)) < len(targets):
            targets = ()
    if input_channel is None or not targets:
        called = names or ("0", "1")
        first = light[0] if light else called[0]
        other = next((name for name in called if name != first), "1")
        raise SpotlightError(
            f"{file}: which channel is the input and which the target is not clear from their names "
            f"({', '.join(names) or 'none'}). State them with --input-channel and --target-channel, names or indices. "
            f"If {first!r} is transmitted light: {_command(folder, input_channel=first, target_channel=other)}"
        )
    return input_channel, targets


def _command(folder: Path, **options: str) -> str:
    """The command that looks at the folder again, with these options."""
    words = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    return shlex.join(["spotlight", "init", str(folder), *words])


def _by_word(folder: Path, names: Mapping[Path, str], opened: dict[Path, list[Part]]) -> tuple[list[Pair], str]:
    """Pairs of files whose paths differ in the words that tell the role."""
    rows, words, twice = _rows(names, opened)
    if not any(map(_is_whole, rows)):
        again = _rows(names, opened, bare_folders=True)
        rows, words, twice = again if any(map(_is_whole, again[0])) and not again[2] else (rows, words, twice)
    if twice:
        (file, role, other), hint = twice, _suggested(folder, names, opened)
        raise SpotlightError(
            f"{file}: seems to be the {role} of the same field as {other}. State which with --input and --target, "
            f"patterns such as 'bf/*.tif' in which * stands for what the names share.{hint}"
        )
    whole = [row for row in rows if _is_whole(row)]
    lights, dyes = ([(p, file) for row in rows for p, file in row.items() if role in p] for role in ROLES)
    if not whole and len(lights) == 1 and 0 < len(dict(dyes)) == len(dyes):  # one field needs no name
        whole = [dict(lights + dyes)]
    if not whole:
        some, hint = ", ".join(names[file] for file in list(opened)[:6]), _suggested(folder, names, opened)
        raise SpotlightError(
            f"{folder}: the names of the files show no pairs ({some}...). State them with --input and --target, "
            f"patterns such as 'bf/*.tif' in which * stands for what the names share.{hint}"
        )
    several = any(len(_targets(row)) > 1 for row in whole)
    pairs = [pair for row in whole for pair in _pairs_of_row(row, opened, several)]
    return (
        pairs,
        f"Input and target are in separate files, recognised by words in their paths ({', '.join(sorted(words))}).",
    )


def _rows(
    names: Mapping[Path, str], opened: Mapping[Path, object], bare_folders: bool = False
) -> tuple[list[Row], set[str], tuple[Path, str, Path] | None]:
    """Files by field and role, the words that tell the roles, and two files of one role of a field, if there are."""
    rows: dict[str, Row] = {}
    words: set[str] = set()
    twice = None
    for file in opened:
        role, key = role_of(names[file], bare_folders)
        if role:
            above, _, name = names[file].rpartition("/")
            word = names_in(name, role) or names_in(above, role)
            words.add(word.lower())
            row = rows.setdefault(key, {})
            place = f"target:{word}" if role == "target" else role
            twice = twice or ((file, role, row[place]) if place in row else None)
            row[place] = file
    return list(rows.values()), words, twice


def _is_whole(row: Row) -> bool:
    return "input" in row and bool(_targets(row))


def _targets(row: Row) -> dict[str, Path]:
    """The targets of a field, by their names."""
    return {place.partition(":")[2]: file for place, file in row.items() if place.startswith("target")}


def _suggested(folder: Path, names: Mapping[Path, str], opened: Mapping[Path, object]) -> str:
    """A command that would find pairs, if one can be made of the names; it begins with a space."""
    found = patterns_for([_shown(file, names) for file in opened])
    if found is None:
        return ""
    light, dye = reversed(found) if "input" in roles_in(found[1]) else found
    return f" If {light!r} are transmitted light: {_command(folder, input=light, target=dye)}"


def _shown(file: Path, names: Mapping[Path, str]) -> str:
    """What a pattern is compared with: the path from the folder, or the name of an image of plane files."""
    return names[file] if is_plane_files(file) else f"{names[file].rpartition('/')[0]}/{file.name}".removeprefix("/")


def _by_pattern(
    folder: Path, names: Mapping[Path, str], opened: dict[Path, list[Part]], patterns: dict[str, str | None]
) -> list[Pair]:
    if patterns["input"] is None or patterns["target"] is None:
        raise SpotlightError("--input goes together with --target or --mask; give both.")
    rows: dict[str, Row] = {}
    for role, pattern in patterns.items():
        if pattern is None:
            continue
        if pattern.count("*") != 1 or set("?[") & set(pattern):
            raise SpotlightError(
                f"a pattern needs one * for what the names share, and no ? or [. Received: {pattern!r}."
            )
        shape = re.compile("(.+)".join(re.escape(piece) for piece in pattern.split("*")))
        for file in opened:
            fit = shape.fullmatch(_shown(file, names))
            if fit:
                rows.setdefault(fit[1], {})[role] = file
    whole = [row for row in rows.values() if {"input", "target"} <= set(row)]
    if not whole:
        raise SpotlightError(
            f"{folder}: no two files fit {patterns['input']!r} and {patterns['target']!r}."
            f"{_suggested(folder, names, opened)}"
        )
    return [pair for row in whole for pair in _pairs_of_row(row, opened)]


def _pairs_of_row(row: Row, opened: dict[Path, list[Part]], several: bool = False) -> list[Pair]:
    """Pairs of one field: one for each image of the input and each target; of each channel of a target with several."""
    pairs = []
    for name, file in _targets(row).items():
        dyes = opened[file][0].channels or ()
        for part in opened[row["input"]]:
            pair = replace(_pair(part, file, (None, None), name if several else ""), labels=row.get("labels"))
            if file != row["input"] and len(set(dyes)) == len(dyes) > 1:
                pairs += [replace(pair, target_channel=dye, target_name=_file_name(dye)) for dye in dyes]
            else:
                pairs.append(pair)
    return pairs


def _pair(part: Part, target: Path, channels: tuple[Channels, str | None], name: str = "") -> Pair:
    return Pair(
        part.name,
        part.path,
        target,
        input_channel=channels[0],  # type: ignore[arg-type]
        target_channel=channels[1],
        scene=part.scene,
        time=part.time,
        target_name=_file_name(name),
    )


def _file_name(name: str) -> str:
    """The name of a target, without what names of columns and files cannot have."""
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]+', "-", name)


def _group(path: str, pair: Pair) -> str:
    """The folder that a file lies in, if it is not one of a channel; the file, if it holds several fields."""
    above = [name for name in path.split("/")[:-1] if not roles_in(name)]
    several = [pair.input.name] if pair.scene is not None or pair.time is not None else []
    return "/".join([*above, *several])
