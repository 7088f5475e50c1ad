"""What a model accepts: axes, channel, plane, voxel size, modality and intensities like those it was trained on."""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.images import Selection, Stack, as_stack
from spotlight.images.joining import is_plane, parse_channels, take
from spotlight.images.modality import MODALITIES, modality_of, parse_modality
from spotlight.images.normalise import Scale
from spotlight.images.scaling import FIXED
from spotlight.images.selection import Channels
from spotlight.images.texture import texture
from spotlight.images.units import format_size
from spotlight.model import ChannelDescription, InputDescription

log = logging.getLogger("spotlight")

FAR = 4
"""A share is doubted when it is so many times those of all training stacks, or so much less."""
TINY = 1e-3
"""Shares that differ by less are alike, whatever their ratio."""
SKEW = 3
"""Distance of a skewness from those of all training stacks, and half of theirs, from which on it is doubted."""
SATURATED = 0.005
"""Share of saturated pixels up to which there is no doubt."""
MOST_NAMED = 5
"""Inputs that are named in a warning, after the first."""


def accept(
    expected: InputDescription,
    name: str,
    image: Stack | NDArray[Any],
    chosen: Selection,
    any_voxel_size: bool,
) -> Stack:
    """Turn an input into a model's channels, with its axes and a voxel size that fits, or say why not.

    Parameters
    ----------
    expected : InputDescription
        What the model was trained on.
    name : str
        The model's, for messages.
    image : Stack or ndarray
        The input.
    chosen : Selection
        What is taken of it, and what the user states of it.
    any_voxel_size : bool
        Accept a voxel size unlike that of the training stacks.

    Raises
    ------
    SpotlightError
        If the input is not what the model was trained for.
    """
    plane, voxel_size = chosen.plane, chosen.voxel_size
    several, in_order = len(expected.channels) > 1, isinstance(image, np.ndarray)
    wanted = f"C{expected.axes}" if several else expected.axes
    if plane is not None and expected.planes != "one":
        raise SpotlightError(f"model {name} sees all planes of a stack together. Leave plane={plane} out.")
    if isinstance(image, np.ndarray) and voxel_size is None and expected.voxel_size is not None:
        voxel_size = tuple(sum(bounds) / 2 for bounds in expected.voxel_size)
        warnings.warn(
            f"an array without a voxel size is taken to have that of the training stacks, {format_size(voxel_size)}. "
            "From version 0.3 on it must be stated: voxel_size=.",
            FutureWarning,
            stacklevel=4,
        )
    axes = chosen.axes or (wanted if several and in_order else None)
    stack = as_stack(image, axes, voxel_size, sized=expected.voxel_size is not None).timepoint(chosen.time)
    stated = parse_channels(chosen.channel)
    stack = _channels(expected, name, stack, stated, in_order) if several else _channel(expected, name, stack, stated)
    if expected.planes == "one":
        stack = _plane(name, stack, plane)
    if stack.axes != wanted:
        raise SpotlightError(
            f"{stack.source}: has axes {stack.axes} {stack.shape}, but model {name} stains {wanted} "
            f"stacks. Give such a stack, or use a model trained on stacks like this one.{stack.hint}"
        )
    stack.load_if_small()
    stack.require_finite()
    if not any_voxel_size:
        _require_voxel_size(expected, name, stack)
    return stack


def _channel(expected: InputDescription, name: str, stack: Stack, stated: Channels) -> Stack:
    """Take the channel that is stated, is named as in training, or is the only one."""
    if isinstance(stated, tuple):
        raise SpotlightError(f"model {name} takes one channel. Received: {', '.join(map(repr, stated))}.")
    if stated is None and expected.channel and stack.has_channel(expected.channel):
        stated = expected.channel
    elif stated is None and expected.channel and len(stack.channels) == 1:
        raise SpotlightError(
            f"{stack.source}: its channel is named {stack.channels[0]!r}, but model {name} was trained on "
            f"{expected.channel!r}. If it is the same, say so with channel={stack.channels[0]!r} (--channel)."
        )
    return take(stack, stated)


