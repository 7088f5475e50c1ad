"""Correlation of two images over shells and rings of frequency space."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Frequencies = NDArray[np.float64]
"""Squares of frequencies along one axis, in a shape that broadcasts with those of the others."""

Window = Literal["hamming", "hann"]

BLOCK = 2**20
"""Frequencies that are held at a time."""


@dataclass(frozen=True)
class Sector:
    """A part of frequency space.

    Attributes
    ----------
    limit : float
        Nyquist frequency in its direction, in cycles/µm.
    inside : callable
        Which frequencies belong to it, from their squares along Z, Y and X.
    """

    limit: float
    inside: Callable[[Frequencies, Frequencies, Frequencies], NDArray[np.bool_]]


def make_sectors(
    kind: Literal["wedge", "cone"], shape: tuple[int, ...], spacing: tuple[float, ...], angle: float, exclude: float
) -> dict[str, Sector]:
    """Sectors of XY and of Z; see `spotlight.metrics.resolution.ResolutionSettings` for the angles in degrees."""
    nyquist = [(n // 2) / (n * step) for n, step in zip(shape, spacing, strict=True)]
    lateral = min(nyquist[1:])
    excluded = math.tan(math.radians(exclude)) ** 2
    if kind == "wedge":
        width = math.tan(math.radians(angle / 2)) ** 2
        return {
            "xy": Sector(lateral, lambda z, y, _x: z <= width * y),
            "z": Sector(nyquist[0], lambda z, y, _x: (y < width * z) & ((excluded == 0) | (y > excluded * z))),
        }
    width = math.tan(math.radians(angle)) ** 2
    return {
        "xy": Sector(lateral, lambda z, y, x: z <= width * (y + x)),
        "z": Sector(nyquist[0], lambda z, y, x: (y + x < width * z) & ((excluded == 0) | (y + x > excluded * z))),
    }


def make_ring(shape: tuple[int, ...], spacing: tuple[float, ...]) -> dict[str, Sector]:
    """All frequencies of a plane."""
    limit = min((n // 2) / (n * step) for n, step in zip(shape, spacing, strict=True))
    return {"xy": Sector(limit, lambda _z, y, _x: y >= 0)}


def padded_shape(shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels along every axis of the cube, in µm, whose side is the longest of the image."""
    side = max(n * step for n, step in zip(shape, spacing, strict=True))
    return tuple(max(n, round(side / step)) for n, step in zip(shape, spacing, strict=True))


