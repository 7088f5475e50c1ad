"""Resolution by Fourier shell and ring correlation, of one image or of two, with the curves."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spotlight.errors import SpotlightError
from spotlight.metrics.cards import RESOLUTION, Card
from spotlight.metrics.checks import check_image, check_pair, check_spacing, planes, subtract
from spotlight.metrics.crossing import NARROW, find_crossing, find_sharp_crossing, window_blur
from spotlight.metrics.resolution_curve import ONE_IMAGE, TWO_IMAGES, ResolutionCurve, ResolutionSettings
from spotlight.metrics.shells import (
    Sector,
    correlate,
    halves,
    make_ring,
    make_sectors,
    padded_shape,
    window_along,
    windowed,
)

ONE, BOTH = "from one image, whose noise it goes by", "detail down to which stain and target agree"
CARDS = {
    f"{name}_um": Card(
        *(title, what, "", RESOLUTION, "µm"),
        undefined="the correlation never falls to 1/7, or the image is constant or too small",
        form="{:.2f}",
        caution="The resolution of one image measures its noise, not its sharpness." if ONE in what else "",
    )
    for name, title, what in (
        ("fsc_xy", "FSC, XY", ONE),
        ("fsc_z", "FSC, Z", ONE),
        ("fsc_of_two_xy", "FSC with the target, XY", BOTH),
        ("fsc_of_two_z", "FSC with the target, Z", BOTH),
        ("frc", "FRC", f"plane by plane, {ONE}"),
        ("frc_of_two", "FRC with the target", BOTH),
    )
}
"""No resolution is best: that of a smooth image says nothing."""


def fourier_shell(
    image: NDArray[Any], spacing: Sequence[float], settings: ResolutionSettings = ONE_IMAGE
) -> dict[str, ResolutionCurve]:
    """Resolution of one stack along XY and along Z, by sectioned Fourier shell correlation.

    Planes are summed in pairs, and of every 2x2 pixels one corner goes to the first half image and the opposite one to
    the second; the halves share the signal but not the noise. Each fades out towards its borders, and
    FSC = Σ Re(F1 F2*) / √(Σ|F1|² Σ|F2|²) over the shells of a sector. Where it falls to the threshold, at the share r
    of the halves' Nyquist frequency, lies the resolution: 2 voxels / r, over the calibration
    0.960 exp(13.9 (r - 0.980)) + 0.551. Frequencies are counted in cycles/µm, so that voxels need not be cubes; with
    cubes this is what the paper's software computes, except that a shell stands at its centre, not its lower edge.

    Noise is what it needs: in the output of a network, which has none, the halves agree at all frequencies, and what
    the threshold meets there, if anything, is no resolution. On images of known band limit the published way reads 12
    to 50 % too fine, and more where there is little noise. `fourier_shell_of_two` asks instead up to which detail
    the output agrees with its target. On a foreground alone neither is defined: a mask is an edge that correlates.

    Parameters
    ----------
    image : (Z, Y, X) ndarray
        Intensities.
    spacing : sequence of float
        Voxel size along Z, Y and X in µm.
    settings : ResolutionSettings
        The paper's, if left out.

    Returns
    -------
    dict
        ``xy`` and ``z``.

    Raises
    ------
    SpotlightError
        If the image is not 3D or has non-finite voxels, or the spacing does not fit it.

    References
    ----------
    S. Koho et al., Nat. Commun. 10, 3103 (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from spotlight.metrics import fourier_shell
    >>> rng = np.random.default_rng(0)
    >>> scene, noise = rng.normal(size=(2, 64, 96, 96))
    >>> image = gaussian_filter(scene, (3, 1.5, 1.5))  # more blurred along Z
    >>> curves = fourier_shell(image + 2 * image.std() * noise, (0.1, 0.1, 0.1))
    >>> {axis: round(curve.resolution, 2) for axis, curve in curves.items()}  # µm
    {'xy': 0.37, 'z': 0.6}
    """
    check_image(image, "image")
    _check_volume(image)
    size = check_spacing(spacing, 3)
    shape = _shape(image.shape, size, settings)
    half_shape, half_size = _half(shape, size)
    sectors = _sectors(half_shape, half_size, settings)
    first, second = next(halves(_centred(image, settings), shape, settings.window))
    curves = correlate(first, second, half_shape, half_size, sectors)
    return {
        name: _read_one(sums.centres, sums.correlation, settings, sectors[name].limit) for name, sums in curves.items()
    }


def fourier_shell_of_two(
    target: NDArray[Any], stain: NDArray[Any], spacing: Sequence[float], settings: ResolutionSettings = TWO_IMAGES
) -> dict[str, ResolutionCurve]:
    """Finest detail along XY and along Z in which two stacks agree, by sectioned Fourier shell correlation.

    The resolution is 1 / frequency where the correlation falls to the threshold; see `fourier_shell` for the rest. On
    images of known band limit the frequency is right to about one step of the axis, 1 / (voxels * voxel size), and
    mostly too high by half of one; see docs/metrics.md.

    Parameters
    ----------
    target, stain : (Z, Y, X) ndarray
        Intensities; neither offset nor scale matters.
    spacing : sequence of float
        Voxel size along Z, Y and X in µm.
    settings : ResolutionSettings
        Unpadded, in cones and with a Hann window, if left out; `calibrate` has no meaning here.

    Returns
    -------
    dict
        ``xy`` and ``z``.

    Raises
    ------
    SpotlightError
        If the images cannot be compared or are not 3D, or the spacing does not fit them.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from spotlight.metrics import fourier_shell_of_two
    >>> rng = np.random.default_rng(0)
    >>> target, noise = rng.normal(size=(2, 32, 64, 64))
    >>> stain = gaussian_filter(target, (0, 2, 2)) + 0.02 * noise  # fine detail is lost in Y and X
    >>> curves = fourier_shell_of_two(target, stain, (0.1, 0.1, 0.1))
    >>> {axis: round(curve.resolution, 2) for axis, curve in curves.items()}  # µm; no limit along Z
    {'xy': 0.39, 'z': nan}
    """
    check_pair(target, stain)
    _check_volume(target)
    size = check_spacing(spacing, 3)
    shape = _shape(target.shape, size, settings)
    sectors = _sectors(shape, size, settings)
    return _compare(target, stain, shape, size, sectors, settings)


def fourier_ring(
    image: NDArray[Any],
    spacing: Sequence[float],
    settings: ResolutionSettings = ONE_IMAGE,
    *,
    only: Sequence[int] | None = None,
) -> ResolutionCurve:
    """Resolution of one plane, or the mean over the planes of a stack, by Fourier ring correlation.

    As `fourier_shell`, but over the rings of a plane, and with the mean of the correlations of both pairs of opposite
    corners.

    Parameters
    ----------
    image : (Y, X) or (Z, Y, X) ndarray
        Intensities.
    spacing : sequence of float
        Voxel size along every axis in µm.
    settings : ResolutionSettings
        The paper's, if left out; sectors have no meaning here.
    only : sequence of int, optional
        Planes of a stack to measure; all, if left out.

    Returns
    -------
    ResolutionCurve
        Of a stack, the means over its planes.

    Raises
    ------
    SpotlightError
        If the image has non-finite voxels, the spacing does not fit it, or it has no such plane.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from spotlight.metrics import fourier_ring
    >>> rng = np.random.default_rng(0)
    >>> scene, noise = rng.normal(size=(2, 256, 256))
    >>> for sigma in (1.5, 3):  # sharper, and more blurred
    ...     image = gaussian_filter(scene, sigma)
    ...     print(round(fourier_ring(image + 0.3 * image.std() * noise, (0.1, 0.1)).resolution, 2), "µm")
    0.29 µm
    0.61 µm
    """
    check_image(image, "image")
    size = check_spacing(spacing, image.ndim)[-2:]
    stack = planes(image)
    shape = _shape(stack.shape[1:], size, settings)
    half_shape, half_size = _half(shape, size)
    sectors = make_ring(half_shape, half_size, settings.bin_px)
    curves = []
    for plane in _chosen(stack, only):
        pairs = halves(_centred(plane, settings), shape, settings.window)
        both = [correlate(*pair, half_shape, half_size, sectors)["xy"] for pair in pairs]
        mean = np.mean([sums.correlation for sums in both], axis=0)
        curves.append(_read_one(both[0].centres, mean, settings, sectors["xy"].limit))
    return curves[0] if image.ndim == 2 else _mean(curves)


def fourier_ring_of_two(
    target: NDArray[Any],
    stain: NDArray[Any],
    spacing: Sequence[float],
    settings: ResolutionSettings = TWO_IMAGES,
    *,
    only: Sequence[int] | None = None,
) -> ResolutionCurve:
    """Finest detail in which two planes agree, or the mean over the planes of two stacks.

    See `fourier_shell_of_two` for the meaning.

    Parameters
    ----------
    target, stain : (Y, X) or (Z, Y, X) ndarray
        Intensities on one grid; neither offset nor scale matters.
    spacing, settings, only
        See `fourier_ring`; unpadded and with a Hann window, if settings are left out.

    Returns
    -------
    ResolutionCurve
        Of stacks, the means over their planes.

    Raises
    ------
    SpotlightError
        If the images cannot be compared, the spacing does not fit them, or they have no such plane.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.metrics import fourier_ring_of_two
    >>> image = np.random.default_rng(0).random((64, 64))
    >>> curve = fourier_ring_of_two(image, image, (0.1, 0.1))
    >>> bool(curve.correlation.min() > 0.99)
    True
    """
    check_pair(target, stain)
    size = check_spacing(spacing, target.ndim)[-2:]
    shape = _shape(target.shape[-2:], size, settings)
    sectors = make_ring(shape, size, settings.bin_px)
    pairs = zip(_chosen(planes(target), only), _chosen(planes(stain), only), strict=True)
    curves = [_compare(*pair, shape, size, sectors, settings)["xy"] for pair in pairs]
    return curves[0] if target.ndim == 2 else _mean(curves)


def _check_volume(image: NDArray[Any]) -> None:
    if image.ndim != 3:
        raise SpotlightError(
            f"an image of shape {image.shape} has rings, not shells; use fourier_ring or fourier_ring_of_two."
        )


def _shape(shape: tuple[int, ...], size: tuple[float, ...], settings: ResolutionSettings) -> tuple[int, ...]:
    return padded_shape(shape, size) if settings.zero_padding else shape


def _half(shape: tuple[int, ...], size: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(max(n // 2, 1) for n in shape), tuple(2 * step for step in size)


def _sectors(shape: tuple[int, ...], size: tuple[float, ...], settings: ResolutionSettings) -> dict[str, Sector]:
    angles = settings.angle_deg, settings.exclude_deg
    return make_sectors(settings.sectors, shape, size, *angles, settings.bin_px)


def _chosen(stack: NDArray[Any], only: Sequence[int] | None) -> list[NDArray[Any]]:
    numbers = range(len(stack)) if only is None else only
    wrong = [z for z in numbers if not 0 <= z < len(stack)]
    if wrong or not numbers:
        raise SpotlightError(f"planes to measure are {list(numbers)}; the image has planes 0 to {len(stack) - 1}.")
    return [stack[z] for z in numbers]


def _centred(image: NDArray[Any], settings: ResolutionSettings) -> NDArray[np.float32]:
    if image.min() == image.max():
        return np.zeros(image.shape, np.float32)
    return subtract(image, image.mean(dtype=np.float64) if settings.subtract_mean else 0.0)


def _read_one(
    frequency: NDArray[np.float64], correlation: NDArray[np.float64], settings: ResolutionSettings, limit: float
) -> ResolutionCurve:
    """Read the resolution of one image from the curve of its halves, whose Nyquist frequency is the limit."""
    known = np.isfinite(correlation)
    frequency, correlation = frequency[known], correlation[known]
    crossing, reason = find_crossing(frequency, correlation, settings.threshold)
    # As if the halves had the voxels of the whole, which the calibration puts right.
    scale = 2 * (calibration(crossing / limit) if settings.calibrate else 1) if not reason else 1
    return _curve(frequency, correlation, settings, 1 / crossing / scale, reason)


def _compare(
    target: NDArray[Any],
    stain: NDArray[Any],
    shape: tuple[int, ...],
    size: tuple[float, ...],
    sectors: dict[str, Sector],
    settings: ResolutionSettings,
) -> dict[str, ResolutionCurve]:
    """Correlate two images, and read up to which detail they agree."""
    lengths = target.shape
    first, second = (windowed(_centred(image, settings), shape, settings.window) for image in (target, stain))
    narrow = {}
    if settings.sharp:
        narrow = {f"{n} sharp": replace(s, width=NARROW / (lengths[s.axis] * size[s.axis])) for n, s in sectors.items()}
    sums = correlate(first, second, shape, size, sectors | narrow)
    found = {}
    for name, sector in sectors.items():
        wide = sums[name]
        known = np.isfinite(wide.correlation)
        frequency, correlation = wide.centres[known], wide.correlation[known]
        if settings.sharp:
            window = window_along(lengths, shape, sector.axis, settings.window)
            crossing, reason = find_sharp_crossing(wide, sums[f"{name} sharp"], window_blur(window), settings.threshold)
        else:
            crossing, reason = find_crossing(frequency, correlation, settings.threshold)
        found[name] = _curve(frequency, correlation, settings, 1 / crossing, reason)
    return found


def _curve(
    frequency: NDArray[np.float64],
    correlation: NDArray[np.float64],
    settings: ResolutionSettings,
    resolution: float,
    reason: str,
) -> ResolutionCurve:
    return ResolutionCurve(frequency, correlation, settings.threshold, resolution, reason, np.array([resolution]))


def calibration(share: float) -> float:
    """By what the resolution of one image is divided, at a share of the Nyquist frequency of its halves.

    0.95988146 exp(13.90441896 (r - 0.97979108)) + 0.55146136, measured by Koho et al. 2019 (supplementary note 2)
    against pairs of images at the threshold 1/7.
    """
    return 0.95988146 * math.exp(13.90441896 * (share - 0.97979108)) + 0.55146136


def _mean(curves: list[ResolutionCurve]) -> ResolutionCurve:
    """Average the curves of planes; a constant plane has none."""
    each = np.array([curve.resolution for curve in curves])
    longest = max(curves, key=lambda curve: len(curve.frequency))
    full = [curve for curve in curves if len(curve.frequency) == len(longest.frequency)]
    missing = [curve.reason for curve in curves if curve.reason]
    reason = f"{len(missing)} of {len(curves)} planes have none: {missing[0]}" if missing else ""
    return ResolutionCurve(
        longest.frequency,
        np.mean([curve.correlation for curve in full], axis=0),
        longest.threshold,
        float(np.nanmean(each)) if len(missing) < len(curves) else math.nan,
        reason,
        each,
    )
