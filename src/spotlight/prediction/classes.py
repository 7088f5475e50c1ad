"""`classify`: which class a stack shows; the tiles of a stack vote."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from spotlight.csv_files import write_csv
from spotlight.devices import find_device
from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.fingerprint import fingerprint
from spotlight.images import Part, Selection, Stack, read
from spotlight.images.selection import Channels
from spotlight.locks import works_in
from spotlight.prediction.acceptance import tell_doubts
from spotlight.prediction.listing import read_part, reason_of, states_of_image
from spotlight.prediction.options import StainOptions
from spotlight.prediction.settings import PredictionSettings
from spotlight.prediction.stain import Model
from spotlight.prediction.workspace import InMemory
from spotlight.progress import Progress, tracked
from spotlight.tiles import mean_over_tiles

log = logging.getLogger("spotlight")

TABLE = "classes.csv"
FACTS = "classes.key"
PROBABILITY = "p:"
"""What stands before the name of a class in the columns of its probability."""
SAVE_EVERY = 50
"""Images between two writings of the table."""


def classify(
    model: Model,
    image: str | Path | Stack | NDArray[Any],
    *,
    channel: Channels = None,
    axes: str | None = None,
    voxel_size: tuple[float, ...] | None = None,
    any_voxel_size: bool = False,
    settings: PredictionSettings | None = None,
) -> dict[str, float]:
    """Find how probable each class is.

    The stack is cut into tiles of the size of the training patches. Their numbers are averaged, over the members of an
    ensemble, too, and the softmax of the means are the probabilities.

    Parameters
    ----------
    model : Model
        Of the task "classify".
    image : path, Stack or ndarray
        A file, a stack, or an array.
    channel, axes, voxel_size, any_voxel_size, settings
        See `Model.predict`.

    Returns
    -------
    dict of str to float
        Probabilities by the names of the classes; their sum is 1.

    Raises
    ------
    SpotlightError
        If the model was trained for something else, or the input is not what it was trained for.

    Examples
    --------
    >>> from spotlight import load_model
    >>> from spotlight.prediction import classify
    >>> classify(load_model("phases"), "cell.tif")  # doctest: +SKIP
    {'G1': 0.81, 'S': 0.15, 'mitosis': 0.04}
    """
    require_classes(model)
    chosen = Selection(channel=channel, axes=axes, voxel_size=voxel_size)
    if isinstance(image, (str, Path)):
        image = read(image, axes=axes, voxel_size=voxel_size)
        chosen = chosen.only("channel")
    stack = model.accept(image, chosen, any_voxel_size)
    probabilities, doubts = classify_stack(model, stack, settings)
    tell_doubts(model.name, {stack.source: doubts})
    return probabilities


def classify_stack(
    model: Model, stack: Stack, settings: PredictionSettings | None = None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Classify a stack that the model accepts; also returns in which ways it is unlike those of the training."""
    settings = settings or PredictionSettings()
    steps = model.steps(stack, settings, InMemory())
    device = find_device(settings.device)
    patch = tuple(model.description.training.get("patch") or steps.shape)
    networks = [network.to(device).eval() for network in model.networks]

    def numbers(tile: NDArray[np.float32]) -> NDArray[np.float32]:
        image = torch.from_numpy(tile).reshape(1, -1, *tile.shape[-len(patch) :]).to(device)
        with torch.inference_mode():
            found = torch.stack([network(image).float() for network in networks]).mean(0)
        return np.asarray(found.cpu().numpy().ravel())

    prepared = steps.prepared
    logits = mean_over_tiles(numbers, prepared, patch, networks[0].divisor)
    if not np.isfinite(logits).all():
        raise SpotlightError(f"{stack.source}: model {model.name} gives numbers that are not finite. Train it anew.")
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    names = [target.channel for target in model.description.targets]
    return dict(zip(names, map(float, shares), strict=True)), tuple(steps.examine(prepared))