def _channels(expected: InputDescription, name: str, stack: Stack, stated: Channels, in_order: bool) -> Stack:
    """Take the channels that are stated, or are named as in training; an array has them in the model's order.

    Channels with the model's names are put in its order; others stay in the order in which they are stated.
    """
    names = expected.names
    if stated is None and "C" in stack.axes and (stack.channels == names or in_order):
        if len(names) == stack.shape[0]:
            return stack
    elif stated is None and all(one and stack.has_channel(one) for one in names):
        return take(stack, names)
    given = stated if isinstance(stated, tuple) else () if stated is None else (stated,)
    if len(given) != len(names):
        known = ", ".join(repr(one) if one else "one without a name" for one in names)
        planes = ", planes of the files that it was trained on" if any(map(is_plane, names)) else ""
        here = ", ".join(map(repr, stack.channels)) or f"{stack.axes} {stack.shape} without names of channels"
        received = f"Received: {', '.join(map(repr, given))}" if given else f"Found: {here}"
        raise SpotlightError(
            f"{stack.source}: model {name} takes {len(names)} channels: {known}{planes}. {received}. State which "
            "channels of this file they are, in that order: channel=(..., ...) (Python), or --channel once for each."
        )
    found = take(stack, stated)
    return take(found, names) if sorted(found.channels) == sorted(set(names)) else found


def _plane(name: str, stack: Stack, plane: int | None) -> Stack:
    count = stack.shape[0] if stack.axes == "ZYX" else 1
    if plane is None and count > 1:
        raise SpotlightError(
            f"{stack.source}: has {count} planes, but model {name} stains one at a time; say which, 0 to "
            f"{count - 1}, with plane= (Python) or --plane."
        )
    if not 0 <= (plane or 0) < count:
        raise SpotlightError(f"{stack.source}: has no plane {plane}; there are 0 to {count - 1}.")
    return stack.plane(plane or 0)


def find_doubts(expected: InputDescription, prepared: NDArray[np.float32]) -> list[str]:
    """Say in which ways an input is unlike those that a network was trained on, as far as the network sees it.

    Parameters
    ----------
    expected : InputDescription
        What the network was trained on.
    prepared : (Z, Y, X) or (Y, X) ndarray
        The normalised input on the network's grid; of several channels, (C, ...).

    Returns
    -------
    list of str
        Parts of a sentence after "it has"; empty if nothing is in doubt. Where the input is normalised by its own
        values, neither its brightness nor its contrast matters, and none is doubted.
    """
    fixed = FIXED.get(expected.normalisation)
    if not expected.further_channels:
        return _doubts_of(expected, prepared, fixed)
    return [
        f"in the channel {channel.channel or number} {doubt}"
        for number, (channel, values) in enumerate(zip(expected.channels, prepared, strict=True))
        for doubt in _doubts_of(channel, values, fixed)
    ]


def _doubts_of(expected: ChannelDescription, prepared: NDArray[np.float32], fixed: Scale | None) -> list[str]:
    found = texture(prepared)
    doubts = []
    if fixed is not None:
        mean, spread = found.mean * fixed.width + fixed.center, found.spread * fixed.width
        if fixed.logarithm:  # as if brightness were distributed log-normally
            mean, variance = math.exp(mean + spread**2 / 2), spread**2
            spread = mean * math.sqrt(math.expm1(variance))
        if expected.mean is not None and _is_far(mean, expected.mean):
            doubts.append(_said("a mean intensity", mean, expected.mean))
        if expected.contrast is not None and mean > 0 and _is_far(spread / mean, expected.contrast):
            doubts.append(_said("a standard deviation over mean", spread / mean, expected.contrast))
    shares = zip(found.octaves, expected.octaves or (), strict=False)  # a small image has fewer
    far = [(2**octave, share, trained) for octave, (share, trained) in enumerate(shares) if _is_far(share, trained)]
    if far:
        # Of several the farthest one says most.
        size, share, trained = max(far, key=lambda one: abs(np.log((one[1] + TINY) / (np.mean(one[2]) + TINY))))
        doubts.append(_said(f"a share of details of {size} pixel{'s' * (size > 1)}", share, trained))
    if expected.skewness is not None:
        low, high = expected.skewness
        if not low - SKEW - abs(low) / 2 <= found.skewness <= high + SKEW + abs(high) / 2:
            doubts.append(_said("a skewness", found.skewness, expected.skewness))
    if expected.saturated is not None and found.saturated > max(SATURATED, FAR * expected.saturated):
        doubts.append(_said("a share of saturated pixels", found.saturated, (0, expected.saturated)))
    return doubts


