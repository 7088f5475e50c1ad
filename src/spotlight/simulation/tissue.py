"""Cleared tissue: vessels, labelled cells, nuclei, plaques and microglia, with exact masks.

Lengths are in µm, arrays are ZYX, and all randomness comes from one generator.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from scipy import fft, ndimage

from spotlight.settings import Settings
from spotlight.simulation.phantom import FloatArray, _rotation
from spotlight.simulation.tubes import Extent, Points, capillaries, draw_tubes, join, processes, vessel_tree

Structure = Literal["vessels", "spots", "nuclei", "plaques", "microglia"]
STRUCTURES: tuple[Structure, ...] = get_args(Structure)
"""What can be simulated. Spots are the nuclei of active cells, such as c-Fos shows them."""
Voxel = tuple[float, float, float]
Shape = tuple[int, int, int]


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= pair[0] <= pair[1]:
        raise ValueError("a range is two numbers of at least 0, the smaller one first")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
"""From which each field draws a number: evenly, or evenly in its logarithm if the greater end is more than 3 times the
smaller one."""


def drawn(among: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw a number from a `Range`."""
    low, high = among
    if low > 0 and high > 3 * low:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


class TissueSettings(Settings):
    """Properties of cleared mouse brain; every range is drawn from once per field.

    Radii of cortical capillaries: Fluids and Barriers of the CNS (2023), 10.1186/s12987-023-00421-8, table 1. Reach of
    microglial processes: J. Neuroinflammation 11, 182 (2014). Numbers and sizes of spots, nuclei and plaques are those
    of annotated public patches; brightness and textures were chosen by eye and by the statistics that
    benchmarks/lightsheet_simulation.py compares.

    Examples
    --------
    >>> from spotlight.simulation import LightSheetSettings, TissueSettings, simulate_light_sheet_field
    >>> for density in (20_000, 80_000):
    ...     tissue = TissueSettings(nuclei_per_mm3=(density, density))
    ...     settings = LightSheetSettings(shape=(12, 32, 32), tissue=tissue)
    ...     print(round(float(simulate_light_sheet_field("nuclei", settings).mask.data.mean()), 3))
    0.005
    0.033
    """

    capillaries_mm_per_mm3: Range = Field((500, 1100), description="Length of capillaries in a volume.")
    capillary_radius_um: Range = Field((1.8, 2.8), description="Mean radius of capillaries.")
    trees_per_mm3: Range = Field((300, 2500), description="Arterioles and venules in a volume.")
    tree_radius_um: Range = Field((4, 12), description="Radius of an arteriole or venule where it enters.")
    murray_exponent: Range = Field((2.6, 3.4), description="By which the radii of branches obey Murray's law.")
    persistence_um: Range = Field((20, 80), description="Over which the direction of a vessel changes.")
    unstained_share: Range = Field((0, 0.05), description="Share of the vessels' length without dye.")
    wall_stained: float = Field(0.4, ge=0, le=1, description="Share of fields whose dye marks the wall, not the lumen.")
    spots_per_mm3: Range = Field((300, 25000), description="Labelled cells in a volume.")
    spot_radius_um: Range = Field((4, 6.5), description="Mean semi-axis of a labelled cell.")
    faint_share: Range = Field((0.1, 0.3), description="Share of labelled cells that are faint.")
    nuclei_per_mm3: Range = Field((20000, 80000), description="Nuclei in a volume.")
    nucleus_radius_um: Range = Field((4, 6), description="Mean semi-axis of a nucleus.")
    plaques_per_mm3: Range = Field((200, 3300), description="Plaques in a volume.")
    plaque_radius_um: Range = Field((5, 25), description="Radius of a plaque, drawn for each one.")
    microglia_per_mm3: Range = Field((3000, 9000), description="Microglia in a volume.")
    soma_radius_um: Range = Field((3.5, 5), description="Mean semi-axis of the body of a microglial cell.")
    process_reach_um: Range = Field(
        (10, 18), description="Length of its processes; the mask holds those at least 0.8 voxels wide."
    )
    vessel_contrast: Range = Field((2, 30), description="Brightness of vessels over that of mean tissue.")
    spot_contrast: Range = Field((0.8, 8), description="The same of labelled cells.")
    nucleus_contrast: Range = Field((2, 15), description="The same of nuclei.")
    plaque_contrast: Range = Field((2, 15), description="The same of plaques.")
    microglia_contrast: Range = Field((4, 40), description="The same of microglia.")
    shading: Range = Field((0.1, 0.3), description="Relative spread of the autofluorescence over the field.")
    shading_um: Range = Field((20, 80), description="Over which it changes, a standard deviation.")
    texture: Range = Field((0.04, 0.15), description="Relative spread of the autofluorescence, in grains of a few µm.")
    debris_per_mm3: Range = Field((100, 3000), description="Bright specks that belong to no structure.")
    clutter: Range = Field((0.02, 0.25), description="Brightness of another structure that is faintly visible.")


