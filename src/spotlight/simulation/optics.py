"""Microscope images of a phantom: partially coherent brightfield, and a fluorescence stack.

Brightfield: multi-slice beam propagation of plane waves from the condenser's disk through the refractive index,
then through the objective's pupil to each focal plane; the intensities of all source points are added.
Fluorescence: the dye convolved with the point spread function of a spinning-disk microscope from a scalar pupil.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import fft

from spotlight.psf import PsfSettings, fluorescence_psf, intensity_psf
from spotlight.settings import Settings

FloatArray = NDArray[np.float32]
Source = Callable[[int, float], NDArray[np.float64]]
Transfer = Callable[
    [NDArray[np.float64], NDArray[np.float64], tuple[float, float], float], NDArray[np.float64] | NDArray[np.complex128]
]


class BrightfieldSettings(Settings):
    """The transmitted-light path: a long-working-distance condenser and a red lamp, as on live-cell microscopes.

    Apertures are nominal values of such a microscope with a water-immersion objective. The condenser's stop, the light
    and the noise were chosen so that contrast, spectrum and autocorrelation agree with a real stack (docs/method.md).

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import BrightfieldSettings, brightfield
    >>> index = np.full((16, 32, 32), 1.337, np.float32)
    >>> index[6:10, 12:20, 12:20] = 1.36
    >>> for na in (0.2, 0.9):  # a stopped-down condenser gives more contrast
    ...     image = brightfield(index, 1.337, 0.29, BrightfieldSettings(condenser_na=na), np.random.default_rng(0))
    ...     print(round(float(image.std()), 2))
    0.03
    0.01
    """

    wavelength_um: float = Field(0.70, gt=0, description="Centre of the lamp's band.")
    bandwidth_um: float = Field(0.08, ge=0, description="Full spectral width; source points draw from it.")
    condenser_na: float = Field(0.4, gt=0, description="Numerical aperture of the illumination.")
    objective_na: float = Field(1.2, gt=0, description="Numerical aperture of the objective.")
    source_points: int = Field(37, ge=1, description="Plane waves that fill the condenser's disk.")
    photons: float = Field(1500.0, gt=0, description="Mean photo-electrons per voxel.")
    focus_offset_um: float = Field(0.0, description="Axial shift of the brightfield focus against fluorescence.")
    read_noise: float = Field(2.0, ge=0, description="Electrons, standard deviation.")
    gain: float = Field(4.0, gt=0, description="Camera counts per electron.")
    offset: float = Field(100.0, ge=0, description="Camera counts without light.")


class FluorescenceSettings(PsfSettings):
    """The fluorescence path: Hoechst on a spinning disk with a water-immersion objective, and its light and camera.

    Effective aperture, crosstalk and light were chosen so that the normalised histogram and the autocorrelations along
    Z and in the plane agree with a real stack (docs/method.md).

    Examples
    --------
    >>> from spotlight.simulation import FluorescenceSettings, SimulationSettings
    >>> bright = SimulationSettings(fluorescence=FluorescenceSettings(photons=150), repeat=True)
    >>> bright.fluorescence.offset
    100.0
    """

    photons: float = Field(15.0, gt=0, description="Photo-electrons per voxel in a mean nucleus.")
    background_photons: float = Field(3.0, ge=0, description="Photo-electrons per voxel from medium and optics.")
    read_noise: float = Field(1.6, ge=0, description="Electrons, standard deviation.")
    gain: float = Field(12.0, gt=0, description="Camera counts per electron.")
    offset: float = Field(100.0, ge=0, description="Camera counts without light.")


class WidefieldSettings(Settings):
    """A widefield fluorescence microscope with its focus near the coverslip, and a camera.

    The effective aperture is below the nominal 0.95 of a dry 40x objective, as for `FluorescenceSettings`.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import WidefieldSettings, widefield
    >>> dye = np.zeros((8, 32, 32), np.float32)
    >>> dye[2, 16, 16] = 1
    >>> for na in (0.85, 0.4):  # a lower aperture spreads a point
    ...     image = widefield(dye, (0.5, 0.2), 1.25, 0.46, WidefieldSettings(objective_na=na, background_photons=0))
    ...     print(round(float(image.max() / image.sum()), 2))
    0.42
    0.1
    """

    objective_na: float = Field(0.85, gt=0, description="Effective numerical aperture.")
    immersion_index: float = Field(1.0, ge=1, description="Refractive index of the immersion medium: air.")
    sample_index: float = Field(1.36, gt=1, description="Mean refractive index of the cells.")
    depth_um: float = Field(2.0, ge=0, description="Depth for which the index mismatch is computed.")
    photons: float = Field(250.0, gt=0, description="Photo-electrons per pixel of a dense structure of 1 µm thickness.")
    background_photons: float = Field(25.0, ge=0, description="Photo-electrons per pixel from medium and optics.")
    read_noise: float = Field(1.8, ge=0, description="Electrons, standard deviation.")
    gain: float = Field(4.0, gt=0, description="Camera counts per electron.")
    offset: float = Field(100.0, ge=0, description="Camera counts without light.")


def brightfield(
    index: FloatArray, medium_index: float, voxel_um: float, optics: BrightfieldSettings, rng: np.random.Generator
) -> FloatArray:
    """Form a noise-free brightfield focus series of a refractive-index volume.

    Parameters
    ----------
    index : (Z, Y, X) float32
        Refractive index on cubic voxels; light enters at z = 0. Y and X are periodic.
    medium_index : float
        Refractive index of the medium, the reference of the propagation.
    voxel_um : float
        Edge of the voxels in µm.
    optics : BrightfieldSettings
        The transmitted-light path.
    rng : numpy.random.Generator
        Draws the wavelength of each source point and rotates the source points.

    Returns
    -------
    (Z, Y, X) float32
        Intensity, 1 where there is no object.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import BrightfieldSettings, brightfield
    >>> index = np.full((16, 32, 32), 1.337, np.float32)
    >>> optics, rng = BrightfieldSettings(source_points=5), np.random.default_rng(0)
    >>> empty = brightfield(index, 1.337, 0.29, optics, rng)
    >>> bool(np.allclose(empty, 1, atol=1e-3))
    True
    >>> index[6:10, 12:20, 12:20] = 1.36  # an object that is optically denser than the medium
    >>> seen = brightfield(index, 1.337, 0.29, optics, rng)
    >>> bool(seen.std() > 0.01)
    True
    """
    heights = np.asarray(np.arange(len(index)) * voxel_um + optics.focus_offset_um, np.float64)
    return focus_series(index, medium_index, (voxel_um, voxel_um), heights, optics, rng)


def focus_series(
    index: FloatArray,
    medium_index: float,
    voxel_um: tuple[float, float],
    heights_um: NDArray[np.float64],
    optics: BrightfieldSettings,
    rng: np.random.Generator,
    source: Source | None = None,
    transfer: Transfer | None = None,
) -> FloatArray:
    """Form noise-free transmitted-light images at some focal heights, with any source and any objective's pupil.

    Parameters
    ----------
    index : (Z, Y, X) float32
        Refractive index; light enters at z = 0. Y and X are periodic.
    medium_index : float
        Refractive index of the medium, the reference of the propagation.
    voxel_um : (float, float)
        Distance between the slices and edge of the pixels in µm.
    heights_um : (n,) float
        Heights of the focal planes over the middle of the first slice.
    optics : BrightfieldSettings
        The transmitted-light path.
    rng : numpy.random.Generator
        Draws the wavelength of each source point and rotates the source.
    source : callable, optional
        Returns source points for a count and a rotation, (count, 2) in units of the condenser's aperture. Default: a
        full disk.
    transfer : callable, optional
        Returns the factor of the objective's pupil, for spatial frequencies in y and x, those of the unscattered light,
        and the wavelength. Default: 1.

    Returns
    -------
    (n, Y, X) float32
        Intensity; 1 where there is no object, if `transfer` is 1.
    """
    nz, ny, nx = index.shape
    step_um, pixel_um = voxel_um
    ky = fft.fftfreq(ny, pixel_um)[:, None]
    kx = fft.fftfreq(nx, pixel_um)[None, :]
    lateral2 = ky**2 + kx**2
    points = (source or _disk)(optics.source_points, rng.uniform(0, 2 * np.pi)) * optics.condenser_na
    wavelengths = optics.wavelength_um + optics.bandwidth_um * rng.uniform(-0.5, 0.5, len(points))
    contrast = (index - np.float32(medium_index)).astype(np.float32)
    image = np.zeros((len(heights_um), ny, nx), np.float32)
    for (sy, sx), wavelength in zip(points, wavelengths, strict=True):
        # The nearest frequency on the grid keeps the plane wave periodic.
        wave_y = round(sy / wavelength * ny * pixel_um)
        wave_x = round(sx / wavelength * nx * pixel_um)
        axial2 = (medium_index / wavelength) ** 2 - lateral2
        propagating = axial2 > 0
        kz = 2 * np.pi * np.sqrt(np.where(propagating, axial2, 0))
        step = np.where(propagating, _wave(kz * step_um), 0)
        pupil = propagating & (lateral2 <= (optics.objective_na / wavelength) ** 2)
        # A tilted wave has a longer path through each slice.
        path = step_um * kz[wave_y, wave_x] ** -1 * 2 * np.pi * medium_index / wavelength
        phase_per_index = np.float32(2 * np.pi / wavelength * path)
        spectrum = np.zeros((ny, nx), np.complex64)
        spectrum[wave_y, wave_x] = ny * nx
        for plane in range(nz):
            field = fft.ifft2(spectrum, overwrite_x=True) * _wave(phase_per_index * contrast[plane])
            spectrum = fft.fft2(field, overwrite_x=True) * step
        spectrum *= pupil
        if transfer is not None:
            direct = (ky[wave_y, 0], kx[0, wave_x])
            spectrum *= transfer(ky, kx, direct, wavelength).astype(np.complex64)
        for plane, z in enumerate(heights_um):
            field = fft.ifft2(spectrum * _wave(kz * (z - nz * step_um)), overwrite_x=True)
            image[plane] += field.real**2 + field.imag**2
    image /= np.float32(len(points))
    return image


def _wave(phase: NDArray[np.floating]) -> NDArray[np.complex64]:
    """exp(i phase) in single precision, several times faster than NumPy's complex exponential."""
    phase = phase.astype(np.float32)
    wave = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=wave.real)
    np.sin(phase, out=wave.imag)
    return wave


