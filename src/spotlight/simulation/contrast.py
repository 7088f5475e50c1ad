"""Phase contrast and DIC: images of a phase object through optics in the condenser and in the objective's pupil.

Waves are propagated through the refractive index as for brightfield; only source and pupil differ.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from spotlight.simulation.optics import BrightfieldSettings, FloatArray, focus_series


class PhaseContrastSettings(BrightfieldSettings):
    """Positive phase contrast after Zernike (Physica 9, 686, 1942): optically dense objects appear dark.

    The condenser has an annulus. A ring in the objective's back focal plane attenuates the unscattered light and
    advances it by a quarter wave. Scattered light that also passes the ring makes the halo. Apertures are nominal
    values of a 40x/0.75 objective with a green filter.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import PhaseContrastSettings, phase_contrast
    >>> index = np.full((8, 32, 32), 1.337, np.float32)
    >>> index[3:5, 12:20, 12:20] = 1.35
    >>> for share in (0.5, 0.1):  # a darker ring: more contrast
    ...     settings, rng = PhaseContrastSettings(ring_transmission=share), np.random.default_rng(0)
    ...     print(round(float(phase_contrast(index, 1.337, (0.5, 0.2), np.array([2.0]), settings, rng).std()), 2))
    0.07
    0.14
    """

    wavelength_um: float = Field(0.55, gt=0, description="Centre of the lamp's band: a green filter.")
    bandwidth_um: float = Field(0.06, ge=0, description="Full spectral width; source points draw from it.")
    condenser_na: float = Field(0.31, gt=0, description="Numerical aperture of the annulus's outer edge.")
    inner_na: float = Field(0.26, ge=0, description="Numerical aperture of the annulus's inner edge.")
    ring_margin_na: float = Field(
        0.015, ge=0, description="Extra width of the phase ring on each side, as numerical aperture."
    )
    ring_transmission: float = Field(0.25, gt=0, le=1, description="Share of the light that the phase ring transmits.")
    ring_phase: float = Field(
        0.5 * np.pi, description="Phase by which the ring advances light, in radians: a quarter wave."
    )
    objective_na: float = Field(0.75, gt=0, description="Numerical aperture of the objective.")
    source_points: int = Field(32, ge=1, description="Plane waves that fill the annulus.")

    @model_validator(mode="after")
    def _annulus_fits(self) -> "PhaseContrastSettings":
        if not self.inner_na < self.condenser_na <= self.objective_na:
            raise ValueError(
                "an annulus needs inner_na < condenser_na <= objective_na. Received: "
                f"{self.inner_na}, {self.condenser_na}, {self.objective_na}."
            )
        return self


class DICSettings(BrightfieldSettings):
    """Differential interference contrast after Nomarski: two copies of the image, shifted in space and phase.

    The copies are orthogonally polarised and interfere behind the analyser. A prism in the condenser compensates the
    shear for every source point, so all points have the same bias (S. B. Mehta and C. J. R. Sheppard, Optics Express
    16, 19462, 2008). Apertures are nominal values of a 40x/0.95 objective with a partly closed condenser.

    Examples
    --------
    >>> import math
    >>> import numpy as np
    >>> from spotlight.simulation import DICSettings, dic
    >>> index = np.full((8, 32, 32), 1.337, np.float32)
    >>> index[3:5, 12:20, 12:20] = 1.36
    >>> for bias in (math.pi / 4, math.pi / 2):  # a greater bias: more light, less relief
    ...     settings, rng = DICSettings(bias=bias), np.random.default_rng(0)
    ...     print(round(float(dic(index, 1.337, (0.5, 0.2), np.array([2.0]), settings, rng).std()), 2))
    0.07
    0.03
    """

    wavelength_um: float = Field(0.55, gt=0, description="Centre of the lamp's band: a green filter.")
    bandwidth_um: float = Field(0.06, ge=0, description="Full spectral width; source points draw from it.")
    condenser_na: float = Field(0.6, gt=0, description="Numerical aperture of the illumination.")
    objective_na: float = Field(0.95, gt=0, description="Numerical aperture of the objective.")
    source_points: int = Field(32, ge=1, description="Plane waves that fill the condenser's disk.")
    shear_um: float = Field(0.28, gt=0, description="Distance between the two copies, about the resolution.")
    shear_deg: float = Field(45.0, description="Direction of the shear, from X towards Y.")
    bias: float = Field(
        0.25 * np.pi, gt=0, lt=2 * np.pi, description="Phase difference between the two copies, in radians."
    )


def phase_contrast(
    index: FloatArray,
    medium_index: float,
    voxel_um: tuple[float, float],
    heights_um: NDArray[np.float64],
    optics: PhaseContrastSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Form noise-free phase-contrast images at some focal heights.

    The ring multiplies the amplitude of light by sqrt(t) exp(-i a), where t is its transmission and a its phase; see
    `PhaseContrastSettings`.

    Parameters
    ----------
    index, medium_index, voxel_um, heights_um, rng
        See `spotlight.simulation.optics.focus_series`.
    optics : PhaseContrastSettings
        Annulus, phase ring, apertures and lamp.

    Returns
    -------
    (n, Y, X) float32
        Intensity, 1 where there is no object.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import PhaseContrastSettings, phase_contrast
    >>> index = np.full((8, 32, 32), 1.337, np.float32)
    >>> index[3:5, 12:20, 12:20] = 1.35
    >>> optics, rng = PhaseContrastSettings(source_points=5), np.random.default_rng(0)
    >>> image = phase_contrast(index, 1.337, (0.5, 0.2), np.array([2.0]), optics, rng)
    >>> bool(image[0, 14:18, 14:18].mean() < image[0, :4].mean())  # what is dense is dark
    True
    """
    inner = optics.inner_na / optics.condenser_na
    amplitude = np.sqrt(optics.ring_transmission)

    def plate(
        ky: NDArray[np.float64], kx: NDArray[np.float64], direct: tuple[float, float], wavelength: float
    ) -> NDArray[np.complex128]:
        aperture = np.hypot(ky, kx) * wavelength
        low, high = optics.inner_na - optics.ring_margin_na, optics.condenser_na + optics.ring_margin_na
        ring = (aperture >= low) & (aperture <= high)
        ring |= (ky == direct[0]) & (kx == direct[1])  # on a small grid this frequency may lie outside the ring
        return np.asarray(np.where(ring, np.exp(-1j * optics.ring_phase), 1 / amplitude))

    source = partial(_annulus, inner=inner)
    return focus_series(index, medium_index, voxel_um, heights_um, optics, rng, source, plate)


