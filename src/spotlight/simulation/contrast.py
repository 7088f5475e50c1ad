"""Phase contrast and DIC: what optics in the condenser and in the objective's pupil make of a phase object.

Both use the same waves through the same refractive index as brightfield; only source and pupil differ.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from spotlight.simulation.optics import BrightfieldSettings, FloatArray, focus_series


class PhaseContrastSettings(BrightfieldSettings):
    """Positive phase contrast after Zernike (Physica 9, 686, 1942): what is optically dense comes out dark.

    An annulus in the condenser, and in the objective's back focal plane a ring that absorbs and advances by a quarter
    wave the light that met no object. The scattered light that happens to pass the ring makes the halo. Apertures are
    nominal values of a 40x/0.75 objective with a green filter.
    """

    wavelength_um: float = Field(0.55, gt=0, description="Centre of the lamp's band: a green filter.")
    bandwidth_um: float = Field(0.06, ge=0, description="Full spectral width; source points draw from it.")
    condenser_na: float = Field(0.31, gt=0, description="Numerical aperture of the annulus's outer edge.")
    inner_na: float = Field(0.26, ge=0, description="Numerical aperture of the annulus's inner edge.")
    ring_margin_na: float = Field(0.015, ge=0, description="By how much the phase ring is wider on either side.")
    ring_transmission: float = Field(0.25, gt=0, le=1, description="Share of the light that the phase ring lets pass.")
    ring_phase: float = Field(0.5 * np.pi, description="By what the ring advances light, in radians: a quarter wave.")
    objective_na: float = Field(0.75, gt=0, description="Numerical aperture of the objective.")
    source_points: int = Field(32, ge=1, description="Plane waves that fill the annulus.")

    @model_validator(mode="after")
    def _annulus_fits(self) -> "PhaseContrastSettings":
        if not self.inner_na < self.condenser_na <= self.objective_na:
            raise ValueError(
                "an annulus has inner_na < condenser_na <= objective_na. Received: "
                f"{self.inner_na}, {self.condenser_na}, {self.objective_na}."
            )
        return self


class DICSettings(BrightfieldSettings):
    """Differential interference contrast after Nomarski: two copies of the image, sheared and out of step.

    The copies are orthogonally polarised and interfere behind the analyser. A prism in the condenser shears the light
    of every source point against it, so that all points agree in the bias (S. B. Mehta and C. J. R. Sheppard, Optics
    Express 16, 19462, 2008). Apertures are nominal values of a 40x/0.95 objective with the condenser stopped down.
    """

    wavelength_um: float = Field(0.55, gt=0, description="Centre of the lamp's band: a green filter.")
    bandwidth_um: float = Field(0.06, ge=0, description="Full spectral width; source points draw from it.")
    condenser_na: float = Field(0.6, gt=0, description="Numerical aperture of the illumination.")
    objective_na: float = Field(0.95, gt=0, description="Numerical aperture of the objective.")
    source_points: int = Field(32, ge=1, description="Plane waves that fill the condenser's disk.")
    shear_um: float = Field(0.28, gt=0, description="Distance of the two copies: about the resolution.")
    shear_deg: float = Field(45.0, description="Direction of the shear, from X towards Y.")
    bias: float = Field(
        0.25 * np.pi, gt=0, lt=2 * np.pi, description="Retardation of one copy against the other, in radians."
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

    The ring multiplies the amplitude of light in it by sqrt(t) exp(-i a), where t is its transmission and a its
    advance; see `PhaseContrastSettings`. Parameters as for `spotlight.simulation.optics.focus_series`.

    Returns
    -------
    (n, Y, X) float32
        Intensity, 1 where there is no object.
    """
    inner = optics.inner_na / optics.condenser_na
    amplitude = np.sqrt(optics.ring_transmission)

    def plate(
        ky: NDArray[np.float64], kx: NDArray[np.float64], direct: tuple[float, float], wavelength: float
    ) -> NDArray[np.complex128]:
        aperture = np.hypot(ky, kx) * wavelength
        low, high = optics.inner_na - optics.ring_margin_na, optics.condenser_na + optics.ring_margin_na
        ring = (aperture >= low) & (aperture <= high)
        ring |= (ky == direct[0]) & (kx == direct[1])  # the nearest frequency of a small grid may miss it
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

    A wave u with direct light of the frequency k0 becomes (u(r - s/2) exp(i b/2) - u(r + s/2) exp(-i b/2)) / 2, each
    copy times exp(± i pi k0 s), which the condenser's prism adds; in the pupil that is a factor
    i sin(b/2 - pi (k - k0) s), with shear s and bias b. It is divided by sin(b/2), so that an empty field is 1.
    Parameters as for `spotlight.simulation.optics.focus_series`.

    Returns
    -------
    (n, Y, X) float32
        Intensity, 1 where there is no object.
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
    """Points that fill the annulus between the radii `inner` and 1 evenly (a sunflower), (count, 2)."""
    radius = np.sqrt(inner**2 + (1 - inner**2) * (np.arange(count) + 0.5) / count)
    # Neighbours in angle come one after another, so that few points, too, go around evenly.
    angle = 2 * np.pi * np.arange(count) / count + turn
    radius = radius[np.argsort(np.arange(count) * (np.sqrt(5) - 1) / 2 % 1)]
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
