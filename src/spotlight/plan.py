"""`init`: from a folder of images to a manifest and a training plan that says why."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spotlight.devices import memory_to_use
from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.foreground import find_foreground
from spotlight.images import Stack
from spotlight.pairs import Pair
from spotlight.pairs.gathering import LISTS
from spotlight.pairs.manifest import write_manifest
from spotlight.pairs.proposal import propose_pairs
from spotlight.progress import Progress
from spotlight.quoting import counted
from spotlight.settings import commented_yaml
from spotlight.tasks import SegmentTask
from spotlight.training.protocols import protocol
from spotlight.training.settings import Experiment

MANIFEST = "manifest.csv"
EXPERIMENT = "experiment.yaml"
MOST_LOOKED_AT = 8
"""Pairs whose values are read for the fingerprint."""

NO_VOXEL_SIZE = (
    "Not all files state a voxel size. What follows: the model suits this magnification alone; segmentation takes the "
    "nuclei of each target to be as large as it expects nuclei to be; measurements are in pixels; there is no "
    "resolution. If you know the size, give it now: spotlight init FOLDER --voxel-size '0.29 0.108 0.108' (Z Y X in "
    "µm; '0.108 0.108' for planes)."
)
PUBLISHED_GRID = 0.29


@dataclass(frozen=True)
class Plan:
    """What `init` wrote.

    Attributes
    ----------
    manifest, experiment : Path
        For ``spotlight train manifest.csv --settings experiment.yaml``.
    reasons : list of str
        Sentences that say what was found and decided.
    targets : list of str
        Names of the targets, if there are several.
    """

    manifest: Path
    experiment: Path
    reasons: list[str]
    targets: list[str]


def init(
    folder: str | Path,
    to: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **facts: Any,
) -> Plan:
    """Look at a folder of images, and write a manifest and an experiment from which a model can be trained.

    Of images of one file per plane, lists are written into the folder ``stacks`` beside the manifest.

    Parameters
    ----------
    folder : path
        With the images, in subfolders or not.
    to : path, optional
        Where to write ``manifest.csv`` and ``experiment.yaml``; left out: into the folder itself.
    overwrite : bool
        Replace files of these names.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.
    **facts
        Patterns and channels; see `spotlight.pairs.proposal.propose_pairs`.

    Returns
    -------
    Plan
        What was written, and what was found in the folder.

    Raises
    ------
    SpotlightError
        If no pairs can be proposed without guessing, or the files are there already.

    Examples
    --------
    >>> import numpy as np
    >>> import spotlight
    >>> images = np.random.default_rng(0).random((8, 4, 32, 32), np.float32)
    >>> names = [f"{folder}/a{number}.ome.tif" for folder in ("bf", "dna") for number in range(4)]
    >>> for image, name in zip(images, names):
    ...     path = spotlight.Stack(image, "ZYX", (0.5, 0.2, 0.2)).save(f"images/{name}")
    >>> plan = spotlight.init("images")
    >>> print(plan.manifest.read_text().strip())
    input,target,split
    bf/a0.ome.tif,dna/a0.ome.tif,val
    bf/a1.ome.tif,dna/a1.ome.tif,train
    bf/a2.ome.tif,dna/a2.ome.tif,test
    bf/a3.ome.tif,dna/a3.ome.tif,train
    """
    to = Path(folder if to is None else to)
    for name in (MANIFEST, EXPERIMENT):
        if (to / name).exists() and not overwrite:
            raise SpotlightError(f"{to / name}: is there already. Choose another folder with --to, or say --overwrite.")
    proposal = propose_pairs(folder, lists_to=to / LISTS, **facts)
    if facts.get("mask_pattern") is not None:
        experiment, reasons = _plan_of_masks(proposal.pairs)
        manifest = write_manifest(proposal.pairs, to / MANIFEST, "mask")
        reasons = [*proposal.reasons, *reasons]
    else:
        prints = _look_at(proposal.pairs, progress)
        experiment, choices = plan_experiment(prints)
        manifest = write_manifest(proposal.pairs, to / MANIFEST)
        reasons = [*proposal.reasons, *_described(prints), *choices.values()]
    head = "".join(f"# {line}\n" for line in ("Planned by `spotlight init`; edit what you know better.", *reasons))
    write_text(to / EXPERIMENT, f"{head}\n{commented_yaml(experiment)}")
    targets = list(dict.fromkeys(pair.target_name for pair in proposal.pairs if pair.target_name))
    return Plan(manifest, to / EXPERIMENT, reasons, targets)


def _plan_of_masks(pairs: Sequence[Pair]) -> tuple[Experiment, list[str]]:
    """Choose settings for masks by the values of the first."""
    first = pairs[0]
    values = np.unique(first.read_mask(first.read_channels()[0]).data).tolist()
    white = values in ([0, 255], [255])
    task = SegmentTask(foreground=(255,), not_annotated=()) if white else SegmentTask()
    meaning = "255 is the structure" if white else "1 is the structure, 0 is not, and 255 is not annotated"
    return protocol("spotlight", task), [
        f"The mask of {first.name} has the values {', '.join(f'{value:g}' for value in values[:6])}: {meaning} "
        "(task.foreground, task.not_annotated).",
        "Grid: native; stacks keep their voxels. Whether a structure is contiguous or isolated is for you to say "
        "(task.structures).",
    ]


@dataclass(frozen=True)
class Fingerprint:
    """What a pair is like: shape, voxel size in µm, least and greatest target value, share of foreground."""

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...] | None
    target_range: tuple[float, float]
    foreground: float


def _look_at(pairs: Sequence[Pair], progress: Progress | None) -> list[Fingerprint]:
    spread = np.linspace(0, len(pairs) - 1, min(len(pairs), MOST_LOOKED_AT)).round().astype(int)
    chosen = [pairs[number] for number in np.unique(spread)]
    prints = []
    for number, pair in enumerate(chosen, start=1):
        _, target = pair.read_both()
        target.doubt_voxel_size()
        prints.append(_fingerprint(target))
        if progress is not None:
            progress("looking", number, len(chosen), {})
    return prints


def _fingerprint(target: Stack) -> Fingerprint:
    settings = protocol("spotlight").preparation.foreground
    fraction = find_foreground(target.data, settings, name=target.source).fraction
    return Fingerprint(target.shape, target.voxel_size, (float(target.data.min()), float(target.data.max())), fraction)


def _described(prints: Sequence[Fingerprint]) -> list[str]:
    shapes = sorted({" x ".join(map(str, p.shape)) for p in prints})
    sizes = sorted({" x ".join(f"{v:.4g}" for v in p.voxel_size) + " µm" if p.voxel_size else "" for p in prints})
    low, high = min(p.foreground for p in prints), max(p.foreground for p in prints)
    unsized = any(p.voxel_size is None for p in prints)
    bottom, top = min(p.target_range[0] for p in prints), max(p.target_range[1] for p in prints)
    return [
        f"Of {counted(len(prints), 'pair')} that could be read: sizes {', '.join(shapes)}; voxels of "
        f"{', '.join(size or 'a size that is not stated' for size in sizes)}; targets "
        f"from {bottom:g} to {top:g}; foreground {100 * low:.1f} to {100 * high:.1f} %.",
        *([NO_VOXEL_SIZE] if unsized else []),
    ]


def plan_experiment(prints: Sequence[Fingerprint], memory: int | None = None) -> tuple[Experiment, dict[str, str]]:
    """Choose the settings of a training run for stacks like these.

    Parameters
    ----------
    prints : sequence of Fingerprint
        What the stacks are like.
    memory : int, optional
        Bytes that a training step may take; left out: half of the machine's memory.

    Returns
    -------
    (Experiment, dict)
        The settings, and a sentence for each that was chosen.
    """
    values = protocol("spotlight").model_dump()
    reasons = {}
    lateral = [p.voxel_size[-1] for p in prints if p.voxel_size]
    if len(lateral) < len(prints):
        values["preparation"]["grid"] = "native"
        reasons["grid"] = "Grid: native, since not all files state a voxel size; the model suits only this one."
    elif min(lateral) > PUBLISHED_GRID:
        values["preparation"]["grid"] = round(min(lateral), 4)
        reasons["grid"] = f"Grid: {min(lateral):.4g} µm, the finest pixel here; a finer grid would hold nothing more."
    else:
        pixels = "finer or as fine"
        if max(lateral) > PUBLISHED_GRID:
            pixels = f"{min(lateral):.4g} to {max(lateral):.4g} µm wide, and the coarser are interpolated"
        reasons["grid"] = f"Grid: {PUBLISHED_GRID} µm, as published; pixels here are {pixels}."
    dims = len(prints[0].shape)
    patch = (32, 64, 64) if dims == 3 else (128, 128)
    reasons["patch"] = f"Patches: {'x'.join(map(str, patch))} voxels, shrunk if a stack is smaller."
    per_patch = protocol("spotlight").network.step_memory(patch)
    if memory is None:
        memory, limit = memory_to_use()
    else:
        limit = f"{memory / 2**30:.2g} GiB may be used"
    batch = int(np.clip(memory // per_patch, 1, values["training"]["batch_size"]))
    values["training"]["batch_size"] = batch
    reasons["batch"] = f"Batch: {batch} patches, about {batch * per_patch / 2**30:.1f} GiB of memory; {limit}."
    steps = values["training"]["steps"]
    reasons["steps"] = f"Steps: {steps}, for a first model; the published run has 50,000 steps of 24 patches."
    return Experiment.parse(values, "plan"), reasons
