"""Adherent cells with four stained structures, and the refractive index that makes them visible without stains.

Lengths are in µm, arrays are ZYX, and z increases from the coverslip, where the first slice begins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spotlight.simulation.adherent import AdherentCellSettings, between, make_bodies, nucleoli
from spotlight.simulation.fibres import actin, droplets, microtubules, mitochondria
from spotlight.simulation.phantom import FloatArray, _noise

STAINS = ("Nucleus", "Mitochondria", "Tubulin", "Actin")
"""The stained structures, in the order and with the names of Light My Cells."""


@dataclass(frozen=True, eq=False)
class OrganellePhantom:
    """One simulated field of adherent cells: the truth.

    Attributes
    ----------
    index : (Z, Y, X) float32
        Refractive index.
    dyes : dict of (Z, Y, X) float32
        Concentration of each dye in `STAINS`; 1 in a dense structure.
    cells, nuclei : (Y, X) int32
        The cells seen from above, and their nuclei with the same numbers; 0 outside.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import AdherentCellSettings, make_organelles
    >>> phantom = make_organelles((4, 32, 32), (0.5, 0.8), AdherentCellSettings(), np.random.default_rng(0))
    >>> sorted(phantom.dyes), phantom.index.shape, phantom.nuclei.shape
    (['Actin', 'Mitochondria', 'Nucleus', 'Tubulin'], (4, 32, 32), (32, 32))
    """

    index: FloatArray
    dyes: dict[str, FloatArray]
    cells: NDArray[np.int32]
    nuclei: NDArray[np.int32]


def make_organelles(
    shape: tuple[int, int, int],
    voxel_um: tuple[float, float],
    settings: AdherentCellSettings,
    rng: np.random.Generator,
) -> OrganellePhantom:
    """Make one field of adherent cells.

    Parameters
    ----------
    shape : (int, int, int)
        Slices, and pixels in y and x.
    voxel_um : (float, float)
        Distance between the slices and edge of the pixels.
    settings : AdherentCellSettings
        Properties of the cells.
    rng : numpy.random.Generator
        The source of all randomness.

    Returns
    -------
    OrganellePhantom
        Refractive index, dyes, cells and nuclei.

    Examples
    --------
    >>> import numpy as np
    >>> from spotlight.simulation import AdherentCellSettings, make_organelles
    >>> settings = AdherentCellSettings(cell_area_um2=300)
    >>> phantom = make_organelles((4, 32, 32), (0.5, 0.8), settings, np.random.default_rng(0))
    >>> inside = phantom.nuclei > 0
    >>> bool((phantom.nuclei == phantom.cells)[inside].all())  # each in its own cell
    True
    """
    pixel = voxel_um[1]
    bodies = make_bodies(shape[1:], pixel, settings, rng)
    count = int(bodies.cells.max())
    inside = between(np.zeros_like(bodies.height), bodies.height, shape[0], voxel_um[0])
    nucleus = between(bodies.bottom, bodies.top, shape[0], voxel_um[0])
    dense = nucleoli(bodies, shape[0], voxel_um, rng)
    fine, coarse = _noise(shape, 0.3 / pixel, rng), _noise(shape, 1.2 / pixel, rng)

    tubules = mitochondria(bodies, shape, voxel_um, settings, rng)
    filaments = microtubules(bodies, shape, voxel_um, settings, rng)
    bundles = actin(bodies, inside, voxel_um, settings, rng)
    spots = droplets(bodies, shape, voxel_um, settings, rng)

    index = np.full(shape, settings.medium_index, np.float32)
    index += inside * (settings.cytoplasm_index - settings.medium_index)
    index += nucleus * (settings.nucleoplasm_index - settings.cytoplasm_index)
    index += dense * (settings.nucleolus_index - settings.nucleoplasm_index)
    # The nucleoplasm is smoother than the cytoplasm.
    index += settings.texture_index * (0.8 * fine + 0.6 * coarse) * (inside - 0.7 * nucleus)
    index += np.maximum(settings.mitochondrion_index * tubules, settings.droplet_index * spots)
    index += settings.microtubule_index * np.minimum(filaments, 2) + settings.actin_index * np.minimum(bundles, 1)

    brightness = rng.lognormal(0, settings.brightness_variation, (len(STAINS), count + 1)).astype(np.float32)
    chromatin = nucleus * np.exp(0.25 * fine + 0.2 * coarse) * (1 - 0.7 * dense)
    haze = 0.06 * (inside - nucleus)  # unspecific binding of dyes and antibodies
    amounts = (chromatin + 0.3 * haze, tubules + haze, filaments + haze, bundles + haze)
    dyes = {
        name: np.asarray(amount * bright[bodies.cells], np.float32)
        for name, amount, bright in zip(STAINS, amounts, brightness, strict=True)
    }
    return OrganellePhantom(index.astype(np.float32), dyes, bodies.cells, bodies.nuclei)
