"""Checks of pairs against each other: leaks between splits, duplicates, and pairs that are unlike the others."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spotlight.addresses import Address
from spotlight.images.layouts import find_plane_files
from spotlight.pairs.findings import CheckSettings, Finding, PairReport, Severity
from spotlight.pairs.gathering import describe
from spotlight.pairs.pair import Pair


def find_leaks(pairs: Sequence[Pair]) -> list[Finding]:
    """Groups on both sides of a split."""
    found = []
    splits_of: dict[str, set[str]] = {}
    for pair in pairs:
        splits_of.setdefault(pair.group, set()).add(pair.split)
    for group, splits in sorted(splits_of.items()):
        if group and "test" in splits and len(splits) > 1:
            text = (
                f"the group {group!r} is in {' and '.join(sorted(splits))}: test scores are not those of a new group."
            )
            found.append(Finding(group, "error", "leak", text, "Put every group into one split."))
    return found


def find_planes(pairs: Sequence[Pair]) -> list[Finding]:
    """Files that are planes of one stack, or timepoints, and stand in several splits; one finding for all."""
    rows: dict[Path, list[Pair]] = {}
    for pair in pairs:
        if not isinstance(pair.input, Address):
            rows.setdefault(pair.input.absolute(), []).append(pair)
    torn = [
        image
        for anchor in {file.anchor for file in rows}
        for image in find_plane_files([file for file in rows if file.anchor == anchor], Path(anchor))[0]
        if len({pair.split for file in image.files for pair in rows[file]}) > 1
    ]
    if not torn:
        return []
    text = f"shows a part of an image, of which other parts are in another split. {describe(torn)}"
    remedy = "Make stacks of them (spotlight init, or spotlight stack-planes), or put all parts of one into one split."
    # What a number behind a t means is less certain.
    severity: Severity = "error" if any("Z" in image.axes for image in torn) else "warning"
    return [Finding(rows[torn[0].files[0]][0].name, severity, "planes", text, remedy)]


def find_duplicates(pairs: Sequence[Pair], reports: Sequence[PairReport], settings: CheckSettings) -> list[Finding]:
    """Pairs that show the same as an earlier one: the same files, its target in another split, or both images alike."""
    usable = [(pair, report) for pair, report in zip(pairs, reports, strict=True) if report.likeness is not None]
    if not usable:
        return []
    inputs, targets = (np.stack([r.likeness[n] for _, r in usable if r.likeness is not None]) for n in range(2))
    by_digest: dict[str, int] = {}
    by_target: dict[tuple[Any, ...], dict[str, int]] = {}
    found = []
    for number, (pair, report) in enumerate(usable):
        splits = by_target.setdefault(_shown(pair), {})
        elsewhere = [other for split, other in splits.items() if split != pair.split]
        alike = np.minimum(inputs[:number] @ inputs[number], targets[:number] @ targets[number]) >= settings.similarity
        twins = {
            "is": [by_digest[report.digest]] if report.digest in by_digest else [],
            "has the target of": elsewhere,
            "looks like": np.flatnonzero(alike).tolist(),
        }
        text = next((text for text, others in twins.items() if others), None)
        if text is not None:
            second = usable[twins[text][0]][0]
            apart = pair.split != second.split
            text = f"{text} {second.name} (splits {pair.split!r} and {second.split!r})."
            remedy = "Put both into one split." if apart else "Keep one of them."
            found.append(Finding(pair.name, "error" if apart else "warning", "duplicate", text, remedy))
        by_digest.setdefault(report.digest, number)
        splits.setdefault(pair.split, number)
    return found


def _shown(pair: Pair) -> tuple[Any, ...]:
    return (pair.target.absolute(), pair.target_channel, pair.scene, pair.time, pair.region)


def find_strangers(reports: Sequence[PairReport], settings: CheckSettings) -> list[Finding]:
    """Pairs unlike the others in voxel size or focus."""
    usable = [report for report in reports if "shape" in report.figures]
    found = []
    sizes = [report.figures["voxel_size"] for report in usable]
    common = Counter(sizes).most_common(1)[0][0] if sizes else ""
    for report in usable:
        name, size = report.figures["pair"], report.figures["voxel_size"]
        if size != common:
            own, usual = (f"voxels of {v} µm" if v else "no stated voxel size" for v in (size, common))
            text = f"has {own}, most others {usual}."
            found.append(
                Finding(name, "warning", "voxel size", text, "Check that it is right; train on one magnification.")
            )
    offsets = {r.figures["pair"]: r.figures["focus_offset_um"] for r in usable if "focus_offset_um" in r.figures}
    middle = float(np.median(list(offsets.values()))) if len(offsets) >= 3 else None
    for name, offset in offsets.items():
        if middle is not None and abs(offset - middle) > settings.focus_um:
            text = f"input and target are {offset - middle:+.1f} µm further apart in focus than in the other pairs."
            found.append(Finding(name, "warning", "focus", text, "Check the Z offset between the channels."))
    return found
