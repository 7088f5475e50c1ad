"""`parts`: every image of a file at every timepoint, and what a person should be told of them."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spotlight.addresses import located
from spotlight.images.formats import stem
from spotlight.images.reading import choose, in_order, scenes
from spotlight.quoting import safe_name

log = logging.getLogger("spotlight")


@dataclass(frozen=True)
class Part:
    """One image of a file at one timepoint.

    Attributes
    ----------
    name : str
        The file's `stem`, with the scene's name and ``tN`` where there are several.
    path : Path
        The file.
    scene : str or None
        What to give to `read`: the image's name or, where several have it, ``#`` and its index; None if there is one.
    time : int or None
        What to give to `read`; None where there is just one.
    channels : tuple of str or None
        Names of the channels, empty if they have none; None if there is only one channel.
    fault : str
        Why the file could not be listed, and the part stands for all of it; empty if nothing was wrong.
    channel, axes, voxel_size, modality : optional
        What a manifest states of it.
    hint : str
        What timepoints or channels may be instead; see `spotlight.images.planes.planes_hint`.
    """

    name: str
    path: Path
    scene: str | None
    time: int | None
    channels: tuple[str, ...] | None
    fault: str = ""
    channel: str | None = None
    axes: str | None = None
    voxel_size: tuple[float, ...] | None = None
    modality: str | None = None
    hint: str = ""


def parts(
    path: str | Path,
    scene: str | int | None = None,
    time: int | None = None,
    axes: str | None = None,
) -> list[Part]:
    """List every image that starts in a file at every timepoint, or those of one scene or time.

    For the arguments and errors see `read`.
    """
    path = located(path)
    found = scenes(path)
    chosen = [item for item in found if item.starts_here] if scene is None else [choose(path, found, scene)]
    uses = Counter(item.name for item in found)
    numbers = {id(item): number for number, item in enumerate(found)}
    listed = []
    for item in chosen:
        number = numbers[id(item)]
        unique = uses[item.name] == 1
        which = None if len(found) == 1 else item.name if unique else f"#{number}"
        called = safe_name(f"-{item.name if unique else number}").replace("/", "-") if which is not None else ""
        stack = in_order(path, item.load(), axes)
        channels = stack.channels if "C" in stack.axes else None
        if "T" in stack.axes:
            times = range(stack.shape[0]) if time is None else [time]
            name = f"{stem(path)}{called}"
            listed += [Part(f"{name}-t{t}", path, which, t, channels, hint=stack.hint) for t in times]
        else:
            listed.append(Part(f"{stem(path)}{called}", path, which, time, channels, hint=stack.hint))
    return listed


def count_images(path: str | Path, axes: str | None = None) -> int:
    """Number of images and timepoints in a file; one where it does not state its axes.

    For the arguments and errors see `read`.
    """
    found = scenes(path)
    facts = found[0].load()
    return len(parts(path, axes=axes)) if len(found) > 1 or axes or facts.has_axes else 1


def warn_of_planes(listed: Sequence[Part]) -> None:
    """Warn, once, if timepoints that nobody chose may be planes of a stack."""
    hints = {part.path: part.hint for part in listed if part.hint and part.time is not None}
    if hints:
        path, hint = next(iter(hints.items()))
        more = f" So it is with {len(hints) - 1} more files." if len(hints) > 1 else ""
        log.warning("%s: is taken as a time series of single planes.%s%s", path, hint, more)
