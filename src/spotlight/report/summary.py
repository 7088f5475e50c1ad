"""The result in words: a sentence, and what speaks against it, from the table of scores."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from spotlight.evaluation.means import with_part
from spotlight.metrics.registry import describe
from spotlight.quoting import counted
from spotlight.report.contents import REFERENCES, REPEAT, TARGET

FEWEST_STACKS = 6
"""With fewer stacks no test of a comparison is made, so that none can show a difference."""
FEWEST_NUCLEI = 30
"""With fewer true nuclei a single one moves the scores by percents."""
LEAST_CORRELATION = 0.5
"""A stain that follows the fluorescence less explains under a quarter of its variance. Where there is a second image of
the fluorescence, this share of that image's correlation counts: noise is not for a stain to follow."""
FLAT_CORRELATION = 0.1
LATE, EARLY = 0.9, 0.5
"""Of a training's steps: the best validation after the first part is late, before the second early."""
STILL_FALLING = 0.05
"""Part by which the validation loss falls in the second half of a training that is not finished."""
LEAST_RECALL = 0.1
NEARLY = 0.9
"""Share of the fluorescence's own mean AP from which on nuclei are found nearly as well in a stain."""
SIZE_OFF = 0.15
"""Relative error of the volume from which on nuclei are called too large or too small."""
MOST_NAMED = 4
"""Methods that the sentence names, the best first."""


@dataclass(frozen=True)
class Remark:
    """A sentence about the result.

    Attributes
    ----------
    kind : "bad", "doubt" or "good"
        Whether the stain is of no use so, the figures are to be read with care, or all is well.
    text : str
        The sentence.
    """

    kind: Literal["bad", "doubt", "good"]
    text: str


def headline(scores: pd.DataFrame) -> str:
    """Say in one sentence what came out, of nuclei if they were looked for, else of correlation."""
    methods = [method for method in dict.fromkeys(scores["method"]) if method not in REFERENCES]
    stacks = scores["stack"].nunique()
    name = next((n for n in ("mean_ap", "pearson") if n in scores and _of(scores, methods, n)), None)
    on = f"On {counted(stacks, 'stack')}"
    if name is None or not methods:
        return f"{on} there is no score of nuclei or correlation to speak of."
    true = _true_nuclei(scores)
    on += f" with {counted(round(true), 'true nucleus', 'true nuclei')}" if true else ""
    found = dict(sorted(_of(scores, methods, name).items(), key=lambda item: -item[1]))
    metric = describe(name)
    named = [f"{method} {metric.show(value)}" for method, value in list(found.items())[:MOST_NAMED]]
    text = f"{on}, {metric.full_title}: {', '.join(named)}"
    if len(found) > MOST_NAMED:
        text += f" and {len(found) - MOST_NAMED} more"
    ceiling = _of(scores, [TARGET], name) if name == "mean_ap" else {}
    ceiling |= _of(scores, [REPEAT], name) if name == "pearson" else {}
    title = {TARGET: "the fluorescence itself", REPEAT: "a second image of the same fluorescence"}
    for method, value in ceiling.items():
        text += f"; {title[method]} {with_part(metric.show(value), scores.loc[scores['method'] == method, name])}"
    return f"{text}."


def remarks_on(scores: pd.DataFrame) -> list[Remark]:
    """Say what the scores mean, the worst first."""
    methods = [method for method in dict.fromkeys(scores["method"]) if method not in REFERENCES]
    remarks = [remark for method in methods for remark in _on_method(scores, method)]
    stacks, true = scores["stack"].nunique(), _true_nuclei(scores)
    if stacks < FEWEST_STACKS:
        remarks.append(
            Remark("doubt", f"{stacks} stack{'s are' if stacks != 1 else ' is'} too few to tell methods apart.")
        )
    if 0 < true < FEWEST_NUCLEI:
        text = f"Only {counted(round(true), 'true nucleus', 'true nuclei')}: each of them moves the scores."
        remarks.append(Remark("doubt", text))
    order = ("bad", "doubt", "good")
    return sorted(remarks, key=lambda remark: order.index(remark.kind))


