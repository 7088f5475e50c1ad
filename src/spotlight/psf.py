"""Point spread functions: how a fluorescence microscope blurs, by its optics, as a Gaussian, or as measured."""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spotlight.errors import SpotlightError
from spotlight.settings import Settings

FloatArray = NDArray[np.float32]

HALF_UM = (7.0, 4.5)
"""How far a computed point spread function reaches along the axis and in the plane."""


class PsfSettings(Settings):
    """What blurs fluorescence: aperture, wavelengths, indices and pinhole of a spinning disk.

    The defaults are those of Hoechst, its laser, a water-immersion objective and a common disk (50 µm) at 100x. The
    effective aperture is below the nominal 1.2, because the pupil is not completely filled and the objective has
    aberrations.
    """

    excitation_um: float = Field(0.405, gt=0, description="Laser line.")
    emission_um: float = Field(0.45, gt=0, description="Centre of the emission band.")
    objective_na: float = Field(0.8, gt=0, description="Effective numerical aperture, below the nominal one.")
    immersion_index: float = Field(1.333, gt=1, description="Refractive index of the immersion medium: water.")
    sample_index: float = Field(1.36, gt=1, description="Mean refractive index of the cells.")
    depth_um: float = Field(8.0, ge=0, description="Depth for which the index mismatch is computed.")
    pinhole_um: float = Field(0.5, gt=0, description="Pinhole diameter in the sample plane: 50 µm at 100x.")
    crosstalk: float = Field(
        0.35,
        ge=0,
        le=1,
        description="Share of out-of-focus light that reaches the camera through other pinholes; 1 is a widefield "
        "microscope.",
    )


class Pupil(Protocol):
    """What a pupil needs to be known."""

    @property
    def objective_na(self) -> float:
        """Numerical aperture."""

    @property
    def immersion_index(self) -> float:
        """Refractive index of the immersion medium."""

    @property
    def sample_index(self) -> float:
        """Refractive index of the sample."""

    @property
    def depth_um(self) -> float:
        """Depth in the sample."""


@lru_cache(maxsize=8)
def fluorescence_psf(optics: PsfSettings, voxel_um: float) -> FloatArray:
    """Compute the point spread function of the spinning disk on cubic voxels, ZYX, of odd sizes, with the sum 1.

    The focused part is excitation times emission blurred by the pinhole; the crosstalk part is emission alone, as in
    a widefield microscope. Both come from one scalar pupil with the phase of the index mismatch at `depth_um`.
    """
    from scipy import fft  # late, since settings of losses import this module

    fine, half_z, half_xy = 5, *(round(half / voxel_um) for half in HALF_UM)
    side = (2 * half_xy + 1) * fine
    pixel = voxel_um / fine
    z = np.arange(-2 * half_z - 1, 2 * half_z + 2) * voxel_um / 2
    emission = intensity_psf(optics, optics.emission_um, side, pixel, z)
    excitation = intensity_psf(optics, optics.excitation_um, side, pixel, z)
    radius = fft.fftfreq(side, 1 / (side * pixel))
    hole = (np.hypot(radius[:, None], radius[None, :]) <= optics.pinhole_um / 2).astype(np.float64)
    blurred = fft.ifft2(fft.fft2(emission) * fft.fft2(hole / hole.sum())).real.clip(0)
    focused = _bin(excitation * blurred, fine)
    wide = _bin(emission, fine)
    psf = (1 - optics.crosstalk) * focused / focused.sum() + optics.crosstalk * wide / wide.sum()
    return np.asarray(psf, np.float32)


def intensity_psf(
    optics: Pupil, wavelength: float, side: int, pixel: float, z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the widefield image of a point on a fine lateral grid at the defoci `z`; its centre has index 0."""
    from scipy import fft

    k = fft.fftfreq(side, pixel)
    lateral2 = k[:, None] ** 2 + k[None, :] ** 2
    pupil = lateral2 <= (optics.objective_na / wavelength) ** 2
    kz_immersion = np.sqrt(np.maximum((optics.immersion_index / wavelength) ** 2 - lateral2, 0))
    kz_sample = np.sqrt(np.maximum((optics.sample_index / wavelength) ** 2 - lateral2, 0))
    mismatch = kz_sample - kz_immersion
    # Piston and defocus only shift the image and are removed; the rest is the spherical aberration.
    basis = np.stack([np.ones(int(pupil.sum())), kz_sample[pupil]], 1)
    mismatch = np.where(pupil, mismatch, 0)
    mismatch[pupil] -= basis @ np.linalg.lstsq(basis, mismatch[pupil], rcond=None)[0]
    field = [fft.ifft2(pupil * np.exp(2j * np.pi * (kz_sample * height + mismatch * optics.depth_um))) for height in z]
    return np.asarray(np.abs(np.stack(field)) ** 2)


def _bin(fine_psf: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Sum the fine grid (half-voxel planes, `factor` pixels per voxel edge) into voxels."""
    # Planes have half the voxel distance: a voxel is its centre plane plus half of the planes above and below.
    planes = fine_psf[1:-1:2] + 0.5 * (fine_psf[0:-2:2] + fine_psf[2::2])
    n = fine_psf.shape[1] // factor
    shifted = np.roll(planes, (n * factor // 2, n * factor // 2), axis=(1, 2))  # the point moves to the centre pixel
    return np.asarray(shifted.reshape(len(planes), n, factor, n, factor).sum((2, 4)))


def gaussian_psf(sigma_um: tuple[float, float, float], voxel_um: float) -> FloatArray:
    """Compute a Gaussian on cubic voxels, ZYX, of odd sizes, with the sum 1, cut at four standard deviations.

    Parameters
    ----------
    sigma_um : (float, float, float)
        Standard deviations along Z, Y and X.
    voxel_um : float
        Edge of the voxels.
    """
    axes = []
    for sigma in sigma_um:
        half = int(np.ceil(4 * sigma / voxel_um))
        axes.append(np.exp(-0.5 * (np.arange(-half, half + 1) * voxel_um / sigma) ** 2))
    psf = np.einsum("i,j,k->ijk", *axes)
    return np.asarray(psf / psf.sum(), np.float32)


def read_psf(path: Path, digest: str = "") -> FloatArray:
    """Read a measured point spread function: a NumPy file of ZYX on the grid on which it is used.

    Parameters
    ----------
    path : Path
        An ``.npy`` file, for example of an averaged bead, less its background.
    digest : str
        The SHA-256 that the file must have; empty if it is unknown.

    Returns
    -------
    (Z, Y, X) float32
        Divided by its sum.

    Raises
    ------
    SpotlightError
        If there is no such file, it has another SHA-256, or does not hold a point spread function.
    """
    try:
        found = sha256(path.read_bytes()).hexdigest()
        if digest and found != digest:
            raise ValueError(f"its SHA-256 is {found}, but the settings state {digest}")
        psf = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (OSError, ValueError) as error:
        raise SpotlightError(
            f"{path}: is no point spread function that can be read ({error}). Write it with numpy.save as an array ZYX."
        ) from error
    if psf.ndim != 3 or any(side % 2 == 0 for side in psf.shape) or not np.isfinite(psf).all() or psf.min() < 0:
        raise SpotlightError(
            f"{path}: a point spread function has three axes of odd sizes with its peak in the middle, and no negative "
            f"value. Received: shape {psf.shape}, least value {psf.min():g}. Subtract the background and cut it out."
        )
    if not psf.sum() > 0:
        raise SpotlightError(f"{path}: the point spread function is 0 everywhere. Check the file.")
    return np.asarray(psf / psf.sum(), np.float32)
