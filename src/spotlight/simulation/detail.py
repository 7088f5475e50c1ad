"""What real cells show in transmitted light besides their nuclei: membranes, mitochondria, droplets, debris.

Lengths are in µm, arrays are ZYX, and all randomness comes from one generator.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from scipy import ndimage

from spotlight.settings import Settings
from spotlight.simulation.phantom import FloatArray, Phantom, _granules, _noise
from spotlight.simulation.tissue import Range, drawn


def _rising(among: tuple[float, float]) -> tuple[float, float]:
    if among[0] > among[1]:
        raise ValueError(f"a range is two numbers, the smaller one first. Received: {list(among)}.")
    return among


Signed = Annotated[tuple[float, float], AfterValidator(_rising)]
"""A range of numbers that may be negative, from which each field draws evenly."""


class DetailSettings(Settings):
    """Ranges from which each field draws; refractive indices are relative to what is around."""

    envelope: Signed = Field((-0.003, 0.005), description="Refractive index of the nuclear envelope.")
    grain: Range = Field((0.002, 0.02), description="Spread of that of vesicles below the resolution, in cytoplasm.")
    tubule: Range = Field((0.0, 0.02), description="Refractive index of mitochondria, winding tubules.")
    droplets_per_cell: Range = Field((1, 40), description="Lipid droplets and large vesicles, in clusters.")
    droplet: Range = Field((0.02, 0.09), description="Refractive index of droplets.")
    debris_per_100um2: Range = Field((0.1, 12), description="Particles in the medium, over an area of 100 µm².")
    debris: Signed = Field((0.01, 0.06), description="Refractive index of particles.")
    matrix: Range = Field((0.0, 0.003), description="Spread of the refractive index of the medium: matrix, secretions.")
    haze: Range = Field((0.0, 0.5), description="Phase, in radians at 0.6 µm, of what lies far out of focus.")


def add_detail(
    phantom: Phantom,
    medium_index: float,
    cells: int,
    voxel_um: float,
    settings: DetailSettings,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the refractive index of a phantom with details drawn at random.

    Parameters
    ----------
    phantom : Phantom
        As `make_phantom` makes it: the medium has exactly `medium_index`.
    medium_index : float
        Refractive index of the medium.
    cells : int
        Number of cells, to which numbers of droplets refer.
    voxel_um : float
        Edge of the cubic voxels.
    settings : DetailSettings
        The ranges.
    rng : numpy.random.Generator
        The source of all randomness.
    """
    index, nucleus = phantom.index.copy(), phantom.labels > 0
    medium = phantom.index == np.float32(medium_index)
    cytoplasm = ~medium & ~nucleus
    depth = ndimage.distance_transform_edt(nucleus) * voxel_um
    index += np.float32(drawn(settings.envelope, rng)) * (nucleus & (depth < max(0.3, 1.1 * voxel_um)))
    grain = _noise(index.shape, 0.1 / voxel_um, rng) * np.clip(
        0.7 + 0.5 * _noise(index.shape, 1.0 / voxel_um, rng), 0, 2
    )
    index += np.float32(drawn(settings.grain, rng)) * grain * cytoplasm
    index += np.float32(drawn(settings.tubule, rng)) * _tubules(cytoplasm, voxel_um, rng)

    crowded = _noise(index.shape, 1.2 / voxel_um, rng) > rng.uniform(0.3, 1.5)
    count = round(cells * drawn(settings.droplets_per_cell, rng))
    droplets = _granules(cytoplasm & crowded, count, voxel_um, rng, (0.25, rng.uniform(0.4, 0.9)))
    index = np.maximum(index, index + np.float32(drawn(settings.droplet, rng)) * droplets)

    area = index.shape[1] * index.shape[2] * voxel_um**2
    count = round(area / 100 * drawn(settings.debris_per_100um2, rng))
    particles = _granules(medium, count, voxel_um, rng, (0.2, rng.uniform(0.4, 1.5)))
    index += np.float32(drawn(settings.debris, rng)) * particles
    index += (
        np.float32(drawn(settings.matrix, rng)) * _noise(index.shape, rng.uniform(0.25, 1.0) / voxel_um, rng) * medium
    )
    for plane in (0, -1):
        phase = drawn(settings.haze, rng) * _noise(index.shape[1:], rng.uniform(0.6, 4.0) / voxel_um, rng)
        index[plane] += np.float32(0.6 / (2 * np.pi * voxel_um)) * phase
    return index


def _tubules(where: NDArray[np.bool_], voxel_um: float, rng: np.random.Generator) -> FloatArray:
    """Winding tubules of about 0.4 µm: the lines on which two smooth random fields are both 0."""
    scale = rng.uniform(0.4, 0.8) / voxel_um
    first, second = (_noise(where.shape, scale, rng) for _ in range(2))
    crowd = np.clip(0.6 + 0.8 * _noise(where.shape, 1.5 / voxel_um, rng), 0, 1.5)
    return np.asarray(np.exp(-(first**2 + second**2) / (2 * 0.35**2)) * crowd * where, np.float32)
