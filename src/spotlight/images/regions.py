"""Regions of stacks as text."""

from spotlight.errors import SpotlightError


def parse_region(text: str, axes: str, source: str) -> tuple[slice, ...]:
    """Read a region such as ``":, 0:80, :"``, one start:stop per spatial axis in voxels.

    Parameters
    ----------
    text : str
        One ``start:stop`` per axis, separated by commas; ``:`` is all of it.
    axes : str
        The spatial axes, such as ``ZYX``.
    source : str
        Where the text stands, for messages.

    Returns
    -------
    tuple of slice
        One per axis, in voxels.

    Raises
    ------
    SpotlightError
        If the text is no such list, or has another number of axes.

    Examples
    --------
    >>> from spotlight.images import parse_region
    >>> parse_region(":, 0:80, :", "ZYX", "manifest.csv")
    (slice(None, None, None), slice(0, 80, None), slice(None, None, None))
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == len(axes):
        try:
            limits = [[int(n) if n.strip() else None for n in part.split(":")] for part in parts]
            if all(len(pair) == 2 for pair in limits):
                return tuple(slice(*pair) for pair in limits)
        except ValueError:
            pass
    raise SpotlightError(
        f"{source}: a region needs start:stop for each of {axes}, for example "
        f"{', '.join(['0:64'] * len(axes))!r}. Received: {text!r}."
    )


def format_region(region: tuple[slice, ...]) -> str:
    """Write a region as `parse_region` reads it.

    Parameters
    ----------
    region : tuple of slice
        One per spatial axis.

    Returns
    -------
    str
        Such as ``":, 0:80, :"``.

    Examples
    --------
    >>> from spotlight.images import format_region
    >>> format_region((slice(None), slice(0, 80), slice(None)))
    ':, 0:80, :'
    """
    return ", ".join(f"{'' if s.start is None else s.start}:{'' if s.stop is None else s.stop}" for s in region)
