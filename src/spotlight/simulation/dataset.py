"""Simulated fields as stacks, and whole data sets of them as OME-TIFFs with a manifest."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from skimage.segmentation import relabel_sequential

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.images import Stack
from spotlight.locks import works_in
from spotlight.processes import BrokenProcessPool, processes
from spotlight.settings import Settings
from spotlight.simulation.optics import BrightfieldSettings, FluorescenceSettings, brightfield, camera, fluorescence
from spotlight.simulation.phantom import CellSettings, Phantom, make_phantom

MARGIN_UM = 4.6
"""Cells are simulated this far beyond the field on each side, so that its borders look like its middle."""

MANIFEST = "pairs.csv"
RECORD = "simulation.yaml"


class SimulationSettings(Settings):
    """A simulated field of view.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.simulation import CellSettings, SimulationSettings
    >>> settings = SimulationSettings(shape=(8, 64, 64), cells=CellSettings(cell_area_um2=300))
    >>> spotlight.simulate_field(settings).input.shape
    (8, 64, 64)
    >>> SimulationSettings.parse({"voxel_um": 0}, "mine.yaml")
    Traceback (most recent call last):
        ...
    spotlight.errors.SpotlightError: mine.yaml: setting 'voxel_um': Input should be greater than 0. Received: 0
    """

    shape: tuple[Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)], Annotated[int, Field(ge=8)]] = Field(
        (48, 224, 224), description="Voxels of the stacks in z, y, x."
    )
    voxel_um: float = Field(0.29, gt=0, description="Edge of the cubic voxels.")
    coverslip_um: float = Field(2.0, ge=0, description="Height of the coverslip over the first plane.")
    cells: CellSettings = Field(CellSettings(), description="Properties of the cells.")
    brightfield: BrightfieldSettings = Field(BrightfieldSettings(), description="The transmitted-light path.")
    fluorescence: FluorescenceSettings = Field(FluorescenceSettings(), description="The fluorescence path.")
    repeat: bool = Field(
        False,
        description="Also write a second fluorescence image with independent noise: the noise ceiling of any stain.",
    )


@dataclass(frozen=True)
class SimulatedField:
    """The microscope's images of a field, and the truth; all stacks are on the same grid, axes ZYX.

    Attributes
    ----------
    input : Stack of uint16
        Brightfield.
    target : Stack of uint16
        Fluorescence of the nuclei, with blur, haze and noise.
    labels : Stack of uint16
        True nuclear instances, 1 to n.
    dye : Stack of float32
        True dye concentration: the fluorescence of a perfect microscope.
    repeat : Stack of uint16 or None
        A second fluorescence image with independent noise; None unless the settings request it.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.simulation import SimulationSettings
    >>> field = spotlight.simulate_field(SimulationSettings(shape=(16, 48, 48)))
    >>> field.input.axes, field.input.voxel_size
    ('ZYX', (0.29, 0.29, 0.29))
    >>> int(field.labels.data.max())  # true nuclei
    5
    """

    input: Stack
    target: Stack
    labels: Stack
    dye: Stack
    repeat: Stack | None


def simulate_field(settings: SimulationSettings | None = None, seed: int = 0) -> SimulatedField:
    """Simulate one field of cells.

    Parameters
    ----------
    settings : SimulationSettings
        Cells and optics. Default: a dense colony of stem cells.
    seed : int
        The same seed gives the same field.

    Returns
    -------
    SimulatedField
        Brightfield, fluorescence, true labels and true dye, axes ZYX on one grid.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.simulation import SimulationSettings
    >>> field = spotlight.simulate_field(SimulationSettings(shape=(8, 32, 32)), seed=1)
    >>> field.input.shape, field.target.channels
    ((8, 32, 32), ('DNA',))
    """
    settings = settings or SimulationSettings()
    rng = np.random.default_rng(seed)
    return image_phantom(phantom_of(settings, rng), settings, rng, f"simulated field {seed}")


def phantom_of(settings: SimulationSettings, rng: np.random.Generator) -> Phantom:
    """Make the cells of a field, and of a margin around it in Y and X."""
    margin = 2 * round(MARGIN_UM / settings.voxel_um)
    nz, ny, nx = settings.shape
    return make_phantom((nz, ny + margin, nx + margin), settings.voxel_um, settings.coverslip_um, settings.cells, rng)


def image_phantom(
    phantom: Phantom,
    settings: SimulationSettings,
    rng: np.random.Generator,
    name: str,
    light: NDArray[np.float32] | None = None,
) -> SimulatedField:
    """Take the microscope's images of cells made by `phantom_of`.

    Parameters
    ----------
    phantom : Phantom
        The cells, with a margin.
    settings : SimulationSettings
        The microscope.
    rng : numpy.random.Generator
        Draws source points and noise.
    name : str
        What the stacks call their source.
    light : (Y, X) ndarray, optional
        By which the transmitted light is multiplied. Left out: even light.
    """
    voxel, bright, fluor = settings.voxel_um, settings.brightfield, settings.fluorescence
    seen = brightfield(phantom.index, settings.cells.medium_index, voxel, bright, rng) * bright.photons
    image = camera(seen if light is None else seen * light, bright.read_noise, bright.gain, bright.offset, rng)
    glow = fluorescence(phantom.dye, voxel, fluor)
    target = camera(glow, fluor.read_noise, fluor.gain, fluor.offset, rng)
    again = camera(glow, fluor.read_noise, fluor.gain, fluor.offset, rng) if settings.repeat else None
    margin = round(MARGIN_UM / voxel)
    inside = (slice(None), *(slice(margin, margin + size) for size in settings.shape[1:]))

    def stack(data: NDArray[np.generic], channel: str) -> Stack:
        return Stack(np.ascontiguousarray(data), "ZYX", (voxel,) * 3, (channel,), name)

    return SimulatedField(
        stack(image[inside], "Brightfield"),
        stack(target[inside], "DNA"),
        stack(relabel_sequential(phantom.labels[inside])[0].astype(np.uint16), "Nuclei"),
        stack(phantom.dye[inside], "Dye"),
        None if again is None else stack(again[inside], "DNA"),
    )


def simulate_pairs(
    folder: str | Path,
    counts: dict[str, int],
    settings: SimulationSettings | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a data set: two-channel OME-TIFFs, label files and a manifest.

    After an interruption, the same call continues. A folder with other cells is refused.

    Parameters
    ----------
    folder : path
        Where to write ``field-NN.ome.tif``, ``field-NN-labels.ome.tif``, ``pairs.csv`` and, if the settings request it,
        ``field-NN-repeat.ome.tif``.
    counts : dict
        Number of fields per split, for example ``{"train": 6, "val": 1, "test": 2}``.
    settings : SimulationSettings
        Cells and optics.
    seed : int
        Field n is `simulate_field` with the seed ``10000 * seed + n``.
    workers : int
        Number of processes. With more than one, a script needs ``if __name__ == "__main__":``.
    progress : callable, optional
        Called with the number of fields done and their total.

    Returns
    -------
    Path
        The manifest.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.simulation import SimulationSettings
    >>> manifest = spotlight.simulate_pairs("cells", {"train": 1}, SimulationSettings(shape=(8, 32, 32)))
    >>> manifest.name
    'pairs.csv'
    """
    settings = settings or SimulationSettings()
    return write_pairs(folder, counts, settings, partial(simulate_field, settings), seed, workers, progress)


