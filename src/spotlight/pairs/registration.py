"""Whether an input and its target show the same place: the lateral shift between unlike images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

MOST_PIXELS = 1024
"""Larger images are binned first: structure that tells of a shift is larger than a pixel."""

REACH = 32
"""Shifts that are tried, in pixels to every side; farther ones in images that are binned."""

SMALLEST = 48
"""Least side of an image that is binned."""

RIVAL = 0.7
"""Height of the information over its median, as a share of the greatest, from which a shift is as good as the best."""

CERTAIN = 2
"""Uncertainty, in binned pixels, up to which a coarse shift says where to look closer."""

BLOCKS = 4
"""Blocks along an axis, of which halves of the field are made."""

SIDE = 160
"""Greatest side of a block: of large images so much is enough."""

BRIGHTNESS = (0.2, 0.8)
CONTRAST = (0.3, 0.6, 0.85, 0.95)
GLOW = (0.4, 0.7, 0.88, 0.96, 0.99)
"""Quantiles that part pixels into classes: of the input by both, of the target by its glow. The last classes are those
of few cells in an empty field."""

Classes = NDArray[np.intp]


@dataclass(frozen=True)
class Shift:
    """How far a target lies from where its input says, in pixels.

    Attributes
    ----------
    y, x : float
        Along the axes.
    uncertainty : float
        Half the distance between the shifts of two halves of the field, median over five ways to halve it; or a
        third of that to the farthest shift that is nearly as good, as on the other side of a halo, if that is more;
        at least half a pixel, as they were binned. Infinite where the best shift is the farthest one tried.
    """

    y: float
    x: float
    uncertainty: float

    @property
    def length(self) -> float:
        """Distance in pixels."""
        return float(np.hypot(self.y, self.x))


def find_shift(image: NDArray[Any], target: NDArray[Any]) -> Shift:
    """Find how far a fluorescence stack lies from where its transmitted-light stack says.

    At the right place the one image says most about the other, in whatever way: mutual information is
    Σ p(a, b) ln(p(a, b) / p(a) p(b)) over the classes of both. A pixel of the input has a class by its brightness and
    by the logarithm of the contrast around it, in the sharpest plane and over all; one of the target by its mean along
    Z, without what varies slowly. All shifts are tried at once by Fourier transforms, without wrapping around.

    Parameters
    ----------
    image, target : (Z, Y, X) or (Y, X) ndarray
        On one grid.

    References
    ----------
    F. Maes et al., IEEE Trans. Med. Imaging 16, 187 (1997). docs/checking.md shows which shifts it finds.
    """
    step = min(-(-max(image.shape[-2:]) // MOST_PIXELS), *image.shape[-2:])
    first, second = _pictures(image, step), binned(_glow(target), step)
    scales = [1]
    while min(first[0].shape) // (2 * scales[-1]) >= SMALLEST:
        scales.append(2 * scales[-1])
    best, near = Shift(0.0, 0.0, np.inf), None
    # What is coarse says where to look closer: halos and rims make false peaks beside the right one.
    for scale in reversed(scales):
        smaller = (binned(first[0], scale), binned(first[1], scale))
        found = _search(smaller, binned(second, scale), step * scale, near)
        if found.uncertainty < best.uncertainty:
            best = found
        if found.uncertainty <= CERTAIN * step * scale:
            near = found
    return best


def _search(
    image: tuple[NDArray[np.float32], NDArray[np.float32]], target: NDArray[np.float32], step: int, near: Shift | None
) -> Shift:
    """Find the shift of images that were binned by a step; `near` a coarser one, if there is one."""
    bright = _classes(ndimage.gaussian_filter(_even(image[0], 20), 1), BRIGHTNESS)
    contrast = _classes(_even(image[1], 40), CONTRAST)
    glow = _classes(_even(target, 40), GLOW)
    reach = tuple(min(REACH, n // 4) for n in glow.shape)
    counts = _joint(bright * (len(CONTRAST) + 1) + contrast, glow, reach)
    allowed = np.zeros(counts.shape[-2:], bool)
    allowed[1:-1, 1:-1] = True
    if near is not None:
        rows, columns = np.indices(allowed.shape)
        away = np.hypot((rows - reach[0]) * step - near.y, (columns - reach[1]) * step - near.x)
        allowed &= away <= 2 * near.uncertainty

    def top(blocks: NDArray[np.bool_]) -> tuple[float, float]:
        return _top(_information(counts[blocks].sum(0)), allowed)

    if not allowed.any():
        return Shift(0.0, 0.0, np.inf)
    whole = _information(counts.sum((0, 1)))
    y, x = _top(whole, allowed)
    apart = [np.hypot(*np.subtract(top(half), top(~half))) for half in _halves(counts.shape[0], counts.shape[1])]
    height = np.where(allowed, whole - np.median(whole), -np.inf)
    good = np.nonzero(height >= RIVAL * height.max())
    rival = float(np.hypot(good[0] - reach[0] - y, good[1] - reach[1] - x).max(initial=0))
    peak = np.unravel_index(int(np.argmax(height)), height.shape)
    at_rim = not ndimage.binary_erosion(allowed)[peak]  # it may lie farther away
    # Halves that agree to the pixel do not make pixels smaller.
    uncertainty = max(0.5, float(np.median(apart)) / 2, rival / 3) if apart and not at_rim else np.inf
    return Shift(y * step, x * step, uncertainty * step)


def _halves(rows: int, columns: int) -> list[NDArray[np.bool_]]:
    """Ways to halve a grid of blocks: alternating or side by side, along both axes, and as a chequerboard."""
    y, x = np.indices((rows, columns))
    ways = [y % 2 == 0, x % 2 == 0, (y + x) % 2 == 0, y < rows / 2, x < columns / 2]
    return [half for half in ways if half.any() and not half.all()]


def _joint(a: Classes, b: Classes, reach: tuple[int, ...]) -> NDArray[np.float32]:
    """Count the pixels of every class of `b` on every class of `a`, for every shift of `b` and in blocks of it.

    Returns
    -------
    (rows, columns, classes of a, classes of b, 2 reach + 1, 2 reach + 1) ndarray
        Where a shift takes a pixel out of the image it is not counted.
    """
    around = np.pad(a, [(far, far) for far in reach], constant_values=-1)
    places = []
    for length in b.shape:
        number = min(BLOCKS, length)
        side = min(SIDE, length // number)
        places.append([(int(start), side) for start in np.linspace(0, length - side, number)])
    size = [2 * far + 1 for far in reach]
    kinds = ((len(BRIGHTNESS) + 1) * (len(CONTRAST) + 1), len(GLOW) + 1)
    counts = np.empty((len(places[0]), len(places[1]), *kinds, *size), np.float32)
    for row, (y, height) in enumerate(places[0]):
        for column, (x, width) in enumerate(places[1]):
            part = around[y : y + height + 2 * reach[0], x : x + width + 2 * reach[1]]
            block = b[y : y + height, x : x + width]
            shape = [fft.next_fast_len(n, real=True) for n in part.shape]
            first, second = (
                fft.rfft2((image == np.arange(number)[:, None, None]).astype(np.float32), shape)
                for image, number in ((part, kinds[0]), (block, kinds[1]))
            )
            found = fft.irfft2(first[:, None] * np.conj(second), shape)[..., : size[0], : size[1]]
            # Where `a` lies at + d from `b`, `b` is shifted by - d.
            counts[row, column] = np.rint(found)[..., ::-1, ::-1]
    return counts


def _information(counts: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mutual information of every shift in nats, less what chance gives to so few pixels (Miller and Madow)."""
    joint = counts.astype(np.float64)
    total = joint.sum((0, 1))
    parts = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    terms = joint * np.log(np.divide(joint * total, parts, out=np.ones_like(joint), where=joint > 0))
    chance = (counts.shape[0] - 1) * (counts.shape[1] - 1) / 2
    return np.asarray((terms.sum((0, 1)) - chance) / np.maximum(total, 1), np.float64)


