"""What a mask is like, and what is wrong with it: values, place, and whether there is something to learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.images.joining import separate
from spotlight.images.normalise import mean_and_std
from spotlight.pairs.check_pairs import dead_planes, is_shifted, likeness, of_voxel_size, pictures, saturated
from spotlight.pairs.findings import CheckSettings, Finding, PairReport
from spotlight.pairs.pair import Listed, Pair
from spotlight.pairs.registration import find_shift
from spotlight.pairs.table import read_table
from spotlight.quoting import visible

UNKNOWN = 255
"""Value of a mask where nothing is annotated, unless settings of the task say otherwise."""
FAINT = 0.1
"""Contrast of a structure, in standard deviations around it, below which the image does not show it."""
MOST_SHOWN = 6


def names_masks(source: Listed) -> bool:
    """Whether a source is a manifest with columns of masks and none of a target."""
    if not isinstance(source, (str, Path)) or not Path(source).is_file():
        return False
    kinds = {name.partition(":")[0] for name in read_table(source)[0]}
    return "mask" in kinds and "target" not in kinds


def check_mask(pair: Pair, settings: CheckSettings) -> PairReport:
    """Read an input and its mask, and look at them."""
    figures: dict[str, Any] = {"pair": pair.name, "split": pair.split, "group": pair.group}
    try:
        image = separate(pair.read_input())[0]
        mask = pair.read_mask(image)
        mean_and_std(image.data, name=image.source)
        digest = pair.digest()
    except SpotlightError as error:
        finding = Finding(pair.name, "error", "unusable", visible(str(error)), "Correct it, or leave the pair out.")
        return PairReport(figures, [finding], "", None, {})
    values = np.unique(mask.data)
    known = mask.data != UNKNOWN
    inside = (mask.data == 1) & known
    annotated, there = int(np.count_nonzero(known)), int(np.count_nonzero(inside))
    figures |= {
        "axes": image.axes,
        "shape": " x ".join(map(str, image.shape)),
        "voxel_size": " x ".join(f"{v:.4g}" for v in image.voxel_size or ()),
        "foreground_fraction": there / annotated if annotated else float("nan"),
        "annotated_fraction": annotated / mask.data.size,
        "contrast": _contrast(image.data, inside, known),
        "input_min": float(image.data.min()),
        "input_mean": float(image.data.mean(dtype=np.float64)),
        "input_max": float(image.data.max()),
        "input_saturated": saturated(image.data),
        "input_dead_planes": dead_planes(image),
    }
    findings = [*_of_values(pair, values), *of_voxel_size(pair, figures["voxel_size"])]
    findings += _of_image(pair, figures, settings)
    if 0 < there < annotated:
        shift = find_shift(image.data, inside.astype(np.float32))
        figures |= {"shift_y_px": shift.y, "shift_x_px": shift.x, "shift_uncertainty_px": shift.uncertainty}
        if is_shifted(shift, settings):
            text = f"the mask lies {shift.y:+.1f} pixels in Y and {shift.x:+.1f} in X from the input."
            remedy = "Check that the files belong together, and that neither was cropped or flipped."
            severity = "error" if shift.length > settings.large_shift_px else "warning"
            findings.append(Finding(pair.name, severity, "registration", text, remedy))  # type: ignore[arg-type]
    shown = Stack(inside.astype(np.float32), image.axes, image.voxel_size)
    return PairReport(figures, findings, digest, likeness(image, shown), pictures(image, shown, inside))


def find_unlearnable(pairs: Sequence[Pair], reports: Sequence[PairReport]) -> list[Finding]:
    """Structures of which no mask to learn from has a voxel."""
    found = []
    for name in dict.fromkeys(pair.target_name for pair in pairs):
        shares = [
            report.figures.get("foreground_fraction", 0.0)
            for pair, report in zip(pairs, reports, strict=True)
            if pair.target_name == name and pair.split in ("train", "")
        ]
        if not any(share > 0 for share in shares):
            called, what = name or "mask", "has no voxel in any mask" if shares else "has no mask"
            text = f"the structure {called!r} {what} of the split train."
            found.append(Finding(called, "error", "nothing to learn", text, "Annotate some, or leave its column out."))
    return found


def _contrast(image: NDArray[Any], inside: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    """Mean on the structure less that beside it, in standard deviations of what is beside it; NaN without either."""
    beside = image[known & ~inside]
    if not inside.any() or not beside.size or beside.std() == 0:
        return float("nan")
    return float((image[inside].mean(dtype=np.float64) - beside.mean(dtype=np.float64)) / beside.std(dtype=np.float64))


def _of_values(pair: Pair, values: NDArray[Any]) -> list[Finding]:
    found = values.tolist()
    if set(found) <= {0, 1, UNKNOWN}:
        if found == [0, UNKNOWN]:
            text = f"has the values 0 and {UNKNOWN}, of which {UNKNOWN} means not annotated."
            remedy = "If it means the structure, set task.foreground to [255] and task.not_annotated to []."
            return [Finding(pair.name, "warning", "values", text, remedy)]
        return []
    shown = ", ".join(f"{value:g}" for value in found[:MOST_SHOWN])
    more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    remedy = (
        "Write 1 on the structure, 0 beside it, 255 where nothing is known; or state what they mean (task.foreground)."
    )
    return [Finding(pair.name, "error", "values", f"has the values {shown}{more}, not 0, 1 and 255.", remedy)]


def _of_image(pair: Pair, figures: dict[str, Any], settings: CheckSettings) -> list[Finding]:
    found = []
    if figures["input_saturated"] > settings.saturated:
        text = f"{100 * figures['input_saturated']:.2g} % of the input's voxels are at the top."
        found.append(Finding(pair.name, "warning", "saturation", text, "Expose shorter."))
    if figures["input_dead_planes"]:
        text = f"{figures['input_dead_planes']} planes of the input hold no structure."
        found.append(Finding(pair.name, "warning", "dead planes", text, "Crop them with a region."))
    if abs(figures["contrast"]) < FAINT:
        text = f"the structure differs from what is beside it by {figures['contrast']:+.2f} standard deviations."
        remedy = "Look at the pictures: the mask may be of another field, or shifted."
        found.append(Finding(pair.name, "warning", "contrast", text, remedy))
    if figures["annotated_fraction"] == 0:
        found.append(
            Finding(pair.name, "error", "annotation", "nothing is annotated.", "Write absent in place of the file.")
        )
    return found
