"""`pretrain`: a backbone from stacks without labels, or a model from simulated stacks whose truth is known."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from spotlight.errors import SpotlightError
from spotlight.images.normalise import Grid
from spotlight.pairs.unlabelled import Unlabelled, read_inputs
from spotlight.progress import Progress
from spotlight.simulation.light_sheet import LightSheetSettings, simulate_light_sheet
from spotlight.simulation.sheet import MICROSCOPES, SheetSettings, microscope_of
from spotlight.simulation.tissue import STRUCTURES, Structure
from spotlight.training.protocols import protocol
from spotlight.training.run import train
from spotlight.training.settings import Experiment

log = logging.getLogger("spotlight")

Pretext = Literal["hidden", "simulated"]
SIMULATED = "simulated"
"""Folder of the simulated stacks, in that of the model."""
WARMUP = 20
"""One of so many steps belongs to the rise of the learning rate."""


def pretraining(
    pretext: Pretext = "hidden",
    task: str = "segment",
    *,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    grid: Grid | None = None,
    hidden_share: float | None = None,
    block_px: int | None = None,
) -> Experiment:
    """Return the settings of pretraining for a task to come, whose grid, scaling and network they have.

    Parameters
    ----------
    pretext : "hidden" or "simulated"
        What is learnt; see `pretrain`.
    task : str
        The task to come.
    steps, batch_size, seed, grid, hidden_share, block_px : optional
        Instead of the defaults.

    Returns
    -------
    Experiment
        Settings for `pretrain`.

    Raises
    ------
    SpotlightError
        If a value is out of range, or there is no such task.

    Examples
    --------
    >>> from spotlight.training import pretraining
    >>> experiment = pretraining("hidden", task="segment", steps=5000, hidden_share=0.4)
    >>> experiment.task.kind, experiment.task.hidden_share, experiment.training.steps
    ('hidden', 0.4, 5000)
    """
    to_come = protocol("spotlight", task)
    values = (to_come if pretext == "simulated" else protocol("spotlight", "hidden")).model_dump()
    values["network"] = to_come.network.model_dump()
    values["preparation"] = to_come.preparation.model_dump()
    if grid is not None:
        values["preparation"]["grid"] = grid
    given = {"steps": steps, "batch_size": batch_size, "seed": seed}
    values["training"] |= {name: value for name, value in given.items() if value is not None}
    if pretext == "hidden":
        values["training"]["warmup"] = values["training"]["steps"] // WARMUP
    hidden = {"hidden_share": hidden_share, "block_px": block_px}
    changes = {name: value for name, value in hidden.items() if value is not None}
    if changes and pretext != "hidden":
        raise SpotlightError(f"{', '.join(changes)} cannot be used for simulated stacks, of which nothing is hidden.")
    values["task"] |= changes
    return Experiment.parse(values, "pretraining")


def pretrain(
    source: Unlabelled,
    to: str | Path,
    experiment: Experiment | None = None,
    *,
    pretext: Pretext = "hidden",
    task: str = "segment",
    steps: int | None = None,
    seed: int | None = None,
    structures: Sequence[Structure] = STRUCTURES,
    fields: int = 32,
    workers: int = 1,
    input_channel: str | Sequence[str] | None = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    overwrite: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a network on stacks without labels, as a start for other tasks (``train(..., finetune=...)``).

    "hidden": blocks of the stacks are hidden, and the network fills them in from what is around (He et al. 2022, masked
    autoencoders; as light-sheet models do it in 3D). The result is a backbone, which cannot predict by itself. Its
    ``model.yaml`` says whether it beat two free guesses on held-out stacks (``useful``), and what it has seen.

    "simulated": simulated light-sheet stacks with exact masks are learnt. The result is a model of the task "segment",
    which can predict without any label, and is a start for others.

    An interrupted call goes on when it is made again, as of `train`.

    Parameters
    ----------
    source : path or sequence
        A folder of stacks, a manifest (rows of the split test are left out), or a list of paths, stacks or arrays. For
        simulated stacks it gives the voxel size; or it is the name of a microscope in
        `spotlight.simulation.sheet.MICROSCOPES`.
    to : path
        The folder to write.
    experiment : Experiment, optional
        All settings; left out: those of `pretraining`.
    pretext : "hidden" or "simulated"
        What is learnt.
    task : str
        The task to come, whose grid, scaling and network the settings take. A backbone is a start only for runs with
        the same.
    steps, seed : int, optional
        Instead of the experiment's.
    structures : sequence of str
        Which are simulated.
    fields : int
        Number of simulated stacks; one in eight is for validation.
    workers : int
        Processes that simulate. With more than one, a script needs ``if __name__ == "__main__":``.
    input_channel, axes, voxel_size, overwrite, cache, progress
        As for `train`.

    Returns
    -------
    Path
        The model folder.

    Raises
    ------
    SpotlightError
        If there is nothing to learn from, stacks do not go together, or `to` holds another run.

    Examples
    --------
    >>> from spotlight.training import pretrain
    >>> backbone = pretrain("archive", "backbone", steps=2000)  # doctest: +SKIP
    """
    if experiment is None:
        experiment = pretraining(pretext, task, steps=steps, seed=seed)
    else:
        changes = {name: value for name, value in {"steps": steps, "seed": seed}.items() if value is not None}
        changed = experiment.training.model_copy(update=changes)
        experiment = experiment.model_copy(update={"training": changed})
    shared: dict[str, Any] = {"overwrite": overwrite, "cache": cache, "progress": progress}
    if pretext == "simulated":
        manifest = _simulate(source, Path(to), experiment, structures, fields, workers, axes, voxel_size, progress)
        return train(manifest, to, experiment, **shared)
    if not experiment.task.backbone:
        raise SpotlightError(
            f"the settings are for the task {experiment.task.kind!r}, which needs labels; those of pretraining have "
            "task: hidden. `spotlight settings --task hidden` prints them."
        )
    return train(read_inputs(source, input_channel, axes, voxel_size), to, experiment, **shared)


