"""Cards of metrics: what columns, claims, refusals and the documentation are made from."""

from pathlib import Path

import numpy as np
import pytest

from spotlight import SpotlightError
from spotlight.comparison import Comparison
from spotlight.evaluation import EvaluationSettings
from spotlight.evaluation.further_metrics import find_metrics, score_further
from spotlight.metrics import METRICS, describe, metric
from spotlight.metrics.cards import GROUPS
from spotlight.metrics.registry import claims, in_order

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
STACK = {"stain": np.array([[1.0, 5.0]]), "target": np.array([[0.0, 1.0]]), "mask": np.array([[False, True]])}


def documented() -> str:
    """The table of all cards as docs/metrics.md has it."""
    rows = ["| column | title | what it is | unit | best | no value where |", "|---|---|---|---|---|---|"]
    for name in METRICS.names():
        card = METRICS.find(name)
        if card.function is None:
            rows.append(f"| `{name}` | {card.title} | {card.help} | {card.unit} | {card.best} | {card.undefined} |")
    return "\n".join(rows)


def test_the_documentation_has_every_card() -> None:
    assert documented() in DOCS.read_text(encoding="utf-8"), f"docs/metrics.md must hold:\n{documented()}"


def test_claims_are_those_of_the_cards() -> None:
    assert claims() == {
        **{"mean_ap": "high", "volume_error": "zero", "area_error": "zero", "elongation_error": "zero"},
        **{"profile_error": "low", "profile_distance_to_target": "low"},
        **{"psnr_foreground": "high", "pearson_foreground": "high", "micro_ms3im_foreground": "high"},
        **{"psnr": "high", "pearson": "high", "micro_ms3im": "high"},
    }
    values = {"pairs": "x.csv", "methods": {"a": {"model": "a"}}, "baseline": "a"}
    assert Comparison.parse(values, "x").claims == claims()
    assert Comparison.parse(values | {"claims": ["ssim", "nrmse"]}, "x").claims == {"ssim": "high", "nrmse": "low"}
    for named, why in (("frc_um", "no value of 'frc_um' is better"), ("sim", "there is no metric 'sim'")):
        with pytest.raises(SpotlightError, match=why):
            Comparison.parse(values | {"claims": [named]}, "x")


def test_foregrounds_say_where_they_have_no_value() -> None:
    assert describe("pearson_foreground").undefined == "an image is constant, or the foreground is empty"
    assert describe("psnr").explanation == "peak signal to noise ratio, dB"
    assert describe("volume_error").explanation == "median relative volume error of matched nuclei"
    assert {describe(name).group for name in METRICS.names()} <= set(GROUPS)


def greatest(stain: np.ndarray, mask: np.ndarray | None = None) -> float:
    return float(stain.max() if mask is None else stain[mask].min())


@metric("overshoot", best="zero", group="Mine")
def overshoot(stain: np.ndarray, target: np.ndarray) -> float:
    return float((stain - target).max())


def test_functions_are_scored_by_what_they_ask_for() -> None:
    cards = find_metrics(EvaluationSettings(metrics=()), [greatest, overshoot])
    # A function that is given again, as in a notebook, replaces the former one.
    assert find_metrics(EvaluationSettings(metrics=()), [greatest]).keys() == {"greatest"}
    assert "greatest" not in find_metrics(EvaluationSettings(), [])  # it was given for another evaluation
    assert score_further(cards, STACK, "s") == {"greatest": 5, "greatest_foreground": 5, "overshoot": 4}
    without = {name: value for name, value in STACK.items() if name != "target"}
    assert score_further(cards, without, "the target") == {"greatest": 5, "greatest_foreground": 5}
    assert (describe("overshoot").title, describe("overshoot").group) == ("overshoot", "Mine")
    assert describe("greatest_foreground").full_title == "greatest, foreground"
    assert in_order(["overshoot", "mean_ap"]) == ["mean_ap", "overshoot"]


def test_metrics_that_cannot_be_used_are_refused() -> None:
    def psnr(stain: np.ndarray) -> float:
        return 0.0

    def fails(stain: np.ndarray) -> float:
        raise ValueError("no")

    settings = EvaluationSettings(metrics=())
    with pytest.raises(SpotlightError, match="asks for truth_table. A metric may ask for stain"):
        metric("x")(lambda truth_table: 0.0)
    with pytest.raises(SpotlightError, match="a metric named 'psnr' already exists. Choose another"):
        find_metrics(settings, [psnr])
    with pytest.raises(SpotlightError, match="'psnr' is always computed"):
        find_metrics(EvaluationSettings(metrics=("psnr",)), [])
    with pytest.raises(SpotlightError, match="unknown metric 'pearsn'. Did you mean 'pearson'"):
        find_metrics(EvaluationSettings(metrics=("pearsn",)), [])
    with pytest.raises(SpotlightError, match=r"field-1: the metric 'fails' failed \(ValueError: no\)"):
        score_further(find_metrics(settings, [fails]), STACK, "field-1")
