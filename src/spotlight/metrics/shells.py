"""Correlation of two images over shells and rings of frequency space."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Frequencies = NDArray[np.float64]
"""Squares of frequencies along one axis, in a shape that broadcasts with those of the others."""

Window = Literal["hamming", "hann"]

BLOCK = 2**20
"""Frequencies that are held at a time."""


@dataclass(frozen=True, eq=False)
class Sector:
    """A part of frequency space, and the shells that it is cut into.

    Attributes
    ----------
    limit : float
        Nyquist frequency in its direction, in cycles/µm.
    width : float
        Of a shell, in cycles/µm.
    inside : callable
        Which frequencies belong to it, from their squares along Z, Y and X.
    axis : int
        The axis that it lies along, counted from the last; of two that which is shorter in µm.
    """

    limit: float
    width: float
    inside: Callable[[Frequencies, Frequencies, Frequencies], NDArray[np.bool_]]
    axis: int = -1


@dataclass(frozen=True, eq=False)
class Sums:
    """What the shells of a sector hold.

    Attributes
    ----------
    width : float
        Of a shell in cycles/µm; the first begins at 0.
    cross, first, second : (n,) ndarray
        Σ Re(F1 F2*), Σ|F1|² and Σ|F2|².
    number : (n,) ndarray
        Of frequencies.
    """

    width: float
    cross: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    number: NDArray[np.float64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """Frequencies in the middle of the shells in cycles/µm."""
        return np.asarray((np.arange(len(self.cross)) + 0.5) * self.width, np.float64)

    @property
    def correlation(self) -> NDArray[np.float64]:
        """Σ Re(F1 F2*) / √(Σ|F1|² Σ|F2|²), NaN where a shell holds nothing."""
        return ratio(self.cross, np.sqrt(self.first * self.second))


def ratio(cross: NDArray[np.float64], power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide, with NaN where there is no power."""
    found: NDArray[np.float64] = np.divide(cross, power, out=np.full(len(cross), np.nan), where=power > 0)
    return found


def make_sectors(
    kind: Literal["wedge", "cone"],
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    angle: float,
    exclude: float,
    steps: int,
) -> dict[str, Sector]:
    """Sectors of XY and of Z, in shells of so many steps of the finest axis.

    See `spotlight.metrics.resolution.ResolutionSettings` for the angles in degrees.
    """
    nyquist = [(n // 2) / (n * step) for n, step in zip(shape, spacing, strict=True)]
    width, axis = steps * _finest(shape, spacing), _shorter(shape, spacing)
    excluded = math.tan(math.radians(exclude)) ** 2
    if kind == "wedge":
        open_to = math.tan(math.radians(angle / 2)) ** 2
        return {
            "xy": Sector(min(nyquist[1:]), width, lambda z, y, _x: z <= open_to * y, axis),
            "z": Sector(
                nyquist[0],
                width,
                lambda z, y, _x: (y < open_to * z) & ((excluded == 0) | (y > excluded * z)),
                -3,
            ),
        }
    open_to = math.tan(math.radians(angle)) ** 2
    return {
        "xy": Sector(min(nyquist[1:]), width, lambda z, y, x: z <= open_to * (y + x), axis),
        "z": Sector(
            nyquist[0],
            width,
            lambda z, y, x: (y + x < open_to * z) & ((excluded == 0) | (y + x > excluded * z)),
            -3,
        ),
    }


def make_ring(shape: tuple[int, ...], spacing: tuple[float, ...], steps: int) -> dict[str, Sector]:
    """All frequencies of a plane."""
    limit = min((n // 2) / (n * step) for n, step in zip(shape, spacing, strict=True))
    return {"xy": Sector(limit, steps * _finest(shape, spacing), lambda _z, y, _x: y >= 0, _shorter(shape, spacing))}


def _finest(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """Finest step of the frequencies of all axes."""
    return min(1 / (n * step) for n, step in zip(shape, spacing, strict=True))


def _shorter(shape: tuple[int, ...], spacing: tuple[float, ...]) -> int:
    """Which of the last two axes is the shorter one in µm."""
    return min((-1, -2), key=lambda axis: shape[axis] * spacing[axis])


def padded_shape(shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Voxels along every axis of the cube, in µm, whose side is the longest of the image."""
    side = max(n * step for n, step in zip(shape, spacing, strict=True))
    return tuple(max(n, round(side / step)) for n, step in zip(shape, spacing, strict=True))


def windowed(image: NDArray[np.float32], shape: tuple[int, ...], window: Window) -> NDArray[np.float32]:
    """Fade an image out by a window of the given, larger, shape in whose middle it lies.

    Of Hamming's window every axis has the root, by their number, so that the product falls off as one window does. The
    zeros around the image are left to the transform: where they lie changes no correlation.
    """
    for axis in range(image.ndim):
        image = _times(image, window_along(image.shape, shape, axis, window), axis)
    return image


def window_along(part: tuple[int, ...], whole: tuple[int, ...], axis: int, window: Window) -> NDArray[np.float32]:
    """The window along an axis of an image that lies in the middle of the whole."""
    start = (whole[axis] - part[axis]) // 2
    return _window(whole[axis], window, len(whole))[start : start + part[axis]]


def _window(length: int, window: Window, dims: int) -> NDArray[np.float32]:
    # Of Hann's, without the zeros at its ends.
    values = np.hanning(length + 2)[1:-1] if window == "hann" else np.hamming(length) ** (1 / dims)
    return np.asarray(values, np.float32)


def _times(image: NDArray[np.float32], values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return image * values.reshape([-1 if a == axis else 1 for a in range(image.ndim)])


def _faded(
    image: NDArray[np.float32], shape: tuple[int, ...], starts: list[int], window: Window
) -> NDArray[np.float32]:
    for axis, (length, start) in enumerate(zip(shape, starts, strict=True)):
        values = _window(length, window, image.ndim)[start : start + image.shape[axis]]
        image = _times(image, values, axis)
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
) -> dict[str, Sums]:
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
    """
    if first.ndim == 2:
        first, second, shape, spacing = first[np.newaxis], second[np.newaxis], (1, *shape), (math.inf, *spacing)
    # Rounded, so that a whole number of shells stays one; none where an axis is too short to have a frequency.
    numbers = {name: math.ceil(round(sector.limit / sector.width, 6)) for name, sector in sectors.items()}
    sums = {name: np.zeros((4, number)) for name, number in numbers.items()}
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
            products = (a.real * b.real + a.imag * b.imag, np.square(np.abs(a)), np.square(np.abs(b)), 1.0)
            for total, values in zip(sums[name], products, strict=True):
                total += np.bincount(shell.astype(np.intp), values * weight, numbers[name])
    return {name: Sums(sector.limit / max(numbers[name], 1), *sums[name]) for name, sector in sectors.items()}
