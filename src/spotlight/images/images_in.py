"""`images_in`: every image of a file, time-lapses whole or frame by frame, and warnings about them."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spotlight.addresses import located
from spotlight.images.formats import stem
from spotlight.images.reading import choose, in_order, scenes
from spotlight.images.selection import ALL, FurtherInput, Selection
from spotlight.quoting import safe_name

log = logging.getLogger("spotlight")

UNFIT = re.compile(r'[/\\:*?"<>|]')
"""Characters that names of files cannot have on some system."""


@dataclass(frozen=True, kw_only=True)
class Part(Selection):
    """One image of a file, at one timepoint or at all of them, with what a manifest states of it.

    Attributes
    ----------
    name : str
        The file's `stem`, with the scene's name and ``tN`` where there are several.
    path : Path
        The file.
    scene : str or None
        The image's name or, where several have it, ``#`` and its index; None if there is one.
    time : int or None
        None where there is just one, or where all are meant.
    channels : tuple of str or None
        Names of the channels, empty if they have none; None if there is only one channel.
    further : tuple of FurtherInput
        Further channels of an input, one file each.
    fault : str
        Why the file could not be listed; the part then stands for the whole file. Empty if it could.
    hint : str
        What the timepoints or channels may be instead; see `spotlight.images.planes.planes_hint`.
    frames : int
        Number of timepoints of a time-lapse that is meant as a whole; 0 for one timepoint.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack, images_in
    >>> series = Stack(np.zeros((3, 4, 16, 16), np.uint16), "TZYX", (0.5, 0.1, 0.1)).save("cells.ome.tif")
    >>> [(part.name, part.time) for part in images_in(series)]
    [('cells-t0', 0), ('cells-t1', 1), ('cells-t2', 2)]
    >>> (part,) = images_in(series, whole=True)
    >>> part.frames, len(part.each_frame())
    (3, 3)
    """

    name: str = ""
    path: Path
    scene: str | None = None
    channels: tuple[str, ...] | None = None
    further: tuple[FurtherInput, ...] = ()
    fault: str = ""
    hint: str = ""
    frames: int = 0

    def each_frame(self) -> "list[Part]":
        """List the timepoints of a time-lapse, named ``NAME-tN``; the part alone if it is one image."""
        if not self.frames:
            return [self]
        return [replace(self, name=f"{self.name}-t{time}", time=time, frames=0) for time in range(self.frames)]


def images_in(path: str | Path, chosen: Selection = ALL, *, whole: bool = False) -> list[Part]:
    """List every image that starts in a file at every timepoint, or those of one scene or timepoint.

    Parameters
    ----------
    path : path
        The file.
    chosen : Selection
        The scene, the timepoint and the axes of the file; all else is passed on to what is listed.
    whole : bool
        List a time-lapse as one image instead of one for each timepoint.

    Returns
    -------
    list of Part
        Each names one image, which `read_selected` opens.

    Raises
    ------
    SpotlightError
        As `read`.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Selection, Stack, images_in
    >>> path = Stack(np.zeros((3, 8, 16, 16), np.uint16), "TZYX", (0.5, 0.1, 0.1)).save("well-3.ome.tif")
    >>> [part.name for part in images_in(path)]
    ['well-3-t0', 'well-3-t1', 'well-3-t2']
    >>> [part.name for part in images_in(path, Selection(time=1))]
    ['well-3-t1']
    """
    path = located(path)
    found = scenes(path)
    items = (
        [item for item in found if item.starts_here] if chosen.scene is None else [choose(path, found, chosen.scene)]
    )
    uses = Counter(item.name for item in found)
    numbers = {id(item): number for number, item in enumerate(found)}
    listed = []
    for item in items:
        number = numbers[id(item)]
        unique = uses[item.name] == 1
        which = None if len(found) == 1 else item.name if unique else f"#{number}"
        called = UNFIT.sub("-", safe_name(f"-{item.name if unique else number}")) if which is not None else ""
        stack = in_order(path, item.load(), chosen.axes)
        channels = stack.channels if "C" in stack.axes else None
        part = Part(name=f"{stem(path)}{called}", path=path, channels=channels, hint=stack.hint)
        part = replace(chosen.over(part), scene=which)
        if "T" not in stack.axes:
            listed.append(part)
        elif chosen.time is None:
            lapse = replace(part, frames=stack.shape[0])
            listed += [lapse] if whole else lapse.each_frame()
        else:
            listed.append(replace(part, name=f"{part.name}-t{chosen.time}"))
    return listed


def count_images(path: str | Path, axes: str | None = None) -> int:
    """Number of images and timepoints in a file; one where it does not state its axes.

    For the errors see `read`.

    Parameters
    ----------
    path, axes
        See `read`.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack, count_images
    >>> path = Stack(np.zeros((3, 8, 16, 16), np.uint16), "TZYX", (0.5, 0.1, 0.1)).save("well-3.ome.tif")
    >>> count_images(path)
    3
    """
    found = scenes(path)
    facts = found[0].load()
    return len(images_in(path, Selection(axes=axes))) if len(found) > 1 or axes or facts.has_axes else 1


def warn_of_planes(listed: Sequence[Part]) -> None:
    """Warn, once, if timepoints that nobody chose may be planes of a stack.

    Parameters
    ----------
    listed : sequence of Part
        From `images_in` or `spotlight.prediction.find_parts`.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.images import Stack, images_in, warn_of_planes
    >>> path = Stack(np.zeros((9, 16, 16), np.uint16), "TYX", (0.1, 0.1)).save("planes.ome.tif")
    >>> listed = images_in(path)
    >>> warn_of_planes(listed)  # logs the hint of each file once
    >>> listed[0].hint.strip().split(". ")[0]
    'The 9 timepoints of the file may be planes of a stack'
    """
    hints = {part.path: part.hint for part in listed if part.hint and (part.frames or part.time is not None)}
    if hints:
        path, hint = next(iter(hints.items()))
        more = f" The same holds for {len(hints) - 1} more files." if len(hints) > 1 else ""
        log.warning("%s: is taken as a time series of single planes.%s%s", path, hint, more)
