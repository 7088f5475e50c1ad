"""What one pair of input and target is like, and what is wrong with it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spotlight.errors import SpotlightError
from spotlight.foreground import find_foreground
from spotlight.images import Stack
from spotlight.images.joining import separate
from spotlight.images.normalise import mean_and_std
from spotlight.images.pieces import doubt_pieces
from spotlight.images.units import impossible_size, unusual_size
from spotlight.pairs.findings import CheckSettings, Finding, PairReport, Severity
from spotlight.pairs.pair import Pair
from spotlight.pairs.registration import Shift, find_shift
from spotlight.quoting import visible


def check_pair(pair: Pair, settings: CheckSettings) -> PairReport:
    """Read one pair and look at it."""
    figures: dict[str, Any] = {"pair": pair.name, "split": pair.split, "group": pair.group}
    try:
        image, target = pair.read_both()
        own = pair.read_foreground(target)
        labels = pair.read_labels(target)
        in_pieces = "" if labels is None else doubt_pieces(labels)
        mask = None if own is None else own.data > 0
        foreground = find_foreground(target.data, settings.foreground, mask, name=target.source)
        lights = separate(image)
        for light in lights:
            mean_and_std(light.data, name=light.source)
        digest = pair.digest()
    except SpotlightError as error:
        finding = Finding(pair.name, "error", "unusable", visible(str(error)), "Correct it, or leave the pair out.")
        return PairReport(figures, [finding], "", None, {})
    image, *further = lights
    titles = {"input": image}
    titles |= {f"input:{(*one.channels, number)[0]}": one for number, one in enumerate(further, start=1)}
    shift = find_shift(image.data, target.data)
    inside = target.data >= foreground.threshold if mask is None else mask
    figures |= {
        "axes": target.axes,
        "shape": " x ".join(map(str, target.shape)),
        "voxel_size": " x ".join(f"{v:.4g}" for v in target.voxel_size or ()),
        "foreground_fraction": foreground.fraction,
        "threshold": foreground.threshold,
        "shift_y_px": shift.y,
        "shift_x_px": shift.x,
        "shift_uncertainty_px": shift.uncertainty,
    }
    for name, stack in (*titles.items(), ("target", target)):
        figures |= {
            f"{name}_min": float(stack.data.min()),
            f"{name}_mean": float(stack.data.mean(dtype=np.float64)),
            f"{name}_max": float(stack.data.max()),
            f"{name}_saturated": saturated(stack.data),
            f"{name}_dead_planes": dead_planes(stack),
        }
    for name, light in titles.items():
        figures[f"{name}_illumination"] = _illumination(light)
    for name, light in list(titles.items())[1:]:
        found = find_shift(light.data, target.data)
        figures |= {f"{name}_shift_y_px": found.y, f"{name}_shift_x_px": found.x}
        figures[f"{name}_shift_uncertainty_px"] = found.uncertainty
    if target.axes == "ZYX" and target.voxel_size is not None:
        figures["focus_offset_um"] = _focus_offset(image, inside, target.voxel_size[0])
    findings = [*_of_foreground(pair, foreground.fraction, foreground.warnings), *_of_figures(pair, figures, settings)]
    if in_pieces:
        findings.append(Finding(pair.name, "warning", "labels", in_pieces, "Look at the labels; number their pieces."))
    return PairReport(figures, findings, digest, likeness(image, target), pictures(image, target, inside))


def is_shifted(shift: Shift, settings: CheckSettings) -> bool:
    """Whether a target surely lies elsewhere than its input."""
    certain = shift.uncertainty <= max(settings.shift_uncertainty_px, shift.length / 5)
    return certain and shift.length - 1.25 * shift.uncertainty > settings.shift_px


def _of_foreground(pair: Pair, fraction: float, warnings: tuple[str, ...]) -> list[Finding]:
    remedy = "Look at the mask; choose another threshold (preparation.foreground) or give a mask file."
    severity: Severity = "error" if fraction == 0 else "warning"
    return [Finding(pair.name, severity, "foreground", warning, remedy) for warning in warnings]


def _of_figures(pair: Pair, figures: dict[str, Any], settings: CheckSettings) -> list[Finding]:
    found: list[Finding] = []

    def say(severity: Severity, subject: str, text: str, remedy: str) -> None:
        found.append(Finding(pair.name, severity, subject, text, remedy))

    inputs = {  # how they begin in the columns, and what to call them
        key.removesuffix("_illumination"): key.removesuffix("_illumination").replace("input:", "input channel ")
        for key in figures
        if key.endswith("_illumination")
    }
    for name, called in inputs.items():
        lead = "" if name == "input" else f"{name}_"
        shift = Shift(*(figures[f"{lead}shift_{what}_px"] for what in ("y", "x", "uncertainty")))
        if is_shifted(shift, settings):
            say(
                "error" if shift.length > settings.large_shift_px else "warning",
                "registration",
                f"the target lies {shift.y:+.1f} pixels in Y and {shift.x:+.1f} in X from the {called}.",
                "Register the channels (chromatic shift, a stage that moved), or check that the files belong together.",
            )
    found += of_voxel_size(pair, figures["voxel_size"])
    for name, called in {**inputs, "target": "target"}.items():
        if figures[f"{name}_saturated"] > settings.saturated:
            share = 100 * figures[f"{name}_saturated"]
            say("warning", "saturation", f"{share:.2g} % of the {called}'s voxels are at the top.", "Expose shorter.")
        if figures[f"{name}_dead_planes"]:
            text = f"{figures[f'{name}_dead_planes']} planes of the {called} hold no structure."
            say("warning", "dead planes", text, "Crop them with a region, or acquire the stack again.")
    for name, called in inputs.items():
        share = figures[f"{name}_illumination"]
        if share < settings.illumination:
            text = f"the {called}'s darkest region has {100 * share:.0f} % of its brightest's light."
            say("warning", "illumination", text, "Correct the flat field, or align the condenser.")
    return found


def of_voxel_size(pair: Pair, stated: str) -> list[Finding]:
    """Say what is wrong with a voxel size, as the table has it."""
    if not stated:
        remedy = "Give a voxel_size column, or train on the grid 'native'."
        return [Finding(pair.name, "note", "voxel size", "is not stated.", remedy)]
    size = tuple(map(float, stated.split(" x ")))
    wrong = impossible_size(size)
    if doubt := wrong or unusual_size(size):
        remedy = "If it is wrong, state the right one in a voxel_size column."
        return [Finding(pair.name, "error" if wrong else "warning", "voxel size", f"{doubt}.", remedy)]
    return []


def saturated(data: NDArray[Any]) -> float:
    """Share of voxels at the type's greatest value, or that of a camera of 10, 12 or 14 bit."""
    if data.dtype.kind not in "iu":
        return 0.0
    top = int(data.max())
    tops = {np.iinfo(data.dtype).max, *(2**bits - 1 for bits in (10, 12, 14))}
    return float(np.count_nonzero(data == top) / data.size) if top in tops else 0.0