def _top(information: NDArray[np.float64], allowed: NDArray[np.bool_]) -> tuple[float, float]:
    """The allowed shift at which the information is greatest, in fractions of a pixel."""
    peak = np.unravel_index(int(np.argmax(np.where(allowed, information, -np.inf))), information.shape)
    y, x = (
        float(at - length // 2 + _vertex(information, peak, axis))
        for axis, (at, length) in enumerate(zip(peak, information.shape, strict=True))
    )
    return y, x


def _pictures(image: NDArray[Any], step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The sharpest plane, and the logarithm of the local contrast over all planes."""
    values = np.stack([binned(plane.astype(np.float32), step) for plane in image.reshape(-1, *image.shape[-2:])])
    fine = values - ndimage.gaussian_filter(values, (0, 8, 8))
    sharpest = int(np.argmax(np.square(fine).mean((1, 2))))
    local = ndimage.gaussian_filter(fine**2, (0, 2, 2)).mean(0)
    return values[sharpest], np.asarray(np.log(local + 1e-3 * local.mean() + 1e-12), np.float32)


def _glow(target: NDArray[Any]) -> NDArray[np.float32]:
    mean = target.reshape(-1, *target.shape[-2:]).mean(0, dtype=np.float64).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(mean, 1.5), np.float32)


def _even(image: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Remove what varies slowly, which two images share wherever they lie."""
    return np.asarray(image - ndimage.gaussian_filter(image, width), np.float32)


def _classes(image: NDArray[np.float32], shares: tuple[float, ...]) -> Classes:
    return np.searchsorted(np.quantile(image, shares), image.ravel(), side="right").reshape(image.shape)


def binned(image: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Mean over blocks of so many pixels to a side."""
    height, width = (n // step * step for n in image.shape)
    return np.asarray(image[:height, :width].reshape(height // step, step, width // step, step).mean((1, 3)))


def _vertex(values: NDArray[np.float64], peak: tuple[Any, ...], axis: int) -> float:
    """Where between -1/2 and 1/2 the parabola through a peak and its neighbours has its top."""
    length = values.shape[axis]
    if not 0 < peak[axis] < length - 1:
        return 0.0
    below, at, above = (float(values[tuple(p + step * (a == axis) for a, p in enumerate(peak))]) for step in (-1, 0, 1))
    curvature = below - 2 * at + above
    return 0.5 * (below - above) / curvature if curvature < 0 else 0.0
