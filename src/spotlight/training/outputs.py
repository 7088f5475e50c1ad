"""Several stains and modalities in one run: which rows are one field, and how they are drawn."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from spotlight.errors import SpotlightError
from spotlight.images.modality import MODALITIES, modality_of
from spotlight.model import ModelDescription
from spotlight.pairs.fields import group_fields, join_planes, stains_of
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.training.batches import Outputs
from spotlight.training.settings import Experiment

log = logging.getLogger("spotlight")


def read_targets(
    pairs: Listed,
    experiment: Experiment,
    input_channel: str | Sequence[str] | None,
    target_channel: str | None,
    target: str | Sequence[str] | None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
) -> list[Pair]:
    """Read the pairs of a run: those of one target, or of several that one network learns.

    Parameters
    ----------
    pairs, input_channel, target_channel, axes, voxel_size
        See `spotlight.pairs.read_pairs`.
    experiment : Experiment
        Says whether planes are seen one at a time, and whether the modality has to be known.
    target : str, sequence of str or None
        A name, several, or "all" of a manifest.

    Raises
    ------
    SpotlightError
        If a target or a modality is missing.
    """
    column = experiment.task.truth_column()
    if target is None and column not in ("target", "input"):  # masks of one image are learnt together
        target = "all"
    if target != "all" and (target is None or isinstance(target, str)):
        found = read_pairs(
            pairs, input_channel, target_channel, target, axes=axes, voxel_size=voxel_size, column=column
        )
    else:
        found = read_pairs(pairs, input_channel, target_channel, None, True, axes, voxel_size, column)
        if target != "all":
            target = list(dict.fromkeys(target))
            absent = sorted(set(target) - {pair.target_name for pair in found})
            if absent:
                known = ", ".join(map(repr, stains_of(found)))
                raise SpotlightError(f"no pair has the targets {', '.join(map(repr, absent))}. Found: {known}.")
            chosen = [pair for name in target for pair in found if pair.target_name == name]
            if {"val"} & {pair.split for pair in found} and not {"val"} & {pair.split for pair in chosen}:
                log.warning("No pair of the split val has one of the targets %s.", ", ".join(target))
            found = chosen
    if experiment.preparation.planes == "one":
        found = join_planes(found)
    if experiment.modalities != "unified" or experiment.balance == "stains and modalities":
        found = [_with_modality(pair) for pair in found]
    return found


def _with_modality(pair: Pair) -> Pair:
    """The pair with its modality: the manifest's, or that which the input's channel is named after."""
    if pair.modality:
        return pair
    found = modality_of(pair.read_names())
    if found is None:
        raise SpotlightError(
            f"{pair.input}: its modality is needed, but neither the manifest nor the name of its channel states it. "
            f"Add a column modality with {', '.join(MODALITIES)}."
        )
    return replace(pair, modality=found)


def by_modality(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    """Pairs by their modality, in the order of `MODALITIES`, as far as there are some to learn from."""
    found = {name: [pair for pair in pairs if pair.modality == name] for name in MODALITIES}
    learnt = {name for name, group in found.items() if any(pair.split in ("train", "") for pair in group)}
    for name, group in found.items():
        if group and name not in learnt:
            log.warning("No model for %s: none of its %d pairs is for training.", name, len(group))
    return {name: group for name, group in found.items() if name in learnt}


def keeps_head(description: ModelDescription, outputs: Outputs, task: str) -> bool:
    """Whether a run of a task goes on with the last layers of a model, which has its outputs in its order."""
    had = tuple(target.channel for target in description.targets)
    renamed = len(had) == len(outputs.names) == 1  # a single output may have another name in other data
    return description.task.kind == task and (had == outputs.names or renamed)


def require_same_outputs(description: ModelDescription, outputs: Outputs, name: str, task: str = "stain") -> None:
    """Raise a `SpotlightError` unless a model that a run goes on from has its stains and modalities, in its order.

    Of a model of another task, or one that finds other masks, only the modalities matter: its last layers are not
    taken.
    """
    had = tuple(target.channel for target in description.targets)
    of_stains = description.task.learns == "intensities" and description.task.kind == task
    if of_stains and not keeps_head(description, outputs, task):
        raise SpotlightError(
            f"{name}: has the stains {', '.join(had)}, but this run {', '.join(outputs.names)}. Fine-tuning needs the "
            "same in the same order; say so with target= (Python) or --target."
        )
    taken = description.input.modalities if description.network.conditioning != "none" else ()
    if taken != outputs.modalities:
        raise SpotlightError(
            f"{name}: takes the modalities {', '.join(taken) or 'none'}, but this run {', '.join(outputs.modalities)}. "
            "Fine-tuning needs the same modalities, and `modalities` as it was."
        )


def with_what_is_learnt(validation: Sequence[Pair], training: Sequence[Pair], experiment: Experiment) -> list[Pair]:
    """Return the validation pairs whose stain is in the training pairs; and modality, if it is an input.

    Others are left out with a warning, for example actin if no training field has actin.
    """
    conditioned = experiment.modalities in ("dynamic", "film")
    names, modalities = stains_of(training), {pair.modality for pair in training}
    kept = []
    for pair in validation:
        what = "target" if pair.target_name not in names else "modality" if conditioned else ""
        if what == "target" or (what and pair.modality not in modalities):
            found = pair.target_name if what == "target" else pair.modality
            log.warning("%s: left out of the validation, since no training pair has the %s %s.", pair.name, what, found)
        else:
            kept.append(pair)
    return kept


def find_outputs(pairs: Sequence[Pair], experiment: Experiment, known: Sequence[Pair] = ()) -> Outputs:
    """Tell which pairs are the targets of one field.

    Parameters
    ----------
    pairs : sequence of Pair
        The pairs to group.
    experiment : Experiment
        Says whether the modality is an input of the network.
    known : sequence of Pair
        Those that decide which stains and modalities there are, and their order; left out: `pairs`.
    """
    names = stains_of(known or pairs)
    found = {pair.modality for pair in known or pairs}
    conditioned = experiment.modalities in ("dynamic", "film")
    return Outputs(
        names,
        tuple(names.index(pair.target_name) for pair in pairs),
        tuple(map(tuple, group_fields(pairs))),
        tuple(name for name in MODALITIES if name in found) if conditioned else (),
    )


def drawing_groups(pairs: Sequence[Pair], outputs: Outputs, experiment: Experiment) -> list[list[int]]:
    """Groups of stacks that are equally likely to be drawn from; see `PatchSampler`.

    "fields": the targets of a field are one group. "stains": the fields that have a stain are, so that a rare stain
    comes as often as a frequent one. "stains and modalities": those of one stain in one modality are.
    """
    if experiment.balance == "fields":
        return [list(field) for field in outputs.fields]
    modalities: Sequence[str | None] = [None]
    if experiment.balance == "stains and modalities":
        modalities = sorted({pair.modality for pair in pairs})
    groups = [
        [n for n, pair in enumerate(pairs) if pair.target_name == name and modality in (None, pair.modality)]
        for name, modality in product(outputs.names, modalities)
    ]
    return [group for group in groups if group]