def dead_planes(stack: Stack) -> int:
    """Planes whose contrast is under a fiftieth of the median plane's."""
    spread = stack.data.reshape(-1, stack.shape[-2] * stack.shape[-1]).std(1, dtype=np.float64)
    return int(np.count_nonzero(spread <= 0.02 * np.median(spread))) if len(spread) > 1 else 0


def _illumination(image: Stack) -> float:
    """Darkest over brightest region, of the mean along Z blurred by an eighth of the field."""
    mean = image.data.reshape(-1, *image.shape[-2:]).mean(0, dtype=np.float64)
    smooth = ndimage.gaussian_filter(mean, [n / 8 for n in mean.shape])
    low, high = np.percentile(smooth, [1, 99])
    return float(low / high) if high > 0 and low >= 0 else 1.0


def _focus_offset(image: Stack, inside: NDArray[np.bool_], step: float) -> float:
    """Height of the foreground's centre over that of the input's fine contrast, in µm, by the step in Z.

    It is not nil where both are in focus, but the same for all pairs of an experiment.
    """
    fine = np.array([np.square(p - ndimage.gaussian_filter(p, 3)).mean() for p in image.data.astype(np.float32)])
    centers = [_center(profile) for profile in (inside.mean((1, 2)), fine - fine.min())]
    return (centers[0] - centers[1]) * step


def _center(profile: NDArray[Any]) -> float:
    return float((profile * np.arange(len(profile))).sum() / max(float(profile.sum()), 1e-12))


def likeness(image: Stack, target: Stack) -> NDArray[np.float32]:
    """Pictures of input and target of 32 x 32 values without what varies slowly, each of mean 0 and norm 1."""
    pictures = []
    for stack in (image, target):
        mean = stack.data.reshape(-1, *stack.shape[-2:]).mean(0, dtype=np.float64)
        smooth = ndimage.gaussian_filter(mean, [n / 64 for n in mean.shape])
        small = ndimage.zoom(smooth, [32 / n for n in mean.shape], order=1)
        flat = small - ndimage.gaussian_filter(small, 4)
        flat -= flat.mean()
        pictures.append((flat / max(float(np.linalg.norm(flat)), 1e-12)).ravel())
    return np.asarray(pictures, np.float32)


def pictures(image: Stack, target: Stack, inside: NDArray[np.bool_]) -> dict[str, NDArray[np.uint8]]:
    """Input, target and mask in the plane with most foreground, at most 256 pixels wide."""
    plane = int(np.argmax(inside.mean((1, 2)))) if target.axes == "ZYX" else ...
    step = -(-max(target.shape[-2:]) // 256)

    def gray(data: NDArray[Any]) -> NDArray[np.uint8]:
        shown = data[plane][::step, ::step].astype(np.float32)
        low, high = np.percentile(shown, [1, 99.8])
        return np.asarray(255 * np.clip((shown - low) / max(high - low, 1e-12), 0, 1), np.uint8)

    return {
        "input": gray(image.data),
        "target": gray(target.data),
        # Noise would cover the picture with outlines of single pixels.
        "mask": ndimage.median_filter(inside[plane], 5)[::step, ::step].astype(np.uint8),
    }
