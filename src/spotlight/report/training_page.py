"""`write_training_page`: one page about a training run, from its model folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from spotlight.errors import SpotlightError
from spotlight.files import require_file
from spotlight.images.pictures import data_uri
from spotlight.images.scaling import scaling_in_words
from spotlight.losses.settings import LOSSES
from spotlight.losses.task_settings import AdversarialSettings, TeacherSettings
from spotlight.plain_yaml import load_yaml
from spotlight.progress import duration_in_words
from spotlight.report.figure import rendered
from spotlight.report.summary import Remark, remarks_on_training
from spotlight.report.writing import write_page
from spotlight.tasks import TASKS

TRAINING_PAGE = "training.html"
WINDOW = 20
"""Rows of the log whose median is drawn over the single batches, which scatter; a fifth of them in short runs."""


def write_training_page(folder: str | Path) -> Path:
    """Write ``training.html`` into a model folder: what was trained on what, curves, a picture and all settings.

    The page needs no other file and no network.

    Parameters
    ----------
    folder : path
        A model that `spotlight.train` has finished.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    SpotlightError
        If the folder holds no finished training.

    Examples
    --------
    >>> import spotlight
    >>> from spotlight.report import write_training_page
    >>> page = write_training_page(spotlight.train("pairs.csv", "model"))  # doctest: +SKIP
    """
    folder = Path(folder)
    description = load_yaml(require_file(folder / "model.yaml", "Give a finished model."))
    path = folder / "training" / "log.csv"
    if not path.is_file():
        raise SpotlightError(f"{folder}: has no training/log.csv, so there is no run to show.")
    log = pd.read_csv(path)
    titles = figure_titles(description["training"]["settings"])
    return write_page(
        folder / TRAINING_PAGE,
        "training.html.j2",
        name=folder.resolve().name,
        facts=dict(_facts(description)),
        best=_best(description["training"]["best"], titles),
        meaning=_remarks(log, description),
        panes=_panes(description),
        charts=[
            (title, data_uri(rendered(_chart(log, name, title), "svg"), "image/svg+xml"), _alt(log, name, title))
            for name, title in titles.items()
            if _columns(log, name)
        ],
        previews=list(_previews(folder / "training", log)),
        volume=description["input"]["axes"] == "ZYX",
        settings=yaml.safe_dump(description["training"]["settings"], sort_keys=False, allow_unicode=True),
    )


def training_text(folder: str | Path) -> str:
    """What the course of a training means, in words: one line for each remark.

    Parameters
    ----------
    folder : path
        A model that `spotlight.train` has finished.
    """
    folder = Path(folder)
    log = pd.read_csv(require_file(folder / "training" / "log.csv", "Give a model with its training."))
    return "\n".join(remark.text for remark in _remarks(log, load_yaml(folder / "model.yaml")))


def _remarks(log: pd.DataFrame, description: dict[str, Any]) -> list[Remark]:
    training = description["training"]
    return remarks_on_training(log, training["best"], training["settings"]["training"]["steps"])


def _previews(run: Path, log: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Steps and pictures of the validation stack that is shown, the last at the end."""
    last = run / "preview.png"
    if not last.is_file():
        return
    steps = log["step"][log["validation_loss"].notna()] if "validation_loss" in log else log["step"]
    for path in sorted((run / "previews").glob("*.webp")):
        if int(path.stem) < steps.max():
            yield int(path.stem), data_uri(path.read_bytes(), "image/webp")
    yield int(steps.max()), data_uri(last.read_bytes(), "image/png")


