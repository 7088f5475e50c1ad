"""`train`: from pairs of files to a model folder, in a run that can be killed and goes on."""

import datetime
import hashlib
import json
import logging
import math
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from spotlight.errors import SpotlightError
from spotlight.files import write_text
from spotlight.foreground import least_foreground_voxels
from spotlight.model import (
    DESCRIPTION,
    InputDescription,
    ModelDescription,
    TargetDescription,
    load_weights,
    save_model,
)
from spotlight.networks import FNet, build_network
from spotlight.pairs.cache import prepare_pairs
from spotlight.pairs.manifest import read_pairs
from spotlight.pairs.pair import Pair
from spotlight.pairs.patches import PatchSampler, patch_starts
from spotlight.pairs.prepare import PreparedPair
from spotlight.training.callbacks import BEST, CHECKPOINT, LOG, Course, Progress, checkpoint_step, trim_log
from spotlight.training.engine import PatchBatches, StainModule
from spotlight.training.settings import Experiment, PatchSettings, protocol

log = logging.getLogger("spotlight")

RUN = "training"
EXPERIMENT = "experiment.yaml"


def train(
    pairs: str | Path | Sequence[Pair],
    to: str | Path,
    experiment: Experiment | str = "spotlight",
    *,
    steps: int | None = None,
    seed: int | None = None,
    input_channel: str | None = None,
    target_channel: str | None = None,
    target: str | None = None,
    overwrite: bool = False,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a model on pairs of stacks and write a model folder.

    A run that was interrupted goes on when the same call is made again, and ends with the weights that an
    uninterrupted one would have had. A finished run is not repeated.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A CSV manifest, a folder of stacks with both channels, or pairs.
    to : path
        The model folder to write.
    experiment : Experiment or str
        All settings, or the name of a protocol: see `spotlight.training.settings.PROTOCOLS`.
    steps, seed : int, optional
        Instead of the experiment's.
    input_channel, target_channel : str, optional
        Channel names or indices, for a folder.
    target : str, optional
        Which target to learn, for a manifest of several.
    overwrite : bool
        Start over, whatever stands under `to`.
    cache : path, optional
        Folder for prepared pairs, which are then memory-mapped: for data larger than memory, and for several runs on
        the same data. Left out, they are prepared in memory.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    Path
        The model folder, for `load_model`.

    Raises
    ------
    SpotlightError
        If files are missing or do not fit together, or `to` holds a run with other data or settings.
    """
    to = Path(to)
    if isinstance(experiment, str):
        experiment = protocol(experiment)
    changes = {name: value for name, value in {"steps": steps, "seed": seed}.items() if value is not None}
    experiment = Experiment.parse(_changed(experiment, changes), "training")
    require_device(experiment.training.device)
    training_pairs, validation_pairs = _split(read_pairs(pairs, input_channel, target_channel, target), experiment)
    digests = {pair.name: pair.digest() for pair in training_pairs + validation_pairs}
    digest = hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()[:16]
    run = to / RUN
    begun = not overwrite and _same_run(to, experiment, digest)
    if begun and (to / DESCRIPTION).exists():
        log.info("%s is trained already; nothing to do.", to)
        return to

    prepared = _prepare(training_pairs + validation_pairs, experiment, cache, progress)
    train_set, validation_set = prepared[: len(training_pairs)], prepared[len(training_pairs) :]
    validation_set = _with_foreground(validation_set)
    dims = train_set[0].input.ndim
    torch.manual_seed(experiment.training.seed)
    network = build_network(experiment.network, dims)
    patch = _patch_size(experiment.patches, prepared, network)
    batches = _batches(train_set, patch, experiment)
    if not begun:  # nothing is touched before all that can be wrong with the data was found to be right
        _clear(to)
        write_text(run / EXPERIMENT, f"# data: {digest}\n{experiment.to_yaml()}")
    module = StainModule(network, experiment.loss, experiment.training)
    tile = (64, 128, 128) if dims == 3 else (512, 512)
    course = Course(run, experiment.training, validation_set, tile, progress)
    precision = _fit(module, batches, course, experiment)

    if course.best:
        load_weights(run / BEST, network)
    description = _describe(train_set, experiment, dims)
    record = {
        "data": {
            "digest": digest,
            "train": [_stack_record(pair, digests) for pair in train_set],
            "validation": [_stack_record(pair, digests) for pair in validation_set],
        },
        "patch": list(patch),
        "precision": precision,
        "best": course.best or {"step": experiment.training.steps},
        "settings": experiment.model_dump(mode="json"),
    }
    return save_model(to, description.model_copy(update={"training": record}), network)


def _changed(experiment: Experiment, training: dict[str, int]) -> dict[str, Any]:
    values = experiment.model_dump()
    values["training"] |= training
    return values


def _stack_record(pair: PreparedPair, digests: dict[str, str]) -> dict[str, Any]:
    return {
        "name": pair.name,
        "digest": digests[pair.name],
        "threshold": pair.foreground.threshold,
        "foreground_fraction": pair.foreground.fraction,
    }


def _with_foreground(pairs: list[PreparedPair]) -> list[PreparedPair]:
    """Validation pairs that have a foreground; without one, there is nothing to score."""
    for pair in pairs:
        if not pair.mask.any():
            log.warning("%s: has no foreground and is left out of the validation.", pair.name)
    return [pair for pair in pairs if pair.mask.any()]


def _same_run(to: Path, experiment: Experiment, digest: str) -> bool:
    """Whether the folder holds this very run; an error if it holds another."""
    path = to / RUN / EXPERIMENT
    if not path.exists():
        if (to / DESCRIPTION).exists():
            raise SpotlightError(f"{to}: holds a model already. Write to another folder, or use overwrite.")
        return False
    found = Experiment.from_yaml(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    differs = [name for name in type(found).model_fields if getattr(found, name) != getattr(experiment, name)]
    if first != f"# data: {digest}":
        differs.insert(0, "the data")
    if differs:
        raise SpotlightError(
            f"{to}: holds a run that differs in {', '.join(differs)}. Write to another folder, or use overwrite to "
            "start over."
        )
    return True


def _clear(to: Path) -> None:
    for name in (DESCRIPTION, "weights.safetensors", *(f"{RUN}/{n}" for n in (EXPERIMENT, LOG, CHECKPOINT, BEST))):
        (to / name).unlink(missing_ok=True)
    for half_written in (to / RUN).glob(".*.part"):
        half_written.unlink()


def _split(pairs: list[Pair], experiment: Experiment) -> tuple[list[Pair], list[Pair]]:
    """Pairs for training and validation; held out by the seed where the manifest names no validation pairs."""
    training = [pair for pair in pairs if pair.split in ("train", "")]
    validation = [pair for pair in pairs if pair.split == "val"]
    if not training:
        raise SpotlightError("no pair has the split 'train'. Add rows with split train, or leave the column out.")
    share = experiment.training.validation_share
    if validation or share == 0:
        return training, validation
    if len(training) == 1:
        log.warning("There is one training pair and none for validation: the weights of the last step are kept.")
        return training, []
    # Whole groups, where there are several: fields of one plate are too alike to judge by.
    grouped = all(pair.group for pair in training) and len({pair.group for pair in training}) > 1
    units = list(dict.fromkeys(pair.group if grouped else pair.name for pair in training))
    order = np.random.default_rng(experiment.training.seed).permutation(len(units))
    held = {units[number] for number in order[: max(1, math.floor(share * len(units)))]}
    validation = [pair for pair in training if (pair.group if grouped else pair.name) in held]
    log.info("Held out for validation: %s.", ", ".join(pair.name for pair in validation))
    return [pair for pair in training if pair not in validation], validation


def _prepare(
    pairs: list[Pair], experiment: Experiment, cache: str | Path | None, progress: Progress | None
) -> list[PreparedPair]:
    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("preparing", done, total, {})

    prepared = prepare_pairs(pairs, experiment.preparation, cache, report)
    axes = {pair.input.ndim for pair in prepared}
    if len(axes) > 1:
        raise SpotlightError("the pairs mix two- and three-dimensional stacks. Train a model for each.")
    if experiment.preparation.grid == "native":
        _require_one_grid(prepared)
    for pair in prepared:
        for doubt in pair.foreground.warnings:
            log.warning("%s: %s", pair.name, doubt)
    return prepared


def _require_one_grid(prepared: list[PreparedPair]) -> None:
    first = prepared[0]
    for pair in prepared[1:]:
        a, b = first.voxel_size, pair.voxel_size
        if (a is None) != (b is None) or (a and b and any(abs(x / y - 1) > 0.01 for x, y in zip(a, b, strict=True))):
            raise SpotlightError(
                f"{first.name} and {pair.name} have voxel sizes {a} and {b} µm, but preparation.grid is 'native', "
                "which leaves them as they are. Set preparation.grid to a length in µm."
            )


def _patch_size(settings: PatchSettings, prepared: list[PreparedPair], network: FNet) -> tuple[int, ...]:
    """The patch of the settings, or the published one shrunk to the smallest stack."""
    smallest = tuple(min(sizes) for sizes in zip(*(pair.input.shape for pair in prepared), strict=True))
    divisor = network.divisor
    thin = min(prepared, key=lambda pair: min(pair.input.shape))
    if min(smallest) < divisor:
        raise SpotlightError(
            f"{thin.name}: has {thin.input.shape} voxels on the network's grid, but a network of depth {network.depth} "
            f"needs at least {divisor} along every axis. Lower network.depth, or leave the stack out."
        )
    if settings.size is None:
        usual = (32, 64, 64) if network.dims == 3 else (128, 128)
        return tuple(max(divisor, min(u, n) // divisor * divisor) for u, n in zip(usual, smallest, strict=True))
    if len(settings.size) != network.dims or any(s % divisor for s in settings.size):
        raise SpotlightError(
            f"patches.size must be {network.dims} multiples of {divisor} for these stacks and network.depth "
            f"{network.depth}. Received: {settings.size}."
        )
    return settings.size


def _batches(pairs: list[PreparedPair], patch: tuple[int, ...], experiment: Experiment) -> PatchBatches:
    least = least_foreground_voxels(patch, experiment.patches.least_foreground)
    starts = [patch_starts(pair.input.shape, patch, pair.mask, least) for pair in pairs]
    for pair, found in zip(pairs, starts, strict=True):
        if not len(found):
            log.warning("%s: no patch holds %d foreground voxels; the stack is not used.", pair.name, least)
    if experiment.patches.augment and patch[-1] != patch[-2]:
        raise SpotlightError(f"patches.augment turns patches and needs them square in YX. Received: {patch}.")
    sampler = PatchSampler(starts, patch, experiment.training.seed, experiment.patches.augment)
    return PatchBatches(pairs, sampler, experiment.training.batch_size)


def _fit(module: StainModule, batches: PatchBatches, course: Course, experiment: Experiment) -> str:
    """Run Lightning's loop, from the last checkpoint if there is one; return the arithmetic that was used."""
    settings = experiment.training
    checkpoint = course.folder / CHECKPOINT
    resume = checkpoint if checkpoint.exists() else None
    if resume is not None:
        batches.first_step = checkpoint_step(resume)
        log.info("Going on from step %d.", batches.first_step)
    trim_log(course.folder / LOG, batches.first_step)
    precision = choose_precision(settings.precision, settings.device)
    with warnings.catch_warnings():
        # Lightning proposes data-loading workers and a logger of its own; the patches come from memory.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*|.*isinstance\\(treespec.*", category=FutureWarning)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = lightning.Trainer(
            accelerator=settings.device,
            devices=1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            max_steps=settings.steps,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[course],
        )
        if batches.first_step < settings.steps:
            loader: Any = DataLoader(batches, batch_size=None)
            with _stopping_between_steps(course):
                trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
        elif resume is not None:
            state = torch.load(resume, map_location="cpu", weights_only=True)
            module.load_state_dict(state["state_dict"])
            course.load_state_dict(state["callbacks"][course.state_key])
    return precision


