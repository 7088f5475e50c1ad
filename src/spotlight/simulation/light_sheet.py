"""Simulated light-sheet stacks of cleared tissue with exact masks, and data sets of them with a manifest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.images import Stack
from spotlight.locks import works_in
from spotlight.settings import Settings
from spotlight.simulation.dataset import MANIFEST, claim, number_fields, write_fields
from spotlight.simulation.sheet import MICROSCOPES, Microscope, image_of
from spotlight.simulation.tissue import STRUCTURES, Structure, TissueSettings, make_tissue

Size = Annotated[int, Field(ge=8)]


class LightSheetSettings(Settings):
    """Simulated stacks of cleared tissue; each shows one structure.

    Examples
    --------
    >>> from spotlight.simulation import MICROSCOPES, LightSheetSettings
    >>> list(MICROSCOPES)
    ['cleared-2x', 'cleared-12x']
    >>> LightSheetSettings(structures=("vessels",), microscope="cleared-12x").microscope.voxel_um
    (2.0, 1.0, 1.0)
    """

    shape: tuple[Size, Size, Size] = Field((48, 96, 96), description="Voxels of the stacks in z, y, x.")
    structures: tuple[Structure, ...] = Field(
        STRUCTURES, min_length=1, description="The fields of every split show these in turn."
    )
    microscope: Microscope = Field(
        MICROSCOPES["cleared-2x"], description=f"Its settings, or a name: {', '.join(MICROSCOPES)}."
    )
    tissue: TissueSettings = Field(TissueSettings(), description="Properties of the tissue.")


@dataclass(frozen=True)
class LightSheetField:
    """A stack, and the truth on the same grid, axes ZYX.

    Attributes
    ----------
    input : Stack of uint16
        The light-sheet image.
    mask : Stack of uint8
        1 in the structure, else 0; its channel has the structure's name.

    Examples
    --------
    >>> from spotlight.simulation import LightSheetSettings, simulate_light_sheet_field
    >>> field = simulate_light_sheet_field("nuclei", LightSheetSettings(shape=(8, 32, 32)))
    >>> field.input.shape, field.mask.channels, bool(0 < field.mask.data.mean() < 1)
    ((8, 32, 32), ('nuclei',), True)
    """

    input: Stack
    mask: Stack


def simulate_light_sheet_field(
    structure: Structure, settings: LightSheetSettings | None = None, seed: int = 0
) -> LightSheetField:
    """Simulate one light-sheet stack of one structure.

    Parameters
    ----------
    structure : str
        ``vessels``, ``spots`` (labelled cells), ``nuclei``, ``plaques`` or ``microglia``.
    settings : LightSheetSettings
        Tissue and microscope. Default: an overview at low magnification.
    seed : int
        The same seed gives the same field.

    Returns
    -------
    LightSheetField
        Image and mask, axes ZYX.

    Raises
    ------
    SpotlightError
        If there is no such structure.

    Examples
    --------
    >>> from spotlight.simulation import LightSheetSettings, simulate_light_sheet_field
    >>> field = simulate_light_sheet_field("spots", LightSheetSettings(shape=(8, 32, 32)), seed=1)
    >>> field.input.shape
    (8, 32, 32)
    """
    settings = settings or LightSheetSettings()
    if structure not in STRUCTURES:
        raise SpotlightError(f"the structure must be one of {', '.join(STRUCTURES)}. Received: {structure!r}.")
    rng = np.random.default_rng([seed, STRUCTURES.index(structure)])
    z, y, x = settings.microscope.voxel_um
    # Tissue is made of nearly cubic voxels, several slices to a plane.
    slices = max(1, round(z / max(y, x)))
    shape = (settings.shape[0] * slices, *settings.shape[1:])
    tissue = make_tissue(structure, shape, (z / slices, y, x), settings.tissue, rng)
    image = image_of(tissue, slices, settings.microscope, rng)
    mask = np.asarray(tissue.mask.reshape(settings.shape[0], slices, *settings.shape[1:]).any(1), np.uint8)
    about = f"simulated {structure}, seed {seed}"
    return LightSheetField(
        Stack(image, "ZYX", (z, y, x), ("Fluorescence",), about),
        Stack(mask, "ZYX", (z, y, x), (structure,), about),
    )


@works_in("folder")
def simulate_light_sheet(
    folder: str | Path,
    counts: Mapping[str, int],
    settings: LightSheetSettings | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set of light-sheet stacks: OME-TIFFs, masks and a manifest.

    The fields of each split show the structures in turn. After an interruption, the same call continues. A folder with
    other fields is refused.

    Parameters
    ----------
    folder : path
        Where to write ``field-NN.ome.tif``, ``field-NN-STRUCTURE.ome.tif`` and ``pairs.csv``. It has the columns
        ``input``, ``split`` and ``mask:STRUCTURE`` for each structure, which is empty where the field does not show it.
    counts : mapping
        Number of fields per split, for example ``{"train": 10, "val": 5, "test": 5}``.
    settings : LightSheetSettings
        Tissue, microscope and structures.
    seed : int
        Field n is `simulate_light_sheet_field` with the seed ``10000 * seed + n``.
    workers : int
        Number of processes. With more than one, a script needs ``if __name__ == "__main__":``.
    progress : callable, optional
        Called with the number of fields done and their total.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    SpotlightError
        If no field is requested, or the folder holds something else.

    Examples
    --------
    >>> from spotlight.simulation import LightSheetSettings, simulate_light_sheet
    >>> settings = LightSheetSettings(shape=(8, 32, 32), structures=("nuclei",))
    >>> manifest = simulate_light_sheet("tissue", {"train": 1}, settings)
    >>> print(manifest.read_text().strip())
    input,mask:nuclei,split
    field-00.ome.tif,field-00-nuclei.ome.tif,train
    """
    folder = Path(folder)
    settings = settings or LightSheetSettings()
    own = settings.structures
    names, seeds = number_fields(counts, seed)
    planned = [(split, own[n % len(own)]) for split, count in counts.items() for n in range(count)]
    claim(folder, {"seed": seed}, settings)
    structures = [structure for _, structure in planned]
    write_fields(
        folder,
        _write_field,
        (repeat(folder), names, structures, repeat(settings), seeds),
        len(names),
        workers,
        progress,
    )
    masks = {
        f"mask:{one}": [
            f"{name}-{one}.ome.tif" if one == shown else "" for name, shown in zip(names, structures, strict=True)
        ]
        for one in dict.fromkeys(own)
    }
    table = {"input": [f"{name}.ome.tif" for name in names], **masks, "split": [split for split, _ in planned]}
    return write_csv(pd.DataFrame(table), folder / MANIFEST)


def _write_field(folder: Path, name: str, structure: Structure, settings: LightSheetSettings, seed: int) -> None:
    image_file, mask_file = folder / f"{name}.ome.tif", folder / f"{name}-{structure}.ome.tif"
    if image_file.exists() and mask_file.exists():
        return  # the image is written last
    field = simulate_light_sheet_field(structure, settings, seed)
    field.mask.save(mask_file)
    field.input.save(image_file)