def _facts(description: dict[str, Any]) -> Iterator[tuple[str, str]]:
    training, network, expected = description["training"], description["network"], description["input"]
    settings = training["settings"]
    data, steps = training["data"], settings["training"]["steps"]
    targets = [
        target["channel"] or "not named" for target in (description["target"], *description.get("further_targets", ()))
    ]
    modalities = expected.get("modalities", ())
    yield "protocol", settings["protocol"]
    names = [expected["channel"], *(one["channel"] for one in expected.get("further_channels", ()))]
    seen = " and ".join(filter(None, names)) or " or ".join(modalities) or "not named"
    yield f"input and target{'s' * (len(targets) > 1)}", f"{seen} → {', '.join(targets)}"
    if modalities:
        told = settings.get("modalities", "unified")
        how = "one network, which is not told which" if told == "unified" else f"one network, told which by {told!r}"
        yield "modalities", f"{', '.join(modalities)}{f'; {how}' if len(modalities) > 1 else ''}"
    if expected.get("planes") == "one":
        yield "planes", "any one plane of a stack, alone"
    yield "input is normalised by", scaling_in_words(expected.get("normalisation", "mean/std"))
    yield "pairs to learn from", ", ".join(stack["name"] for stack in data["train"])
    yield "pairs to validate on", ", ".join(stack["name"] for stack in data["validation"]) or "none"
    yield "network", network_in_words(network)
    yield "loss", f"{settings['loss']['kind']}{' and discriminators' if settings.get('adversarial') else ''}"
    if len(targets) > 1:
        yield "drawn equally often", settings["balance"]
    patch = " x ".join(map(str, training["patch"]))
    chosen = settings["training"]
    count = chosen.get("micro_batches", chosen.get("parts"))  # its former name
    whole = f", in {count} micro-batches" if count not in (1, "auto") else ""
    yield "steps", f"{steps:,} of {settings['training']['batch_size']} patches of {patch} voxels{whole}"
    yield "arithmetic", training["precision"]
    if "seconds" in training:  # not in models of before
        yield "duration", f"{duration_in_words(training['seconds'])} for {steps:,} steps"
        yield "hardware", training["hardware"]
    yield "seed", str(settings["training"]["seed"])


def figure_titles(settings: dict[str, Any]) -> dict[str, str]:
    """Return what people call the figures in the log of a run, by column.

    Parameters
    ----------
    settings : dict
        Of the run, as its model folder records them.

    Raises
    ------
    SpotlightError
        If the loss or the task is of a package that is not installed.
    """
    loss = LOSSES.find(settings["loss"]["kind"])
    task = TASKS.find(settings.get("task", {}).get("kind", TASKS.default))
    game = AdversarialSettings.terms if settings.get("adversarial") else {}
    taught = TeacherSettings.terms if settings.get("teacher") else {}
    return {"loss": "loss", **task.scores, **loss.terms, **game, **taught}


def _panes(description: dict[str, Any]) -> list[str]:
    """What the panes of the preview show, from left to right."""
    seen, wanted = description["input"]["channel"], description["target"]["channel"]
    return [
        f"input{f': {seen}' if seen else ''}",
        f"target{f': {wanted}' if wanted else ''}",
        "what the model makes of the input",
    ]


def network_in_words(network: dict[str, Any]) -> str:
    """Name the architecture and all its settings."""
    settings = (f"{name.replace('_', ' ')} {value}" for name, value in network.items() if name != "architecture")
    return ", ".join((network["architecture"], *settings))


def _best(best: dict[str, float], titles: dict[str, str]) -> str:
    figures = [f"{titles[name]} {value:.4g}" for name, value in best.items() if name in titles]
    if not figures:
        return f"There was no validation; these are the weights of step {best['step']}."
    return f"Kept are the weights of step {best['step']}, with {', '.join(figures)} on the validation stacks."


def _columns(log: pd.DataFrame, name: str) -> list[str]:
    return [column for column in (name, f"validation_{name}") if column in log and log[column].notna().any()]


def _chart(log: pd.DataFrame, name: str, title: str) -> Figure:
    figure = Figure(figsize=(5.2, 2.9), layout="constrained")
    axes = figure.subplots()
    for column in _columns(log, name):
        rows = log[["step", column]].dropna()
        if column == name:
            axes.plot(rows["step"], rows[column], color="#8db7d8", linewidth=0.7)
            smooth = rows[column].rolling(max(1, min(WINDOW, len(rows) // 5)), min_periods=1, center=True).median()
            axes.plot(rows["step"], smooth, color="#00639a", label="training patches")
        else:
            axes.plot(rows["step"], rows[column], "o-", color="#9a5b00", markersize=3, label="validation stacks")
    values = log[_columns(log, name)].to_numpy()
    if name in log and np.nanmin(values) > 0 and np.nanmax(values) > 20 * np.nanmin(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    axes.set_xlim(left=0)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    axes.grid(axis="y", color="#d9dee4", linewidth=0.6)
    axes.legend(frameon=False, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _alt(log: pd.DataFrame, name: str, title: str) -> str:
    said = []
    for column in _columns(log, name):
        values = log[column].dropna()
        where = "on training patches" if column == name else "on validation stacks"
        said.append(f"{values.iloc[0]:.3g} at first and {values.iloc[-1]:.3g} at last {where}")
    return f"{title}: {'; '.join(said)}"
