"""The result in words, the bar of the pictures, and findings of one kind as one."""

import numpy as np
import pandas as pd
import pytest

from spotlight.report.check_page import group_findings
from spotlight.report.summary import headline, remarks_on, remarks_on_training
from spotlight.report.volumes import Grid, scale_bar


def scores(**methods: dict[str, float | None]) -> pd.DataFrame:
    """Eight stacks of ten true nuclei, with the same values on each."""
    rows = [
        {"stack": f"s{n}", "method": method, "true_nuclei": 10, **values}
        for n in range(8)
        for method, values in methods.items()
    ]
    return pd.DataFrame(rows).astype({"pearson": float})


GOOD = {"pearson": 0.9, "recall50": 0.9, "mean_ap": 0.68, "volume_error": 0.01}
TARGET = {"pearson": None, "recall50": 0.95, "mean_ap": 0.7, "volume_error": 0.0}


def test_the_headline_names_the_best_first_and_the_ceiling() -> None:
    table = scores(target=TARGET, fnet=GOOD | {"mean_ap": 0.5}, ours=GOOD)
    assert headline(table) == (
        "On 8 stacks with 80 true nuclei, mean AP: ours 0.680, fnet 0.500; the fluorescence itself 0.700."
    )
    only_pixels = table.drop(columns=["mean_ap", "true_nuclei"])
    assert headline(only_pixels).startswith("On 8 stacks, Pearson, whole: fnet 0.900")


def test_a_good_stain_is_called_good() -> None:
    (remark,) = remarks_on(scores(target=TARGET, ours=GOOD))
    assert remark.kind == "good"
    assert "nearly as well as in the fluorescence itself (mean AP 0.680, there 0.700)" in remark.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pearson": None}, "the stain is flat"),
        ({"pearson": 0.3, "ssim": 0.914}, "shows little of the fluorescence (correlation 0.30)"),
        ({"recall50": 0.02}, "2% of the true nuclei are found"),
        ({"volume_error": 0.36}, "nuclei are 36% too large"),
        ({"mean_ap": 0.2}, "far worse than in the fluorescence itself"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, float | None], words: str) -> None:
    remarks = remarks_on(scores(target=TARGET, ours=GOOD | values))
    (found,) = [remark for remark in remarks if words in remark.text]
    assert found.kind != "good"
    assert remarks[0].kind != "good"


def test_few_stacks_and_nuclei_are_doubted() -> None:
    few = scores(target=TARGET, ours=GOOD).query("stack in ['s0', 's1']")
    assert [remark.text for remark in remarks_on(few) if remark.kind == "doubt"] == [
        "2 stacks are too few to tell methods apart.",
        "Only 20 true nuclei: each of them moves the scores.",
    ]


@pytest.mark.parametrize(("columns", "edge", "text"), [(100, 0.29, "5 µm"), (2048, 0.1, "20 µm"), (64, 5.0, "50 µm")])
def test_the_bar_has_a_round_length(columns: int, edge: float, text: str) -> None:
    bar = scale_bar(Grid(np.arange(4), np.arange(9), np.arange(columns), (1.0, edge, edge)))
    assert bar is not None
    assert bar["text"] == text
    assert bar["share"] == pytest.approx(float(text.split()[0]) / (columns * edge))
    assert 0.07 < bar["share"] <= 0.2
    assert scale_bar(Grid(np.arange(4), np.arange(9), np.arange(columns), None)) is None


def test_findings_of_one_kind_are_one() -> None:
    names = [f"p{n}" for n in range(96)]
    alike = [("note", "voxel size", "It is not stated.", "State it.", name) for name in names]
    differing = [("warning", "shift", f"{n} pixels.", "Register.", f"p{n}") for n in (1, 2)]
    table = pd.DataFrame(differing + alike, columns=["severity", "subject", "found", "remedy", "pair"])
    shifts, sizes = group_findings(table)
    assert (shifts["pairs"], shifts["each"]) == (["p1", "p2"], ["1 pixels.", "2 pixels."])
    assert (sizes["pairs"], sizes["each"], sizes["found"]) == (names, [], "It is not stated.")


def test_a_stain_need_not_follow_the_noise_that_a_second_image_does_not_follow() -> None:
    noisy = GOOD | {"pearson": 0.4}
    assert remarks_on(scores(target=TARGET, ours=noisy))[0].kind == "bad"
    (remark,) = remarks_on(scores(target=TARGET, repeat={"pearson": 0.6}, ours=noisy))
    assert remark.kind == "good"
    assert remarks_on(scores(target=TARGET, repeat={"pearson": 0.9}, ours=noisy))[0].kind == "bad"


def course(*losses: float) -> pd.DataFrame:
    """The log of a training that was validated every ten steps."""
    return pd.DataFrame({"step": 10 * np.arange(1, len(losses) + 1), "loss": 1.0, "validation_loss": losses})


@pytest.mark.parametrize(
    ("losses", "correlation", "kind", "words"),
    [
        ((0.9, 0.5, 0.40, 0.40, 0.395, 0.40), 0.8, "good", "levelled off"),
        ((0.9, 0.8, 0.70, 0.60, 0.50, 0.40), 0.8, "doubt", "training longer will probably help"),
        ((0.9, 0.4, 0.50, 0.60, 0.70, 0.80), 0.8, "doubt", "best at step 20 of 60 and worse later"),
        ((0.9, 0.5, 0.40, 0.40, 0.395, 0.40), 0.02, "bad", "The stain is flat"),
        ((0.9, 0.5, 0.40, 0.40, 0.395, 0.40), float("nan"), "bad", "The stain is flat"),
        # Good models on a noisy target have such a correlation.
        ((0.9, 0.5, 0.40, 0.40, 0.395, 0.40), 0.2, "good", "levelled off"),
    ],
)
def test_the_course_of_a_training_in_words(
    losses: tuple[float, ...], correlation: float, kind: str, words: str
) -> None:
    log = course(*losses)
    best = {"step": 10 * (1 + int(np.argmin(losses))), "loss": min(losses), "foreground_pearson": correlation}
    remarks = remarks_on_training(log, best, 60)
    assert remarks[0].kind == kind
    assert words in remarks[0].text
    assert not any(remark.kind == "good" for remark in remarks[1:])


def test_a_training_without_validation_says_nothing_of_its_worth() -> None:
    (remark,) = remarks_on_training(pd.DataFrame({"step": [10], "loss": [0.5]}), {"step": 10}, 10)
    assert (remark.kind, "spotlight evaluate" in remark.text) == ("doubt", True)