def require_classes(model: Model) -> None:
    """Raise a `SpotlightError` unless a model was trained for classes."""
    if model.description.task.learns != "classes":
        raise SpotlightError(
            f"model {model.name} learnt the task {model.description.task.kind!r}, and knows no classes. Train one: "
            "spotlight train MANIFEST --task classify --to MODEL."
        )


@works_in("to")
def classify_files(
    model: Model,
    listed: Sequence[Part],
    to: str | Path,
    options: StainOptions = StainOptions(),  # noqa: B008 - frozen
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Classify images of files, and write a table.

    Rows that are there already, of files that have not changed, are kept: an interrupted call goes on.

    Parameters
    ----------
    model : Model
        Of the task "classify".
    listed : sequence of Part
        From `find_parts`.
    to : path
        Folder for ``classes.csv``: a row per image, and per frame of a time-lapse, with its most probable class, and
        the probability of every class in columns ``p:NAME``.
    options : StainOptions
        Channel, axes, voxel size and settings.
    overwrite : bool
        Replace a table that another model, or other options, have made.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    (DataFrame, dict)
        The table, and why images failed, by their names.

    Raises
    ------
    SpotlightError
        If the model tells no classes apart, or the table in `to` is of another model or other options. What is wrong
        with one image is returned, not raised.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.prediction import classify_files, find_parts
    >>> model = spotlight.load_model("phases")  # doctest: +SKIP
    >>> table, failed = classify_files(model, find_parts(["new"]), "classes")  # doctest: +SKIP
    >>> table["class"].value_counts()  # doctest: +SKIP
    """
    require_classes(model)
    to, listed = Path(to), [frame for part in listed for frame in part.each_frame()]
    key = fingerprint(model.digest, options)
    rows = _kept(to, key, overwrite)
    failed: dict[str, str] = {}
    doubts: dict[str, Sequence[str]] = {}
    made = 0
    for number, part in enumerate(tracked(listed, "classifying", len(listed), progress), start=1):
        try:
            if part.fault:
                raise SpotlightError(part.fault)
            states = fingerprint([state.fingerprint for state in states_of_image(part.path, part.scene, part.further)])
            if rows.get(part.name, {}).get("file_state") != states:
                stack = read_part(part, options.axes, options.voxel_size)
                chosen = Selection(channel=options.channel_of(part))
                accepted = model.accept(stack, chosen, options.any_voxel_size)
                found, doubts[part.name] = classify_stack(model, accepted, options.settings)
                best = max(found, key=lambda name: found[name])
                shares = {f"{PROBABILITY}{name}": share for name, share in found.items()}
                rows[part.name] = {"name": part.name, "class": best, **shares, "file_state": states}
                made += 1
        except Exception as error:  # one bad file is no reason to leave the others undone
            log.debug("%s", part.name, exc_info=True)
            failed[part.name] = reason_of(error)
            log.error("%s: %s", part.name, failed[part.name])
        if made == SAVE_EVERY or number == len(listed):
            _write(rows, to, key)
            made = 0
    tell_doubts(model.name, doubts)
    wanted = {part.name for part in listed}
    return pd.DataFrame([row for name, row in rows.items() if name in wanted]), failed


def _kept(to: Path, key: str, overwrite: bool) -> dict[str, dict[str, Any]]:
    """Rows of an earlier call with the same model and options."""
    table, facts = to / TABLE, to / FACTS
    if not table.is_file() or overwrite:
        return {}
    if not facts.is_file() or facts.read_text(encoding="utf-8").strip() != key:
        raise SpotlightError(
            f"{table}: is there already, from another model or other options. Choose another folder, or --overwrite."
        )
    found = pd.read_csv(table, dtype={"name": str, "class": str, "file_state": str}, keep_default_na=False)
    return {str(row["name"]): {str(k): v for k, v in row.items()} for row in found.to_dict("records")}


def _write(rows: dict[str, dict[str, Any]], to: Path, key: str) -> None:
    if rows:
        (to / TABLE).unlink(missing_ok=True)
        write_text(to / FACTS, key + "\n")
        write_csv(pd.DataFrame(list(rows.values())), to / TABLE, "%.6g")
