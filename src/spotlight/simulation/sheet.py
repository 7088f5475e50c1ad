"""Light-sheet images: a sheet from the side with shadows, a detection blur, scattered light, and a camera.

Light travels along X, the camera looks along Z. Lengths are in µm, arrays are ZYX.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from scipy import ndimage

from spotlight.settings import Settings
from spotlight.simulation.optics import camera
from spotlight.simulation.phantom import FloatArray
from spotlight.simulation.tissue import Range, Tissue, drawn

SIGMA = 1 / np.sqrt(8 * np.log(2))
"""Standard deviation of a Gaussian over its full width at half maximum."""


class SheetSettings(Settings):
    """A light-sheet microscope and its camera; every range is drawn from once per field.

    Voxels and resolutions are those that published light-sheet volumes of cleared brains state. Light and shadows
    were chosen so that histograms, noise and spectra lie around those of public volumes
    (benchmarks/lightsheet_simulation.py).

    Examples
    --------
    >>> from spotlight.simulation import LightSheetSettings, SheetSettings, simulate_light_sheet_field
    >>> for sheet in ((4, 4), (20, 20)):  # µm: a thick sheet mixes planes
    ...     microscope = SheetSettings(sheet_fwhm_um=sheet)
    ...     settings = LightSheetSettings(shape=(12, 32, 32), microscope=microscope)
    ...     image = simulate_light_sheet_field("spots", settings).input.data
    ...     print(image.max())
    808
    646
    """

    voxel_um: tuple[float, float, float] = Field((5.0, 2.0, 2.0), description="Size of the voxels: z, y, x.")
    lateral_fwhm_um: Range = Field((2.5, 7), description="Width of the detection blur in the plane.")
    sheet_fwhm_um: Range = Field((6, 12), description="Thickness of the sheet at its waist.")
    rayleigh_um: Range = Field(
        (300, 2000), description="Distance from the waist at which the sheet is √2 times thicker."
    )
    waist_um: Range = Field((0, 300), description="Distance from the field's edge to the waist.")
    excitation_length_um: Range = Field((1000, 5000), description="Over which the sheet loses 63 % of its light.")
    emission_length_um: Range = Field((1000, 5000), description="The same for emitted light, along Z.")
    shadows_per_mm2: Range = Field((300, 4000), description="Obstacles per area of the sheet's entrance, Z and Y.")
    shadow_depth: Range = Field((0.05, 0.3), description="Share of the light that an obstacle takes.")
    shadow_um: Range = Field((1, 20), description="Width of a shadow, drawn for each one.")
    flicker: Range = Field((0.005, 0.06), description="Relative spread of the light between planes.")
    haze: Range = Field((0.1, 0.4), description="Share of the light that is scattered on its way to the camera.")
    haze_um: Range = Field((15, 40), description="How far it is scattered, a standard deviation.")
    photons: Range = Field((200, 3000), description="Photo-electrons per voxel of mean tissue.")
    read_noise: float = Field(1.6, ge=0, description="Electrons, standard deviation.")
    gain: Range = Field((0.5, 2), description="Camera counts per electron.")
    offset: float = Field(100.0, ge=0, description="Camera counts without light.")


MICROSCOPES = {
    "cleared-2x": SheetSettings(),
    "cleared-12x": SheetSettings(
        voxel_um=(2.0, 1.0, 1.0),
        lateral_fwhm_um=(1.0, 2.5),
        sheet_fwhm_um=(3.5, 6),
        rayleigh_um=(80, 400),
        shadow_um=(1, 8),
        flicker=(0.002, 0.02),
        haze=(0.05, 0.3),
        haze_um=(8, 20),
        photons=(60, 1000),
    ),
}
"""Microscopes by name: an overview of a brain at low magnification, and a part of it at high magnification, with the
camera's pixels binned by two."""


def microscope_of(voxel_um: tuple[float, float, float]) -> SheetSettings:
    """Give the microscope of `MICROSCOPES` that comes nearest, with voxels of another size and blurs in proportion.

    Parameters
    ----------
    voxel_um : (float, float, float)
        Edges of a voxel in z, y, x.

    Examples
    --------
    >>> microscope_of((6.0, 1.62, 1.62)).voxel_um
    (6.0, 1.62, 1.62)
    """
    near = min(MICROSCOPES.values(), key=lambda one: abs(np.log(one.voxel_um[1] / voxel_um[1])))
    z, y = voxel_um[0] / near.voxel_um[0], voxel_um[1] / near.voxel_um[1]
    scaled = {
        "voxel_um": voxel_um,
        "lateral_fwhm_um": tuple(y * edge for edge in near.lateral_fwhm_um),
        "sheet_fwhm_um": tuple(z * edge for edge in near.sheet_fwhm_um),
    }
    return near.model_copy(update=scaled)