def windowed(image: NDArray[np.float32], shape: tuple[int, ...], window: Window) -> NDArray[np.float32]:
    """Fade an image out by a window of the given, larger, shape in whose middle it lies.

    Of Hamming's window every axis has the root, by their number, so that the product falls off as one window does. The
    zeros around the image are left to the transform: where they lie changes no correlation.
    """
    starts = [(whole - part) // 2 for whole, part in zip(shape, image.shape, strict=True)]
    return _faded(image, shape, starts, window)


def _faded(
    image: NDArray[np.float32], shape: tuple[int, ...], starts: list[int], window: Window
) -> NDArray[np.float32]:
    for axis, (length, start) in enumerate(zip(shape, starts, strict=True)):
        # Of Hann's, without the zeros at its ends.
        whole = np.hanning(length + 2)[1:-1] if window == "hann" else np.hamming(length) ** (1 / image.ndim)
        part = whole[start : start + image.shape[axis]].astype(np.float32)
        image = image * part.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    return image


def halves(
    image: NDArray[np.float32], shape: tuple[int, ...], window: Window
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Split an image that lies in the middle of a shape of zeros into two, by opposite corners of 2x2 pixels.

    Planes are summed in pairs. The first pair of halves is that of one diagonal, the second that of the other; the
    corners are counted from the padded shape's, of which odd ends are dropped.
    """
    starts = [(whole - part) // 2 for whole, part in zip(shape, image.shape, strict=True)]
    width, keep = [], []
    for length, start, whole in zip(image.shape, starts, shape, strict=True):
        before = start % 2
        after = (before + length) % 2 if start + length < whole // 2 * 2 else 0
        width.append((before, after))
        keep.append(slice(max((before + length + after) // 2 * 2, 1)))
    even = np.pad(image, width)[tuple(keep)]
    if even.ndim == 3:
        even = even[::2] + even[1::2]
    half_shape, half_starts = tuple(max(n // 2, 1) for n in shape), [start // 2 for start in starts]
    for first, second in (((1, 1), (0, 0)), ((1, 0), (0, 1))):
        yield (
            _faded(even[..., first[0] :: 2, first[1] :: 2], half_shape, half_starts, window),
            _faded(even[..., second[0] :: 2, second[1] :: 2], half_shape, half_starts, window),
        )


def correlate(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    sectors: Mapping[str, Sector],
    width: int,
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Correlate two images over the shells of every sector.

    Parameters
    ----------
    first, second : (Z, Y, X) or (Y, X) ndarray
        The images, faded out.
    shape : tuple of int
        To which they are padded with zeros.
    spacing : tuple of float
        Voxel size in µm.
    sectors : mapping
        See `make_sectors` and `make_ring`.
    width : int
        Of a shell, in steps of the finest axis.

    Returns
    -------
    dict
        Centres of the shells in cycles/µm, and Σ Re(F1 F2*) / √(Σ|F1|² Σ|F2|²), NaN where a shell holds nothing.
    """
    if first.ndim == 2:
        first, second, shape, spacing = first[np.newaxis], second[np.newaxis], (1, *shape), (math.inf, *spacing)
    finest = min(1 / (n * step) for n, step in zip(shape, spacing, strict=True) if math.isfinite(step))
    # Rounded, so that a whole number of shells stays one; none where an axis is too short to have a frequency.
    numbers = {name: math.ceil(round(sector.limit / (width * finest), 6)) for name, sector in sectors.items()}
    sums = {name: np.zeros((3, number)) for name, number in numbers.items()}
    z, y = (
        (np.square(fft.fftfreq(n, step)) if math.isfinite(step) else np.zeros(1))
        for n, step in zip(shape[:2], spacing[:2], strict=True)
    )
    x = np.square(fft.rfftfreq(shape[2], spacing[2]))
    z, y = z[:, np.newaxis, np.newaxis], y[:, np.newaxis]
    times = np.full(len(x), 2)
    times[0] = 1
    if shape[2] % 2 == 0:
        times[-1] = 1
    rows = [fft.rfft(image, shape[2], axis=2) for image in (first, second)]
    step = max(1, BLOCK // (shape[0] * shape[1]))
    for part in (slice(start, start + step) for start in range(0, len(x), step)):
        f, g = (fft.fft(fft.fft(row[..., part], shape[1], axis=1), shape[0], axis=0) for row in rows)
        square = z + y + x[part]
        for name, sector in sectors.items():
            if numbers[name] == 0:
                continue
            where = sector.inside(z, y, x[part]) & (square > 0) & (square <= sector.limit**2 * (1 + 1e-9))
            # A frequency on the edge of two shells belongs to the lower one, whatever it was rounded to.
            shell = np.sqrt(square[where]) * (numbers[name] / sector.limit) - 1e-6
            a, b, weight = f[where], g[where], np.broadcast_to(times[part], where.shape)[where]
            products = (a.real * b.real + a.imag * b.imag, np.square(np.abs(a)), np.square(np.abs(b)))
            for total, values in zip(sums[name], products, strict=True):
                total += np.bincount(shell.astype(np.intp), values * weight, numbers[name])
    return {name: (_centres(sectors[name].limit, numbers[name]), _ratio(*sums[name])) for name in sectors}


def _centres(limit: float, number: int) -> NDArray[np.float64]:
    return np.asarray((np.arange(number) + 0.5) * (limit / max(number, 1)), np.float64)


def _ratio(cross: NDArray[Any], first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    powers = np.sqrt(first * second)
    ratio: NDArray[np.float64] = np.divide(cross, powers, out=np.full(len(cross), np.nan), where=powers > 0)
    return ratio
