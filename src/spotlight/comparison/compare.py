"""`compare`: several methods and seeds on the same splits, with statistics and a verdict for every claim."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
from pydantic import Field, field_validator, model_validator

from spotlight.csv_files import write_csv
from spotlight.devices import find_device
from spotlight.errors import SpotlightError
from spotlight.evaluation.evaluate import Evaluation, evaluate
from spotlight.evaluation.methods import Source
from spotlight.evaluation.settings import EvaluationSettings
from spotlight.evaluation.statistics import compare_methods
from spotlight.files import write_text
from spotlight.locks import works_in
from spotlight.metrics.cards import Direction
from spotlight.metrics.registry import best_of, claims
from spotlight.plain_yaml import load_yaml
from spotlight.prediction import Model, load_model
from spotlight.progress import Progress, named
from spotlight.settings import Settings
from spotlight.training import Experiment, protocol, train

KINDS = ("kind", "architecture", "method")
"""What tells groups of settings of one place apart."""


class ComparedMethod(Settings):
    """Where the stains of a method come from: a training, a model, another tool, or the models of another method."""

    protocol: str | None = Field(None, description="Train with this protocol, once per seed.")
    settings: str | None = Field(None, description="Train with this YAML file of an experiment, once per seed.")
    change: dict[str, Any] = Field({}, description="Settings of the training to replace, nested as they are.")
    model: str | None = Field(None, description="A model folder, package or ONNX file that is there.")
    stains: str | None = Field(None, description="A folder of stains that another tool has made.")
    like: str | None = Field(None, description="Take the models of this method.")
    flatten: bool | None = Field(
        None, description="Make the background of the stains even below the threshold, or not, whatever the model says."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [n for n in ("protocol", "settings", "model", "stains", "like") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError("a method needs one of protocol, settings, model, stains and like")
        if self.change and given[0] not in ("protocol", "settings"):
            raise ValueError("change is for methods that are trained")
        if self.flatten is not None and given[0] == "stains":
            raise ValueError("stains of another tool cannot be flattened")
        return self


class Comparison(Settings):
    """What is compared. Paths are relative to the file that this was read from.

    Examples
    --------
    >>> from spotlight.comparison import Comparison
    >>> comparison = Comparison.parse(
    ...     {
    ...         "pairs": "pairs.csv",
    ...         "methods": {"fnet": {"protocol": "fnet"}, "ours": {"protocol": "spotlight"}},
    ...         "baseline": "fnet",
    ...         "claims": ["mean_ap", "psnr"],
    ...     },
    ...     "comparison.yaml",
    ... )
    >>> comparison.others, comparison.claims, len(comparison.seeds)
    (('ours',), {'mean_ap': 'high', 'psnr': 'high'}, 5)
    """

    pairs: str = Field(description="Manifest, or folder of stacks with both channels.")
    input_channel: str | tuple[str, ...] | None = Field(
        None, description="For a folder: the transmitted light, one channel or several."
    )
    target_channel: str | None = Field(None, description="For a folder: the fluorescence.")
    target: str | None = Field(None, description="For a manifest of several targets: which one.")
    axes: str | None = Field(None, description="Axes of all files as stored, where they do not state them, or wrongly.")
    methods: dict[str, ComparedMethod] = Field(description="Methods by name.")
    baseline: str = Field(description="The method that the others are compared with.")
    seeds: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4),
        description="Each method is trained once with each. With fewer than four no difference can be claimed.",
        min_length=1,
    )
    steps: int | None = Field(None, ge=1, description="Training steps of all methods, instead of their own.")
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="What is measured, and how.")
    claims: dict[str, Direction] = Field(
        default_factory=claims,
        description="Scores to compare, as a list or with the value that is best (high, low or zero). More claims make "
        "each harder to show (Holm's correction).",
    )

    @field_validator("claims", mode="before")
    @classmethod
    def _best_values_are_known(cls, named: Any) -> Any:
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            return named
        try:
            return {name: best_of(name) for name in named}
        except SpotlightError as error:
            raise ValueError(str(error).removesuffix(".")) from error

    @property
    def others(self) -> tuple[str, ...]:
        """The methods that are compared with the baseline."""
        return tuple(name for name in self.methods if name != self.baseline)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        likes = {name: m.like for name, m in self.methods.items() if m.like is not None}
        for name, like in likes.items():
            if like not in self.methods or like in likes or self.methods[like].stains is not None:
                raise ValueError(f"method {name!r} is like {like!r}, which is no method with models of its own")
        if self.baseline not in self.methods:
            raise ValueError(f"the baseline {self.baseline!r} is none of the methods {sorted(self.methods)}")
        return self


@dataclass(frozen=True, eq=False)
class Compared:
    """What a comparison found.

    Attributes
    ----------
    evaluation : Evaluation
        All scores.
    table : DataFrame
        One row per claim and method, with interval, test, effect and verdict; see `compare_methods`.

    Examples
    --------
    >>> import spotlight
    >>> compared = spotlight.compare("comparison.yaml", "comparison")  # doctest: +SKIP
    >>> print(compared.table[["metric", "method", "mean_difference", "low", "high"]])  # doctest: +SKIP
    """

    evaluation: Evaluation
    table: pd.DataFrame


@works_in("to")
def compare(
    comparison: Comparison | str | Path,
    to: str | Path,
    *,
    device: str | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Compared:
    """Train what has to be trained, evaluate all methods on the same stacks, and compare them with the baseline.

    A call that was interrupted goes on when it is made again; a method more costs that method alone.

    Parameters
    ----------
    comparison : Comparison or path
        Settings, or the YAML file that holds them.
    to : path
        Folder for models, stains, tables and ``comparison.csv``.
    device : str, optional
        What trains and stains, instead of the settings' devices: "auto", "gpu", "cpu" or a name such as "cuda:1".
    workers : int
        Processes of the evaluation; see `evaluate`.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    Compared
        All scores, and the row of every claim and method with interval, test and verdict.

    Raises
    ------
    SpotlightError
        If a setting or a file is wrong.

    Examples
    --------
    >>> import spotlight
    >>> compared = spotlight.compare("comparison.yaml", "comparison")  # doctest: +SKIP
    >>> for sentence in compared.table["verdict"]:  # doctest: +SKIP
    ...     print(sentence)
    """
    if device is not None:
        find_device(device)
    to, base = Path(to), Path()
    if not isinstance(comparison, Comparison):
        base = Path(comparison).parent
        comparison = Comparison.from_yaml(comparison)
    write_text(to / "comparison.yaml", comparison.to_yaml())
    pairs, sources = base / comparison.pairs, train_methods(comparison, to, base, device=device, progress=progress)
    settings = comparison.evaluation
    if device is not None:
        prediction = settings.prediction.model_copy(update={"device": device})
        settings = settings.model_copy(update={"prediction": prediction})
    evaluation = evaluate(
        pairs,
        sources,
        to,
        settings,
        input_channel=comparison.input_channel,
        target_channel=comparison.target_channel,
        target=comparison.target,
        axes=comparison.axes,
        workers=workers,
        progress=progress,
    )
    # Two- and three-dimensional stacks have different scores.
    known = {name: best for name, best in comparison.claims.items() if name in evaluation.scores}
    table = compare_methods(evaluation.scores, comparison.baseline, known, list(comparison.others))
    write_csv(table, to / "comparison.csv", "%.6g")
    return Compared(evaluation, table)


def train_methods(
    comparison: Comparison,
    to: str | Path,
    base: str | Path = "",
    *,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[int, Source]]:
    """Train what has to be trained; gives the models of all methods by seed, as `evaluate` takes them.

    Parameters
    ----------
    comparison : Comparison
        What is compared.
    to : path
        Folder for models; those that it holds already are not trained again.
    base : path
        Folder that paths in the comparison are relative to.
    device : str, optional
        What trains, instead of the settings' devices; see `compare`.
    progress : callable, optional
        Called with what is being done, how far it is, and current figures.

    Returns
    -------
    dict of str to dict of int to (path or Model)
        By method and seed.

    Raises
    ------
    SpotlightError
        If a setting or a file is wrong, or the folder holds other models.

    Examples
    --------
    >>> from spotlight.comparison import Comparison, train_methods
    >>> comparison = Comparison.from_yaml("comparison.yaml")  # doctest: +SKIP
    >>> models = train_methods(comparison, "models")  # doctest: +SKIP
    >>> sorted(models["fnet"])  # doctest: +SKIP
    [0, 1, 2, 3, 4]
    """
    to, base = Path(to), Path(base)
    experiments = {name: _experiment(method, comparison, base, device) for name, method in comparison.methods.items()}
    sources: dict[str, dict[int, Source]] = {}
    for name, experiment in experiments.items():
        sources[name] = {}
        for seed in comparison.seeds:
            if experiment is not None:
                sources[name][seed] = train(
                    base / comparison.pairs,
                    to / "models" / name / f"seed-{seed}",
                    experiment,
                    seed=seed,
                    input_channel=comparison.input_channel,
                    target_channel=comparison.target_channel,
                    target=comparison.target,
                    axes=comparison.axes,
                    progress=named(progress, f"{name}, seed {seed}"),
                )
    for name, method in comparison.methods.items():
        if method.like is not None:
            sources[name] = dict(sources[method.like])
        elif method.model or method.stains:
            sources[name] = {0: base / (method.model or method.stains or "")}
        if method.flatten is not None:
            loaded = {seed: m if isinstance(m, Model) else load_model(m) for seed, m in sources[name].items()}
            sources[name] = {seed: model.flattened(method.flatten) for seed, model in loaded.items()}
    return sources


def _experiment(method: ComparedMethod, comparison: Comparison, base: Path, device: str | None) -> Experiment | None:
    """Settings of the training of a method; None if it is not trained."""
    if method.protocol is None and method.settings is None:
        return None
    if method.settings is not None:
        values = Experiment.parse(load_yaml(base / method.settings), str(base / method.settings)).model_dump()
    else:
        values = protocol(str(method.protocol)).model_dump()
    values = _merged(values, method.change)
    if comparison.steps is not None:
        values["training"]["steps"] = comparison.steps
    if device is not None:
        values["training"]["device"] = device
    return Experiment.parse(values, "change")


def _merged(values: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Replace nested values. A group of another kind, such as another loss, is replaced as a whole."""
    merged = dict(values)
    for name, value in change.items():
        old: Any = merged.get(name)
        merged[name] = _merged(old, value) if _same_kind(old, value) else value
    return merged


def _same_kind(old: Any, new: Any) -> bool:
    both = isinstance(old, dict) and isinstance(new, dict)
    return both and all(new.get(kind, old.get(kind)) == old.get(kind) for kind in KINDS)