def remarks_on_training(log: pd.DataFrame, best: dict[str, float], steps: int) -> list[Remark]:
    """Say what the course of a training means, from validation alone.

    Parameters
    ----------
    log : DataFrame
        ``log.csv`` of the run.
    best : dict
        Step of the weights that were kept, and their validation scores.
    steps : int
        Steps of the run.
    """
    losses = log["validation_loss"].dropna() if "validation_loss" in log else log["loss"].iloc[:0]
    if losses.empty:
        return [Remark("doubt", "Nothing was validated: whether the model works is for spotlight evaluate to say.")]
    remarks = []
    # Of a constant stain the correlation has no value. Above "flat" it says little: on a noisy target good models
    # have .2 to .4 on the foreground, where a second image of the same field has .6.
    correlation = best.get("foreground_pearson", 0.0 if "validation_foreground_pearson" in log else None)
    if correlation is not None and not correlation >= FLAT_CORRELATION:
        remarks.append(Remark("bad", "The stain is flat: it does not follow the fluorescence. Train longer."))
    half = len(losses) // 2
    fallen = 1 - losses.min() / losses.iloc[:half].min() if half and losses.iloc[:half].min() > 0 else 0.0
    if best["step"] >= LATE * steps and fallen > STILL_FALLING:
        text = f"The validation loss fell by {fallen:.0%} in the second half, and was best at step {best['step']:.0f} "
        remarks.append(Remark("doubt", f"{text}of {steps}: training longer will probably help."))
    elif best["step"] <= EARLY * steps and half:
        text = f"Validation was best at step {best['step']:.0f} of {steps} and worse later: the model learns its pairs "
        remarks.append(Remark("doubt", f"{text}by heart. More pairs help here, more steps do not."))
    elif not remarks and half:
        remarks.append(Remark("good", "Validation has levelled off: the run was long enough for these pairs."))
    order = ("bad", "doubt", "good")
    return sorted(remarks, key=lambda remark: order.index(remark.kind))


def _on_method(scores: pd.DataFrame, method: str) -> list[Remark]:
    own = scores[scores["method"] == method]
    remarks = []
    correlation, recall = _mean(own, "pearson"), _mean(own, "recall50")
    again = _of(scores, [REPEAT], "pearson").get(REPEAT, 1.0)
    least = LEAST_CORRELATION * again
    if "pearson" in own and own["pearson"].isna().all():
        remarks.append(Remark("bad", f"{method}: the stain is flat, without any contrast. Train longer."))
    elif correlation < least or recall < LEAST_RECALL:
        facts = [f"correlation {correlation:.2f}"] if correlation < least else []
        facts += [f"{recall:.0%} of the true nuclei are found"] if recall < LEAST_RECALL else []
        remarks.append(
            Remark(
                "bad",
                f"{method}: the stain shows little of the fluorescence ({'; '.join(facts)}). Train longer; if "
                "that does not help, look for shifts with spotlight check. A high SSIM or PSNR is the background's.",
            )
        )
    ap, best = _shared(scores, method, TARGET, "mean_ap")
    if best > 0:
        how = "nearly as well as" if ap >= NEARLY * best else "less well than" if ap >= best / 2 else "far worse than"
        text = f"{method}: nuclei are found {how} in the fluorescence itself (mean AP {ap:.3f}, there {best:.3f})."
        remarks.append(Remark("good" if ap >= NEARLY * best else "doubt", text))
    size = _mean(own, "volume_error")
    if abs(size) > SIZE_OFF:
        text = f"{method}: nuclei are {abs(size):.0%} too {'large' if size > 0 else 'small'}."
        remarks.append(Remark("doubt", text))
    return remarks


def _mean(rows: pd.DataFrame, name: str) -> float:
    """Mean of the values that are there; NaN, which no limit is beyond, if there is none."""
    return float(rows[name].astype(float).mean()) if name in rows else float("nan")


def _of(scores: pd.DataFrame, methods: list[str], name: str) -> dict[str, float]:
    """Means of the methods that have a value."""
    found = {method: _mean(scores[scores["method"] == method], name) for method in methods}
    return {method: value for method, value in found.items() if value == value}


def _shared(scores: pd.DataFrame, method: str, reference: str, name: str) -> tuple[float, float]:
    """Means of a method and a reference over the stacks where both have a value."""
    if name not in scores:
        return float("nan"), float("nan")
    means = scores.assign(value=scores[name].astype(float)).groupby(["method", "stack"])["value"].mean().unstack(0)
    if not {method, reference} <= set(means):
        return float("nan"), float("nan")
    both = means[[method, reference]].dropna()
    return float(both[method].mean()), float(both[reference].mean())


def _true_nuclei(scores: pd.DataFrame) -> float:
    if "true_nuclei" not in scores:
        return 0.0
    return float(scores.groupby("stack")["true_nuclei"].max().sum())