@dataclass(frozen=True, eq=False)
class Tissue:
    """One volume: what is to be found, and what shines.

    Attributes
    ----------
    mask : (Z, Y, X) bool
        The structure.
    dye : (Z, Y, X) float32
        Its dye, in units of mean tissue; 0 outside the mask, but for halos of plaques and thin processes.
    background : (Z, Y, X) float32
        Autofluorescence, debris and another structure; 1 in mean tissue.
    """

    mask: NDArray[np.bool_]
    dye: FloatArray
    background: FloatArray


Made = tuple[NDArray[np.bool_], FloatArray]


def make_tissue(
    structure: Structure, shape: Shape, voxel_um: Voxel, settings: TissueSettings, rng: np.random.Generator
) -> Tissue:
    """Make one volume of tissue.

    Parameters
    ----------
    structure : str
        One of `STRUCTURES`.
    shape, voxel_um : tuple
        Voxels, and their size, along Z, Y, X.
    settings : TissueSettings
        Properties of the tissue.
    rng : numpy.random.Generator
        The source of all randomness.
    """
    mask, dye = _MAKERS[structure](shape, voxel_um, settings, rng)
    dye = dye * np.float32(drawn(_contrasts(settings)[structure], rng))
    fine, coarse = (grain(sigma, shape, voxel_um, rng) for sigma in (2.5, drawn(settings.shading_um, rng)))
    background = np.exp(drawn(settings.texture, rng) * fine + drawn(settings.shading, rng) * coarse)
    if structure != "vessels":  # unstained vessels are dark
        vessels = _vessels(shape, voxel_um, settings, rng)[0]
        background *= 1 - np.float32(rng.uniform(0.1, 0.6)) * vessels
    other = [name for name in STRUCTURES if name not in (structure, "vessels", "plaques")]
    faint = _MAKERS[other[int(rng.integers(len(other)))]](shape, voxel_um, settings, rng)[1]
    background += np.float32(drawn(settings.clutter, rng)) * np.where(mask, 0, faint)
    specks = _scattered(drawn(settings.debris_per_mm3, rng), 0, shape, voxel_um, rng)
    radii = rng.uniform(1, 2.5, (len(specks), 1)) * np.ones(3)
    numbers, _ = _bodies(specks, radii, 0.2, 0.0, shape, voxel_um, rng)
    light = np.concatenate([[0], rng.lognormal(0.7, 0.7, len(specks))]).astype(np.float32)
    background += np.where(mask, 0, light[numbers])
    return Tissue(mask, dye, np.asarray(background, np.float32))


def _vessels(shape: Shape, voxel: Voxel, settings: TissueSettings, rng: np.random.Generator) -> Made:
    extent, step = _extent(shape, voxel), 0.7 * min(voxel)
    radius, exponent = drawn(settings.capillary_radius_um, rng), drawn(settings.murray_exponent, rng)
    segments = capillaries(extent, drawn(settings.capillaries_mm_per_mm3, rng), radius, step, rng)
    trees = rng.poisson(drawn(settings.trees_per_mm3, rng) * float(np.prod(extent)) * 1e-9)
    for _ in range(trees):
        root, persistence = drawn(settings.tree_radius_um, rng), drawn(settings.persistence_um, rng)
        segments += vessel_tree(extent, root, 1.2 * radius, exponent, max(persistence, 12 * root), step, rng)
    curves = join(segments)
    mask = draw_tubes(curves, np.ones(len(curves.radii)), shape, voxel) > 0
    # Gaps lie anywhere along the tubes: stretches of about 5 µm.
    bright = rng.lognormal(0, 0.3, len(segments))[curves.number]
    stretch = np.arange(len(curves.radii)) // max(1, round(5 / step))
    stained = rng.uniform(0, 1, int(stretch.max(initial=0)) + 1)[stretch] >= drawn(settings.unstained_share, rng)
    kept = join([(curves.points[stained], curves.radii[stained])])
    dye = draw_tubes(kept, bright[stained], shape, voxel)
    if rng.uniform() < settings.wall_stained:
        depth = ndimage.distance_transform_edt(mask, voxel)
        dye *= np.where(depth > 2.0, np.float32(rng.uniform(0.2, 0.5)), 1)
    return mask, dye


