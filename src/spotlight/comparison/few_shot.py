"""`few_shot`: whether a pretrained start helps on one's own labelled stacks, few of which are trained on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from spotlight.csv_files import write_csv
from spotlight.errors import SpotlightError
from spotlight.evaluation.mask_fields import score_masks
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.fingerprint import differences
from spotlight.images import Stack
from spotlight.images.joining import all_channels, separate
from spotlight.images.slabs import in_memory
from spotlight.locks import works_in
from spotlight.metrics import mask_dice
from spotlight.model import read_description
from spotlight.pairs.listing import read_pairs
from spotlight.pairs.pair import Listed, Pair
from spotlight.pairs.prepared import PreparationSettings
from spotlight.plain_yaml import load_yaml
from spotlight.prediction import Model, PredictionSettings, load_model
from spotlight.progress import Progress, named
from spotlight.quoting import safe_name
from spotlight.segmentation.classical import tune_threshold
from spotlight.settings import Settings
from spotlight.tasks import SegmentTask, find_labels
from spotlight.training import Experiment, protocol, train
from spotlight.training.backbone import require_unseen

log = logging.getLogger("spotlight")

SCORES, COMPARED, RECORD = "scores.csv", "few_shot.csv", "few_shot.yaml"
SCRATCH, TOTAL, THRESHOLD = "scratch", "scratch, total steps", "tuned threshold"
PRIMARY = "mask_dice"
ALPHA = 0.05

Finder = Callable[[Stack], NDArray[np.bool_]]
"""Finds a structure in a stack."""


class FewShotSettings(Settings):
    """What is tried, and how often.

    Examples
    --------
    >>> from spotlight.comparison import FewShotSettings
    >>> settings = FewShotSettings(shots=(1, 4), draws=3)
    >>> len(settings.shots) * settings.draws  # trainings from each start
    6
    >>> settings.steps
    200
    """

    shots: tuple[PositiveInt, ...] = Field((1, 2, 5), min_length=1, description="Numbers of labelled stacks.")
    draws: PositiveInt = Field(
        5, description="How often stacks are drawn, each time with another seed of the training; see `statistics`."
    )
    steps: PositiveInt = Field(200, description="Training steps from a start, and from scratch.")
    folds: int = Field(
        5,
        ge=2,
        description="For a manifest without the split test: groups of stacks (of one `group`, if that column is there) "
        "that are held out in turn.",
    )
    seed: int = Field(0, ge=0, description="Of the draws.")


@dataclass(frozen=True, eq=False)
class FewShot:
    """What was found, and where it is written.

    Attributes
    ----------
    folder : Path
        With the tables as CSV, and all models.
    scores : DataFrame
        One row per number of shots, method, draw (``seed``) and test stack.
    table : DataFrame
        One row per number of shots, start and what it is compared with; see `compare_methods`. ``answer`` is "yes" if
        the start is shown to be better, "no" if it is shown to be worse, else "cannot tell".

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from spotlight.comparison import FewShot
    >>> verdict = "0.05 higher (0.01 to 0.09)."
    >>> row = {"shots": 2, "method": "pretrained", "baseline": "scratch", "answer": "yes", "verdict": verdict}
    >>> found = FewShot(Path("few-shot"), pd.DataFrame(), pd.DataFrame([row]))  # as `few_shot` gives it
    >>> found.verdicts()
    ['2 labelled: does pretrained help, against scratch? Yes. 0.05 higher (0.01 to 0.09).']
    """

    folder: Path
    scores: pd.DataFrame
    table: pd.DataFrame

    def verdicts(self) -> list[str]:
        """Sentences, for every number of shots and start."""
        return [
            f"{int(row['shots'])} labelled: does {row['method']} help, against {row['baseline']}? "
            f"{str(row['answer']).capitalize()}. {row['verdict']}"
            for row in self.table.to_dict("records")
        ]


@works_in("to")
def few_shot(
    pairs: Listed,
    to: str | Path,
    start: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    settings: FewShotSettings | None = None,
    *,
    task: str = "segment",
    target: str | None = None,
    experiment: Experiment | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> FewShot:
    """Train on a few labelled stacks from one or several starts and from scratch, and compare on other stacks.

    For every number of shots, stacks are drawn several times. On each draw are trained: the network from each start;
    the same network from scratch for the same steps; from scratch for the steps of pretraining and training together;
    and a classical threshold, tuned on the same stacks. The weights of the last step are kept, since a few stacks leave
    none to choose by. A call that was interrupted goes on when it is made again.

    Parameters
    ----------
    pairs : path or sequence of Pair
        A manifest with a column ``mask`` or ``mask:NAME``. Stacks are drawn from the rows of the split train, and
        judged on those of the split test; without splits, groups are held out in turn.
    to : path
        Folder for models and tables.
    start : path, sequence or mapping of str to path
        Backbones, or other models.
    settings : FewShotSettings, optional
        What is tried.
    task : str
        "segment".
    target : str, optional
        Which structure, for a manifest of several.
    experiment : Experiment, optional
        Settings of the trainings; steps, seed, start and validation are set here. Left out: those of the task, with the
        network of the first start.
    cache : path, optional
        Folder for prepared stacks, which all trainings share; left out, they are prepared in memory each time.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    FewShot
        Scores of every training, and for every number of shots whether the start helps.

    Raises
    ------
    SpotlightError
        If there are too few stacks, starts have different networks, or `to` holds another comparison.

    Examples
    --------
    >>> import spotlight
    >>> found = spotlight.few_shot("vessels.csv", "few-shot", {"pretrained": "backbone"})  # doctest: +SKIP
    """
    settings, to = settings or FewShotSettings(), Path(to)
    if task != "segment":
        raise SpotlightError(
            f"few-shot compares models of the task 'segment', but {task!r} was asked for. For stains, use "
            "`spotlight compare` with a method whose training has finetune."
        )
    starts = _named(start)
    experiment = _experiment(experiment, starts)
    listed = [pair for pair in read_pairs(pairs, target=target, column=SegmentTask.column) if pair.split != "val"]
    folds = _folds(listed, settings)
    for folder in starts.values():
        tests = [replace(pair, split="test") for _, judged in folds for pair in judged]
        require_unseen(read_description(folder), tests, experiment, str(folder))
    _claim(to, settings, experiment, starts, listed)
    methods = _methods(starts, settings)
    jobs = [(shots, draw) for shots in settings.shots for draw in range(settings.draws)]
    rows: list[pd.DataFrame] = []
    for number, (shots, draw) in enumerate(jobs):
        for fold, (pool, judged) in enumerate(folds):
            file = to / "runs" / f"{shots}-shot" / f"draw-{draw}" / f"fold-{fold}" / SCORES
            if not file.exists():
                rng = np.random.default_rng([settings.seed, shots, draw, fold])
                drawn = [replace(pool[n], split="train") for n in sorted(rng.permutation(len(pool))[:shots])]
                made = _run(drawn, judged, methods, experiment, draw, file.parent, cache, progress)
                write_csv(pd.DataFrame(made).assign(shots=shots, seed=draw), file, "%.6g")
            rows.append(pd.read_csv(file, dtype={"stack": str, "method": str}))
        if progress is not None:
            progress("few-shot", number + 1, len(jobs), {})
    scores = pd.concat(rows, ignore_index=True)
    table = judge(scores, list(starts))
    write_csv(scores, to / SCORES, "%.6g")
    write_csv(table, to / COMPARED, "%.6g")
    return FewShot(to, scores, table)


def judge(scores: pd.DataFrame, starts: Sequence[str]) -> pd.DataFrame:
    """Compare every start with every control, for each number of shots; see `FewShot.table`.

    Parameters
    ----------
    scores : DataFrame
        With the columns shots, method, seed, stack and mask_dice.
    starts : sequence of str
        Which of the methods are starts; all others are controls.
    """
    tables = []
    for shots, group in scores.groupby("shots"):
        for control in [name for name in dict.fromkeys(group["method"]) if name not in starts]:
            table = compare_methods(group, control, {PRIMARY: "high"}, list(starts), alpha=ALPHA)
            tables.append(table.assign(shots=shots))
    table = pd.concat(tables, ignore_index=True)
    shown = table["p_holm"] <= ALPHA
    table["answer"] = np.select(
        [shown & (table["mean_difference"] > 0), shown & (table["mean_difference"] < 0)], ["yes", "no"], "cannot tell"
    )
    return table


def _named(start: str | Path | Sequence[str | Path] | Mapping[str, str | Path]) -> dict[str, Path]:
    """Starts by the names of their methods."""
    if isinstance(start, Mapping):
        return {name: Path(folder) for name, folder in start.items()}
    folders = [start] if isinstance(start, (str, Path)) else list(start)
    found = {f"from {Path(folder).resolve().name}": Path(folder) for folder in folders}
    if not found or len(found) < len(folders):
        raise SpotlightError("few-shot needs starts of different names: --from BACKBONE, once for each.")
    return found


def _experiment(given: Experiment | None, starts: Mapping[str, Path]) -> Experiment:
    networks = {name: read_description(folder).network for name, folder in starts.items()}
    first, *others = networks.items()
    for name, network in others:
        if network != first[1]:
            raise SpotlightError(
                f"{first[0]} and {name} have different networks, so that no run from scratch is like both. Compare one "
                "after the other."
            )
    base = given or protocol("spotlight", "segment")
    training = base.training.model_copy(update={"validation_share": 0.0, "finetune": None, "choose_by": "loss"})
    experiment = base.model_copy(update={"network": first[1], "training": training})
    _task_of(experiment)
    return experiment


def _task_of(experiment: Experiment) -> SegmentTask:
    if not isinstance(experiment.task, SegmentTask):
        raise SpotlightError(f"few-shot needs settings of the task 'segment'. Received: {experiment.task.kind!r}.")
    return experiment.task


def _methods(starts: Mapping[str, Path], settings: FewShotSettings) -> dict[str, tuple[int, Path | None]]:
    """Steps and start of every training, by the name of its method."""
    records = [read_description(folder).training for folder in starts.values()]
    before = [int(record["settings"]["training"]["steps"]) for record in records if "settings" in record]
    return {
        SCRATCH: (settings.steps, None),
        TOTAL: (settings.steps + max(before, default=0), None),
        **{name: (settings.steps, folder) for name, folder in starts.items()},
    }


def _folds(pairs: Sequence[Pair], settings: FewShotSettings) -> list[tuple[list[Pair], list[Pair]]]:
    """Pools to draw labelled stacks from, and the stacks to judge on."""
    tests = [pair for pair in pairs if pair.split == "test"]
    if tests:
        folds = [([pair for pair in pairs if pair.split != "test"], tests)]
    else:
        groups = list(dict.fromkeys(pair.group or pair.name for pair in pairs))
        count = min(settings.folds, len(groups))
        if count < 2:
            raise SpotlightError(
                f"few-shot needs stacks to judge on: rows of the split test, or at least two groups or stacks of "
                f"{len(groups)}. Add rows."
            )
        number_of = {name: number % count for number, name in enumerate(groups)}
        parts: list[list[Pair]] = [[] for _ in range(count)]
        for pair in pairs:
            parts[number_of[pair.group or pair.name]].append(pair)
        folds = [([pair for other in parts if other is not part for pair in other], part) for part in parts]
    least = min(len(pool) for pool, _ in folds)
    if max(settings.shots) > least:
        raise SpotlightError(
            f"{max(settings.shots)} labelled stacks are to be drawn (shots), but there are {least} to draw from. Ask "
            "for fewer, or add rows."
        )
    return folds


def _claim(
    to: Path, settings: FewShotSettings, experiment: Experiment, starts: Mapping[str, Path], pairs: Sequence[Pair]
) -> None:
    """Record what the folder compares; raise a `SpotlightError` if it holds another comparison."""
    record = {
        "settings": settings.model_dump(mode="json"),
        "experiment": experiment.model_dump(mode="json"),
        "starts": {name: read_description(folder).weights_sha256 for name, folder in starts.items()},
        "stacks": {pair.name: pair.digest() for pair in pairs},
    }
    path = to / RECORD
    if path.exists() and (differs := differences(load_yaml(path), record)):
        raise SpotlightError(
            f"{to}: holds a comparison that differs in {', '.join(differs[:5])}. Write to another folder."
        )
    write_text(path, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def _run(
    drawn: list[Pair],
    judged: list[Pair],
    methods: Mapping[str, tuple[int, Path | None]],
    experiment: Experiment,
    seed: int,
    folder: Path,
    cache: str | Path | None,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """Train all methods on the drawn stacks, and score them on others."""
    task = _task_of(experiment)
    finders: dict[str, Finder] = {}
    for name, (steps, start) in methods.items():
        training = experiment.training.model_copy(
            update={
                "steps": steps,
                "seed": seed,
                "finetune": start,
                "warmup": min(experiment.training.warmup, max(1, steps // 20)),
                "validate_every": steps,
                "schedule": "cosine",
            }
        )
        own = experiment.model_copy(update={"training": training})
        made = train(drawn, folder / safe_name(name), own, cache=cache, progress=named(progress, name))
        finders[name] = _by_model(load_model(made), task)
    finders[THRESHOLD] = _by_threshold(drawn, task)
    rows = []
    for pair in judged:
        image = pair.read_input()
        truth = task.prepare(pair, PreparationSettings(grid="native"), in_memory)
        known = np.asarray(truth.mask)
        true = (np.asarray(truth.target) > 0) & known
        for name, find in finders.items():
            found = find(image) & known
            kind = task.structures.get(pair.target_name)
            scores = score_masks(true, found, kind, image.voxel_size) if kind else {PRIMARY: mask_dice(true, found)}
            rows.append({"method": name, "stack": pair.name, **scores})
    return rows


def _by_model(model: Model, task: SegmentTask) -> Finder:
    def find(image: Stack) -> NDArray[np.bool_]:
        result, _ = model.stain(model.accept(image, all_channels(image)), PredictionSettings(precision="float32"))
        return np.asarray(find_labels(result.channel(), task.threshold, task.least_voxels).data > 0)

    return find


def _by_threshold(drawn: Sequence[Pair], task: SegmentTask) -> Finder:
    images, masks, known = [], [], []
    spacing: tuple[float, ...] = ()
    for pair in drawn:
        image = separate(pair.read_input())[0]
        truth = task.prepare(pair, PreparationSettings(grid="native"), in_memory)
        images.append(image.data)
        known.append(np.asarray(truth.mask))
        masks.append((np.asarray(truth.target) > 0) & known[-1])
        spacing = image.voxel_size or (1.0,) * image.data.ndim
    kind = task.structures.get(drawn[0].target_name)
    tuned = tune_threshold(images, masks, spacing, None if kind is None else kind == "contiguous", known)
    log.info("Tuned threshold: %s of %.3g, %.3g deviations.", tuned.method.name, tuned.size, tuned.factor)
    return lambda image: tuned.find(separate(image)[0].data, spacing)