def _is_far(value: float, trained: tuple[float, float]) -> bool:
    return not trained[0] / FAR - TINY <= value <= trained[1] * FAR + TINY


def _said(what: str, value: float, trained: tuple[float, float]) -> str:
    low, high = trained
    return f"{what} of {value:.3g} (training: {low:.3g} to {high:.3g})"


def tell_doubts(name: str, doubts: Mapping[str, Sequence[str]]) -> None:
    """Warn of inputs that are unlike those that a model was trained on: once for a run, with their names.

    Parameters
    ----------
    name : str
        The model's.
    doubts : mapping of str to sequence of str
        What `find_doubts` says of every input of the run, by its name.
    """
    doubted = [source for source, found in doubts.items() if found]
    if not doubted:
        return
    first, *others = doubted
    named = ", ".join(others[:MOST_NAMED])
    if len(others) > MOST_NAMED:
        named += f" and {len(others) - MOST_NAMED} more"
    more = f" In doubt, too, of {len(doubts)} inputs: {named}." if others else ""
    log.warning(
        "%s: is unlike what model %s was trained on: it has %s.%s Look at such stains before you use them.",
        first,
        name,
        " and ".join(doubts[first]),
        more,
    )


def _require_voxel_size(expected: InputDescription, name: str, stack: Stack) -> None:
    if expected.voxel_size is None:
        return
    tolerance = expected.voxel_size_tolerance
    for size, (low, high) in zip(stack.require_voxel_size(), expected.voxel_size, strict=True):
        if not low * (1 - tolerance) <= size <= high * (1 + tolerance):
            trained = " x ".join(f"{a:g}" if a == b else f"{a:g} to {b:g}" for a, b in expected.voxel_size)
            found = " x ".join(f"{v:g}" for v in stack.require_voxel_size())
            raise SpotlightError(
                f"{stack.source}: has voxels of {found} µm, but model {name} was trained on {trained} µm "
                f"({expected.axes}, tolerance {100 * tolerance:g} %). Use a model for this magnification, or "
                "accept it with any_voxel_size (--any-voxel-size)."
            )


def require_extent(
    least: tuple[int, ...], expected: InputDescription, name: str, stack: Stack, shape: tuple[int, ...]
) -> None:
    """Raise a `SpotlightError` if a stack has fewer voxels than `least` along an axis of the network's grid."""
    grid = "" if expected.grid == "native" else f" on the network's grid ({expected.grid:g} µm)"
    for axis, size, needed in zip(stack.spatial_axes, shape, least, strict=True):
        if size < needed:
            raise SpotlightError(
                f"{stack.source}: is too thin: {size} voxels along {axis}{grid}, but model {name} needs at least "
                f"{needed}."
            )


def modality_of_stack(image: Stack | NDArray[Any], modality: str | None) -> str:
    """The modality of a stack: what is stated, or what the names of its channels say.

    Raises
    ------
    SpotlightError
        If neither tells.
    """
    stack = image if isinstance(image, Stack) else None
    found = parse_modality(modality, "modality") if modality else stack and modality_of(stack)
    if not found:
        where = "array" if stack is None else stack.source
        raise SpotlightError(
            f"{where}: its modality is needed, but the name of its channel does not tell it. State one of "
            f"{', '.join(MODALITIES)} with modality= (Python) or --modality."
        )
    return found