def dic(
    index: FloatArray,
    medium_index: float,
    voxel_um: tuple[float, float],
    heights_um: NDArray[np.float64],
    optics: DICSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Form noise-free DIC images at some focal heights.

    With shear s and bias b, a wave u whose unscattered light has the frequency k0 becomes
    (u(r - s/2) exp(i b/2) - u(r + s/2) exp(-i b/2)) / 2. The condenser's prism multiplies each copy by
    exp(± i pi k0 s). In the pupil this is the factor i sin(b/2 - pi (k - k0) s). It is divided by sin(b/2), so an empty
    field is 1.

    Parameters
    ----------
    index, medium_index, voxel_um, heights_um, rng
        See `spotlight.simulation.optics.focus_series`.
    optics : DICSettings
        Shear, bias, apertures and lamp.

    Returns
    -------
    (n, Y, X) float32
        Intensity, 1 where there is no object.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import DICSettings, dic
    >>> index = np.full((8, 32, 32), 1.337, np.float32)
    >>> index[3:5, 12:20, 12:20] = 1.36
    >>> optics, rng = DICSettings(source_points=5), np.random.default_rng(0)
    >>> image = dic(index, 1.337, (0.5, 0.2), np.array([2.0]), optics, rng)
    >>> image.shape, bool(image.min() < 0.9), bool(image.max() > 1.1)  # dark on one side, bright on the other
    ((1, 32, 32), True, True)
    """
    angle = np.deg2rad(optics.shear_deg)
    shear_y, shear_x = optics.shear_um * np.sin(angle), optics.shear_um * np.cos(angle)

    def difference(
        ky: NDArray[np.float64], kx: NDArray[np.float64], direct: tuple[float, float], wavelength: float
    ) -> NDArray[np.float64]:
        shift = (ky - direct[0]) * shear_y + (kx - direct[1]) * shear_x
        return np.asarray(np.sin(optics.bias / 2 - np.pi * shift) / np.sin(optics.bias / 2))

    return focus_series(index, medium_index, voxel_um, heights_um, optics, rng, transfer=difference)


def _annulus(count: int, turn: float, inner: float) -> NDArray[np.float64]:
    """Return points that evenly fill the annulus between the radii `inner` and 1 (a sunflower), (count, 2)."""
    radius = np.sqrt(inner**2 + (1 - inner**2) * (np.arange(count) + 0.5) / count)
    # Angles are equally spaced, so even a few points are evenly distributed around the annulus.
    angle = 2 * np.pi * np.arange(count) / count + turn
    radius = radius[np.argsort(np.arange(count) * (np.sqrt(5) - 1) / 2 % 1)]
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