def _simulate(
    source: Unlabelled,
    to: Path,
    experiment: Experiment,
    structures: Sequence[Structure],
    fields: int,
    workers: int,
    axes: str | None,
    voxel_size: tuple[float, ...] | None,
    progress: Progress | None,
) -> Path:
    """Simulate the stacks of a run, and return their manifest."""
    if experiment.task.learns != "masks":
        raise SpotlightError(
            f"simulated light-sheet stacks have masks, but the task to come is {experiment.task.kind!r}. For stains, "
            "train on the pairs of `spotlight simulate`."
        )
    if fields < 2 * len(structures):
        raise SpotlightError(
            f"pretraining needs at least two simulated stacks of each of {len(structures)} structures. Received: "
            f"{fields} stacks."
        )
    counts = {"train": fields - max(1, fields // 8), "val": max(1, fields // 8)}
    settings = LightSheetSettings(
        structures=tuple(structures), microscope=_microscope(source, axes, voxel_size), shape=(32, 64, 64)
    )

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("simulating", done, total, {})

    return simulate_light_sheet(
        to / SIMULATED, counts, settings, seed=experiment.training.seed + 1, workers=workers, progress=report
    )


def _microscope(source: Unlabelled, axes: str | None, voxel_size: tuple[float, ...] | None) -> SheetSettings:
    """The microscope of a name, or one with the voxels of the stacks of a source."""
    if isinstance(source, str) and source in MICROSCOPES:
        return MICROSCOPES[source]
    size = voxel_size
    if size is None:
        first = read_inputs(source, None, axes, voxel_size)[0].read_names()
        size = first.voxel_size
        if size is None:
            raise SpotlightError(
                f"{first.source}: does not state its voxel size, which simulated stacks need. State it (--voxel-size), "
                f"or name a microscope instead of stacks: {', '.join(MICROSCOPES)}."
            )
    if len(size) != 3:
        raise SpotlightError(f"simulated stacks are three-dimensional. Received: a voxel size of {len(size)} edges.")
    z, y, x = size
    return microscope_of((z, y, x))