def _spots(shape: Shape, voxel: Voxel, settings: TissueSettings, rng: np.random.Generator) -> Made:
    centres = _scattered(drawn(settings.spots_per_mm3, rng), 9, shape, voxel, rng, uneven=0.7)
    radii = drawn(settings.spot_radius_um, rng) * rng.lognormal(0, 0.15, (len(centres), 3))
    numbers, depth = _bodies(centres, radii, 0.08, min(voxel), shape, voxel, rng)
    light = rng.lognormal(0, 0.5, len(centres))
    light[rng.uniform(0, 1, len(centres)) < drawn(settings.faint_share, rng)] *= 0.35
    return numbers > 0, _lit(numbers, light) * np.clip(0.6 + 0.15 * depth, 0, 1.2)


def _nuclei(shape: Shape, voxel: Voxel, settings: TissueSettings, rng: np.random.Generator) -> Made:
    radius = drawn(settings.nucleus_radius_um, rng)
    centres = _scattered(drawn(settings.nuclei_per_mm3, rng), 1.5 * radius, shape, voxel, rng, uneven=0.5)
    radii = radius * rng.lognormal(0, 0.15, (len(centres), 3))
    numbers, _ = _bodies(centres, radii, 0.08, min(voxel), shape, voxel, rng)
    chromatin = np.exp(0.25 * grain(1.5, shape, voxel, rng))
    return numbers > 0, _lit(numbers, rng.lognormal(0, 0.3, len(centres))) * chromatin


def _plaques(shape: Shape, voxel: Voxel, settings: TissueSettings, rng: np.random.Generator) -> Made:
    centres = _scattered(drawn(settings.plaques_per_mm3, rng), 20, shape, voxel, rng)
    radii = np.array([drawn(settings.plaque_radius_um, rng) for _ in centres])[:, None] * np.ones(3)
    numbers, depth = _bodies(centres, radii, 0.25, 0.0, shape, voxel, rng)
    mask = numbers > 0
    core = np.clip(0.35 + 0.12 * depth, 0, 1.3) * np.exp(0.3 * grain(2.0, shape, voxel, rng))
    halo = 0.25 * np.exp(-ndimage.distance_transform_edt(~mask, voxel) / 5) if mask.any() else 0
    return mask, np.asarray(
        np.where(mask, _lit(numbers, rng.lognormal(0, 0.35, len(centres))) * core, halo), np.float32
    )


def _microglia(shape: Shape, voxel: Voxel, settings: TissueSettings, rng: np.random.Generator) -> Made:
    centres = _scattered(drawn(settings.microglia_per_mm3, rng), 28, shape, voxel, rng)
    radii = drawn(settings.soma_radius_um, rng) * rng.lognormal(0, 0.2, (len(centres), 3))
    numbers, _ = _bodies(centres, radii, 0.15, 0.0, shape, voxel, rng)
    light = rng.lognormal(0, 0.45, len(centres))
    segments, owners, reach = [], [], drawn(settings.process_reach_um, rng)
    for number, centre in enumerate(centres):
        own = processes(centre, reach, int(rng.integers(4, 8)), 0.7 * min(voxel), rng)
        segments += own
        owners += [number] * len(own)
    curves = join(segments)
    # A voxel is as bright as the share of it that a process fills; what is much thinner than a voxel is no truth.
    filled = np.minimum(1, np.pi * curves.radii**2 / voxel[2] ** 2)
    dye = draw_tubes(curves, light[np.array(owners, int)[curves.number]] * filled, shape, voxel)
    seen = curves.radii >= 0.4 * voxel[2]
    thick = join([(curves.points[seen], curves.radii[seen])])
    mask = (numbers > 0) | (draw_tubes(thick, np.ones(len(thick.radii)), shape, voxel) > 0)
    return mask, np.maximum(_lit(numbers, light), dye)


_MAKERS: dict[Structure, Callable[[Shape, Voxel, TissueSettings, np.random.Generator], Made]] = {
    "vessels": _vessels,
    "spots": _spots,
    "nuclei": _nuclei,
    "plaques": _plaques,
    "microglia": _microglia,
}