def _disk(count: int, turn: float) -> NDArray[np.float64]:
    """Return points that fill the unit disk evenly (a sunflower), (count, 2)."""
    radius = np.sqrt((np.arange(count) + 0.5) / count)
    angle = np.arange(count) * np.pi * (3 - np.sqrt(5)) + turn
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def fluorescence(dye: FloatArray, voxel_um: float, optics: FluorescenceSettings) -> FloatArray:
    """Return the expected photo-electrons of a dye volume, ZYX: the dye blurred by the PSF, plus background.

    Parameters
    ----------
    dye : (Z, Y, X) float32
        Dye concentration on cubic voxels; 1 in a mean nucleus.
    voxel_um : float
        Edge of the voxels in µm.
    optics : FluorescenceSettings
        The fluorescence path.

    Returns
    -------
    (Z, Y, X) float32
        Photo-electrons per voxel, without noise.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import FluorescenceSettings, fluorescence
    >>> dye = np.zeros((24, 32, 32), np.float32)
    >>> optics = FluorescenceSettings(background_photons=3)
    >>> round(float(fluorescence(dye, 0.29, optics).mean()), 3)  # without dye, the background alone
    3.0
    >>> dye[12, 16, 16] = 100
    >>> row = fluorescence(dye, 0.29, optics)[12, 16, 14:19] - 3
    >>> [round(float(value / row[2]), 1) for value in row]  # a point is blurred
    [0.0, 0.1, 1.0, 0.1, 0.0]
    """
    psf = fluorescence_psf(optics, voxel_um)
    size = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(dye.shape, psf.shape, strict=True)]
    blurred = fft.irfftn(fft.rfftn(dye, size) * fft.rfftn(psf, size), size)
    crop = tuple(slice(m // 2, m // 2 + n) for n, m in zip(dye.shape, psf.shape, strict=True))
    expected = optics.photons * blurred[crop].clip(0) + optics.background_photons
    return np.asarray(expected, np.float32)


def widefield(
    dye: FloatArray, voxel_um: tuple[float, float], height_um: float, emission_um: float, optics: WidefieldSettings
) -> FloatArray:
    """Return the expected photo-electrons of a dye volume in one focal plane.

    Every slice is convolved with the widefield point spread function at its distance from the focus, and all are added.

    Parameters
    ----------
    dye : (Z, Y, X) float32
        Dye concentration; the first slice begins at height 0.
    voxel_um : (float, float)
        Distance between the slices and edge of the pixels.
    height_um : float
        Height of the focal plane.
    emission_um : float
        Centre of the dye's emission band.
    optics : WidefieldSettings
        The fluorescence path.

    Returns
    -------
    (Y, X) float32

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import WidefieldSettings, widefield
    >>> dye = np.zeros((8, 32, 32), np.float32)
    >>> dye[2, 16, 16] = 1  # the middle of this slice is at 1.25 µm
    >>> heights = (1.25, 3.5)
    >>> peaks = [widefield(dye, (0.5, 0.2), height, 0.46, WidefieldSettings()).max() for height in heights]
    >>> bool(peaks[0] > peaks[1])  # out of focus it is dimmer
    True
    """
    step, pixel = voxel_um
    slices, ny, nx = dye.shape
    side = fft.next_fast_len(max(ny, nx) + round(6.0 / pixel), real=True)
    transfer = _widefield_transfer(optics, emission_um, side, pixel, slices, step, height_um)
    spectrum = sum(fft.rfft2(dye[n], (side, side)) * transfer[n] for n in range(slices))
    blurred = fft.irfft2(spectrum, (side, side))[:ny, :nx].clip(0)
    return np.asarray(optics.photons * step * blurred + optics.background_photons, np.float32)


@lru_cache(maxsize=8)
def _widefield_transfer(
    optics: WidefieldSettings, emission_um: float, side: int, pixel: float, slices: int, step: float, height: float
) -> NDArray[np.complex64]:
    """Return the spectrum of the point spread function of every slice, each normalised to the sum 1."""
    defocus = np.asarray(height - (np.arange(slices) + 0.5) * step, np.float64)
    psf = intensity_psf(optics, emission_um, side, pixel, defocus)
    psf /= psf.sum((1, 2), keepdims=True)
    return np.asarray(fft.rfft2(psf), np.complex64)


def shading(shape: tuple[int, int], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return uneven light: a linear and a quadratic term over the field, with a mean near 1."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    tilt_y, tilt_x, bowl = rng.uniform(-strength / 2, strength / 2, 3)
    slope = tilt_y * y[:, None] + tilt_x * x[None, :]
    return np.asarray(1 + slope + bowl * (y[:, None] ** 2 + x[None, :] ** 2 - 2 / 3), np.float32)


def camera(
    expected: FloatArray, read_noise: float, gain: float, offset: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Turn expected photo-electrons into camera counts: Poisson and read noise, gain and offset, clipped to 16 bit."""
    electrons = rng.poisson(expected) + rng.normal(0, read_noise, expected.shape)
    return np.clip(np.rint(gain * electrons + offset), 0, 65535).astype(np.uint16)