@contextmanager
def _stopping_between_steps(course: Course) -> Iterator[None]:
    """Let Ctrl-C end a run after its current step, with a checkpoint; a second one ends it at once.

    An exception raised at any moment may be lost in code that cannot pass it on.
    """
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        if course.stop_asked:
            raise KeyboardInterrupt
        course.stop_asked = True

    own = threading.current_thread() is threading.main_thread() and before is not signal.SIG_IGN
    if own:
        signal.signal(signal.SIGINT, ask)
    try:
        yield
    except SystemExit as stop:  # what Lightning makes of it, which would end a notebook
        raise KeyboardInterrupt from stop
    finally:
        if own:
            signal.signal(signal.SIGINT, before)


def require_device(device: str) -> None:
    """Raise a `SpotlightError` if the device of the settings is not here."""
    if device == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise SpotlightError("training.device is 'gpu', but torch sees none here. Use 'auto' or 'cpu'.")


def choose_precision(precision: str, device: str) -> str:
    """Resolve "auto": bfloat16 where the processor multiplies it natively, else float32."""
    if precision != "auto":
        return precision
    if device != "cpu" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device != "cpu" and torch.backends.mps.is_available():
        return "float32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def _describe(pairs: list[PreparedPair], experiment: Experiment, dims: int) -> ModelDescription:
    backgrounds = [np.median(pair.target[~pair.mask]) for pair in pairs if not pair.mask.all()]
    sizes = [pair.voxel_size for pair in pairs]
    known = [size for size in sizes if size is not None]
    ranges = tuple((min(axis), max(axis)) for axis in zip(*known, strict=True)) if len(known) == len(sizes) else None
    return ModelDescription(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        network=experiment.network,
        input=InputDescription(
            channel=_common(pair.channels[0] for pair in pairs),
            axes="ZYX" if dims == 3 else "YX",
            grid=experiment.preparation.grid,
            voxel_size=ranges,
        ),
        target=TargetDescription(
            channel=_common(pair.channels[1] for pair in pairs),
            center=experiment.preparation.target_center,
            normalised_range=(
                min(float(pair.target.min()) for pair in pairs),
                max(float(pair.target.max()) for pair in pairs),
            ),
            intensity_range=(
                min(pair.intensity_range[0] for pair in pairs),
                max(pair.intensity_range[1] for pair in pairs),
            ),
            threshold=float(np.mean([pair.threshold for pair in pairs])),
            background=float(np.mean(backgrounds)) if backgrounds else None,
            flatten=experiment.flatten_background,
        ),
    )


def _common(names: Any) -> str:
    """The name that all share, or nothing."""
    different = set(names)
    return different.pop() if len(different) == 1 else ""