def _contrasts(settings: TissueSettings) -> dict[Structure, tuple[float, float]]:
    return {
        "vessels": settings.vessel_contrast,
        "spots": settings.spot_contrast,
        "nuclei": settings.nucleus_contrast,
        "plaques": settings.plaque_contrast,
        "microglia": settings.microglia_contrast,
    }


def grain(sigma_um: float, shape: Shape, voxel: Voxel, rng: np.random.Generator) -> FloatArray:
    """Return smooth Gaussian noise of mean 0 and variance 1; what leaves the volume comes in on the other side.

    Along a short axis it is less smooth, so that there is something left.
    """
    spectrum = fft.rfftn(rng.standard_normal(shape, np.float32))
    for axis, (n, edge) in enumerate(zip(shape, voxel, strict=True)):
        cycles = (fft.rfftfreq if axis == 2 else fft.fftfreq)(n, edge)
        transfer = np.exp(-2 * np.square(np.pi * min(sigma_um, n * edge / 5) * cycles)).astype(np.float32)
        spectrum *= np.expand_dims(transfer, [other for other in range(3) if other != axis])
    field = fft.irfftn(spectrum, shape)
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _extent(shape: Shape, voxel: Voxel) -> Extent:
    z, y, x = (n * edge for n, edge in zip(shape, voxel, strict=True))
    return z, y, x


def _lit(numbers: NDArray[np.int32], light: Points) -> FloatArray:
    """Give every body its brightness."""
    return np.concatenate([[0], light]).astype(np.float32)[numbers]


def _scattered(
    per_mm3: float, apart: float, shape: Shape, voxel: Voxel, rng: np.random.Generator, uneven: float = 0.0
) -> Points:
    """Draw positions with a least distance; at least one. Their density varies over 60 µm, by `uneven` in logarithm."""
    extent = np.array(_extent(shape, voxel))
    count = max(1, int(rng.poisson(per_mm3 * float(extent.prod()) * 1e-9)))
    chance = np.exp(uneven * grain(60.0, shape, voxel, rng)) if uneven else np.ones(shape)
    points = np.empty((0, 3))
    for _ in range(30):  # where no more fit, there are fewer
        for candidate in rng.uniform(0, 1, (count, 3)) * extent:
            z, y, x = np.minimum((candidate / voxel).astype(int), np.array(shape) - 1)
            if rng.uniform() * chance.max() > chance[z, y, x]:
                continue
            if not apart or not len(points) or np.square(points - candidate).sum(1).min() >= apart**2:
                points = np.concatenate([points, candidate[None]])
                if len(points) == count:
                    return points
    return points


def _bodies(
    centres: Points,
    radii: Points,
    roughness: float,
    gap: float,
    shape: Shape,
    voxel: Voxel,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], FloatArray]:
    """Fill turned, rough ellipsoids; between two that would touch, a gap is kept free.

    Returns their numbers from 1, and the depth below the surface in µm, to first order.
    """
    numbers = np.zeros(shape, np.int32)
    nearest, second = np.full((2, *shape), np.inf, np.float32)
    bumps = grain(max(0.5 * float(radii.mean()), 1), shape, voxel, rng)
    for number, (centre, half) in enumerate(zip(centres, radii, strict=True), start=1):
        reach = half.max() * (1 + 3 * roughness) + gap
        box = tuple(
            slice(max(0, int(np.floor((c - reach) / edge))), min(n, int(np.ceil((c + reach) / edge)) + 1))
            for c, edge, n in zip(centre, voxel, shape, strict=True)
        )
        turn = _rotation(rng.uniform(0, np.pi), 0) @ _rotation(rng.uniform(0, np.pi), 1)
        axes = (np.arange(s.start, s.stop) * edge - c for s, edge, c in zip(box, voxel, centre, strict=True))
        local = np.tensordot(turn.T, np.stack(np.meshgrid(*axes, indexing="ij")), axes=1)
        surface = np.sqrt(sum((local[k] / half[k]) ** 2 for k in range(3))) - 1 - roughness * bumps[box]
        distance = (surface * float(np.cbrt(half.prod()))).astype(np.float32)
        old = nearest[box]
        closer = distance < old
        second[box] = np.where(closer, old, np.minimum(second[box], distance))
        nearest[box] = np.where(closer, distance, old)
        numbers[box][closer] = number
    inside = (nearest < 0) & (second > nearest + gap)
    return np.where(inside, numbers, 0), np.where(inside, -nearest, 0).astype(np.float32)