@works_in("folder")
def write_pairs(
    folder: str | Path,
    counts: dict[str, int],
    settings: Settings,
    make: Callable[[int], SimulatedField],
    seed: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Path:
    """Write a data set of fields, each of which a function makes of its seed; see `simulate_pairs`."""
    folder = Path(folder)
    names, seeds = number_fields(counts, seed)
    claim(folder, {"seed": seed}, settings)
    write_fields(folder, _write_field, (repeat(folder), names, repeat(make), seeds), len(names), workers, progress)
    table = pd.DataFrame(
        {
            "input": [f"{name}.ome.tif" for name in names],
            "input_channel": "Brightfield",
            "target": [f"{name}.ome.tif" for name in names],
            "target_channel": "DNA",
            "labels": [f"{name}-labels.ome.tif" for name in names],
            "split": [split for split, count in counts.items() for _ in range(count)],
        }
    )
    repeats = [f"{name}-repeat.ome.tif" for name in names]
    if all((folder / file).exists() for file in repeats):
        table["repeat"] = repeats
    return write_csv(table, folder / MANIFEST)


def number_fields(counts: Mapping[str, int], seed: int) -> tuple[list[str], list[int]]:
    """Names and seeds of the fields of a data set; field n has the seed ``10000 * seed + n``."""
    if not sum(counts.values()) or min(counts.values()) < 0 or seed < 0:
        raise SpotlightError(
            "simulate needs at least one field, no negative number, and a seed of at least 0. Received: "
            f"{dict(counts)}, {seed}."
        )
    numbers = range(sum(counts.values()))
    return [f"field-{number:02d}" for number in numbers], [seed * 10_000 + number for number in numbers]


def claim(folder: Path, asked: Mapping[str, Any], settings: Settings) -> None:
    """Record what a folder holds; raise a `SpotlightError` if it holds something else."""
    path = folder / RECORD
    asks = [f"# {name}: {value}" for name, value in asked.items()]
    if path.is_file():
        found = path.read_text(encoding="utf-8").splitlines()[: len(asks)]
        # Compared as settings, so a setting that a later version adds makes no difference.
        if found != asks or type(settings).from_yaml(path) != settings:
            raise SpotlightError(
                f"{folder}: holds fields of another seed or other settings, which its {RECORD} states. Use another "
                "folder."
            )
        return
    write_text(path, "\n".join([*asks, settings.to_yaml()]))


def write_fields(
    folder: Path,
    write: Callable[..., None],
    tasks: Iterable[Iterable[Any]],
    count: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Call `write` for every field, in several processes; each iterable of `tasks` has one argument per field."""
    try:
        with processes(min(workers, count)) as run:
            done = run(write, *tasks)
            if progress is not None:
                progress(0, count)
            for number, _ in enumerate(done, start=1):
                if progress is not None:
                    progress(number, count)
    except BrokenProcessPool as error:
        raise SpotlightError(
            f"{folder}: a worker process died. Either it ran out of memory: use fewer workers; finished fields stay."
            ' Or your script lacks `if __name__ == "__main__":`; add it.'
        ) from error


def _write_field(folder: Path, name: str, make: Callable[[int], SimulatedField], seed: int) -> None:
    image_file, labels_file = folder / f"{name}.ome.tif", folder / f"{name}-labels.ome.tif"
    if image_file.exists() and labels_file.exists():
        return  # the image is written last
    field = make(seed)
    both = np.stack([field.input.data, field.target.data])
    pair = Stack(both, "CZYX", field.input.voxel_size, ("Brightfield", "DNA"), origin=f"simulated, seed {seed}")
    field.labels.save(labels_file)
    if field.repeat is not None:
        field.repeat.save(folder / f"{name}-repeat.ome.tif")
    pair.save(image_file)