def _by_name(value: object) -> object:
    if isinstance(value, str):
        if value not in MICROSCOPES:
            raise ValueError(f"a microscope is one of {', '.join(MICROSCOPES)}, or settings of your own")
        return MICROSCOPES[value]
    return value


Microscope = Annotated[SheetSettings, BeforeValidator(_by_name)]
"""Settings of a microscope, or its name in `MICROSCOPES`."""


def image_of(tissue: Tissue, slices: int, settings: SheetSettings, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Take the light-sheet stack of a tissue.

    Every voxel shines as its dye and background do in the light that the sheet brings there. The image is blurred by a
    Gaussian whose width along Z is the sheet's, w(x) = w0 √(1 + (x - x0)² / xR²); a share of the light is scattered
    widely, the more the deeper it comes from.

    Parameters
    ----------
    tissue : Tissue
        With `slices` slices per plane of the stack.
    slices : int
        Of which the middle one is in focus.
    settings : SheetSettings
        The microscope.
    rng : numpy.random.Generator
        The source of all randomness.

    Returns
    -------
    (Z, Y, X) uint16
        Camera counts.
    """
    voxel = (settings.voxel_um[0] / slices, *settings.voxel_um[1:])
    shape = tissue.dye.shape
    z, y, x = (np.arange(n) * edge for n, edge in zip(shape, voxel, strict=True))
    light = tissue.background + tissue.dye
    way = 1 if rng.uniform() < 0.5 else -1  # the sheet comes from either side
    sheet = np.exp(-x / drawn(settings.excitation_length_um, rng)).astype(np.float32) * _shadows(z, y, x, settings, rng)
    light *= sheet[:, :, ::way]
    deep = 1 - np.exp(-z / drawn(settings.emission_length_um, rng))

    waist = drawn(settings.sheet_fwhm_um, rng) * SIGMA
    wider = 1 + ((x - drawn(settings.waist_um, rng)) / drawn(settings.rayleigh_um, rng))[::way] ** 2
    lateral = drawn(settings.lateral_fwhm_um, rng) * SIGMA
    sharp = ndimage.gaussian_filter(light, [0, lateral / voxel[1], lateral / voxel[2]])
    # A mixture of the narrowest and the widest Gaussian has the variance of any in between.
    most = float(wider.max())
    thin, thick = (ndimage.gaussian_filter1d(sharp, waist * np.sqrt(w) / voxel[0], 0) for w in (1, most))
    share = ((wider - 1) / (most - 1)).astype(np.float32) if most > 1 else np.zeros(len(x), np.float32)
    sharp = (1 - share) * thin + share * thick

    wide = ndimage.gaussian_filter(sharp, [drawn(settings.haze_um, rng) / edge for edge in voxel], truncate=2.5)
    haze = (drawn(settings.haze, rng) * (1 + 2 * deep)).clip(0, 0.8).astype(np.float32)[:, None, None]
    seen = ((1 - haze) * sharp + haze * wide) * (1 - deep).astype(np.float32)[:, None, None]
    planes = seen[slices // 2 :: slices]
    planes = planes * rng.lognormal(0, drawn(settings.flicker, rng), (len(planes), 1, 1)).astype(np.float32)
    planes *= drawn(settings.photons, rng) / max(float(np.median(planes)), 1e-6)
    return camera(np.asarray(planes, np.float32), settings.read_noise, drawn(settings.gain, rng), settings.offset, rng)


def _shadows(
    z: NDArray[np.float64],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    settings: SheetSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the share of the light that gets past the obstacles: stripes along X, from each obstacle on."""
    passed = np.ones((len(z), len(y), len(x)), np.float32)
    area = float((z[-1] + 1) * (y[-1] + 1)) * 1e-6
    for _ in range(int(rng.poisson(drawn(settings.shadows_per_mm2, rng) * area))):
        width, depth = drawn(settings.shadow_um, rng), drawn(settings.shadow_depth, rng)
        high = width + settings.voxel_um[0]
        profile = (
            np.exp(-(((y - rng.uniform(0, y[-1])) / width) ** 2))
            * np.exp(-(((z - rng.uniform(0, z[-1])) / high) ** 2))[:, None]
        )
        start = int(np.searchsorted(x, rng.uniform(-3 * x[-1], x[-1])))  # most lie outside the field
        passed[:, :, start:] *= (1 - depth * profile).astype(np.float32)[:, :, None]
    return passed
