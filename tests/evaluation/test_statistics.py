"""Comparison of methods against SciPy, hand-worked numbers and simulated data whose truth is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from spotlight.errors import SpotlightError
from spotlight.evaluation import statistics
from spotlight.evaluation.statistics import (
    bootstrap_interval,
    compare_methods,
    fewest_stacks,
    holm,
    rank_biserial,
    sign_flip_test,
    verdict,
)
from spotlight.evaluation.trainings import dealing_test, difference_interval, least_deal, training_effects


def table(differences: NDArray[Any], seeds: int = 1, base: float = 0.5) -> pd.DataFrame:
    """Scores of F-net, different in every stack, and of Spotlight, which differs from them as given."""
    rows = []
    for seed in range(seeds):
        for number, difference in enumerate(differences):
            stack = {"stack": f"field-{number}", "seed": seed}
            rows += [
                {**stack, "method": "fnet", "ap": base + number / 100},
                {**stack, "method": "spotlight", "ap": base + number / 100 + difference},
            ]
    return pd.DataFrame(rows)


# --- the parts -------------------------------------------------------------------------------------------------------


def test_exact_p_is_the_share_of_sign_flips() -> None:
    # |mean| is at least as large for 6 of the 16 flips: all plus, all minus, and those that flip only 0.1 or only 0.2.
    assert sign_flip_test(np.array([0.1, 0.2, 0.4, 0.8])) == pytest.approx(2 / 16)
    assert sign_flip_test(np.array([-0.1, 0.2, 0.4, 0.8])) == pytest.approx(4 / 16)
    assert sign_flip_test(np.zeros(5)) == 1


def test_p_agrees_with_wilcoxon_where_ranks_are_the_values() -> None:
    values = np.array([1.0, -2, 3, 4, -5, 6, 7, 8, 9, 10])
    assert sign_flip_test(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_p_of_many_stacks_nears_that_of_t() -> None:
    values = np.random.default_rng(3).normal(0.3, 1, 60)
    assert sign_flip_test(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert sign_flip_test(values) == sign_flip_test(values)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.02])) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm(np.array([0.001, 0.8, 0.7])) == pytest.approx([0.003, 1, 1])
    assert holm(np.array([np.nan, 0.02, 0.03])) == pytest.approx([np.nan, 0.04, 0.04], nan_ok=True)
    assert holm(np.array([])).size == 0


def test_rank_biserial_by_hand() -> None:
    assert rank_biserial(np.array([1.0, -2, 3, 4])) == pytest.approx((8 - 2) / 10)
    assert rank_biserial(np.array([0.0, 0.1, 0.2])) == 1
    assert rank_biserial(np.array([-1.0, 1])) == 0
    assert np.isnan(rank_biserial(np.zeros(3)))
    values = np.random.default_rng(0).normal(size=12)
    positive = stats.wilcoxon(values, alternative="greater").statistic
    assert rank_biserial(values) == pytest.approx(2 * positive / (12 * 13 / 2) - 1)


def test_interval_of_many_is_that_of_t() -> None:
    values = np.random.default_rng(1).normal(2, 3, 200)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert bootstrap_interval(values) == pytest.approx(tuple(expected), abs=0.03)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)
    wider = bootstrap_interval(values, alpha=0.01)
    assert wider[0] < bootstrap_interval(values)[0]
    assert bootstrap_interval(np.full(4, 0.2)) == (0.2, 0.2)


@pytest.mark.parametrize(("alpha", "fewest"), [(0.05, 6), (0.01, 8), (1 / 16, 5), (0.25, 3)])
def test_as_many_stacks_are_needed_as_reach_the_level(alpha: float, fewest: int) -> None:
    assert fewest_stacks(alpha) == fewest
    assert sign_flip_test(np.arange(1.0, fewest + 1)) <= alpha
    assert sign_flip_test(np.arange(1.0, fewest)) > alpha


@pytest.mark.slow
def test_intervals_hold_the_truth_and_tests_err_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 600)
    rng = np.random.default_rng(11)
    trials = 1000
    held = sum(low <= 0.3 <= high for low, high in (bootstrap_interval(rng.normal(0.3, 1, 8)) for _ in range(trials)))
    assert 0.92 <= held / trials <= 0.96
    alarms = sum(sign_flip_test(rng.normal(0, 1, 8)) <= 0.05 for _ in range(trials))
    assert 0.03 <= alarms / trials <= 0.065
    shown = sum(sign_flip_test(rng.normal(1.5, 1, 8)) <= 0.05 for _ in range(trials))
    assert shown / trials > 0.9


# --- the comparison --------------------------------------------------------------------------------------------------


def test_a_difference_that_is_there() -> None:
    differences = np.array([0.08, 0.07, 0.09, 0.1, 0.06, 0.08, 0.11, 0.05])
    (row,) = compare_methods(table(differences), "fnet", {"ap": "high"}).to_dict("records")
    assert row["stacks"] == row["wins"] == 8
    assert row["losses"] == 0
    assert row["mean_difference"] == pytest.approx(0.08)
    assert row["method_mean"] - row["baseline_mean"] == pytest.approx(0.08)
    assert 0.06 < row["low"] < 0.08 < row["high"] < 0.1
    assert row["p"] == row["p_holm"] == pytest.approx(2 / 256)
    assert row["cohens_d"] == pytest.approx(0.08 / differences.std(ddof=1))
    assert row["rank_biserial"] == 1
    assert row["verdict"].startswith("ap of spotlight is better than that of fnet: higher by 0.08 (95% interval 0.0")
    assert "better in 8 of 8 stacks, p = 0.0078 with Holm's correction." in row["verdict"]
    assert row["verdict"].endswith("Shown for these two trainings: others may differ.")


def test_directions() -> None:
    scores = table(np.linspace(-0.5, -0.3, 8), base=0.4)
    rows = compare_methods(
        scores.assign(low=scores["ap"], zero=scores["ap"] - 0.4), "fnet", {"ap": "high", "low": "low", "zero": "zero"}
    ).set_index("metric")
    assert rows["wins"].tolist() == [0, 8, 0]
    assert rows["losses"].tolist() == [8, 0, 8]
    assert "ap of spotlight is worse than that of fnet: lower by 0.4 " in rows.loc["ap", "verdict"]
    assert "low of spotlight is better than that of fnet: lower by 0.4 " in rows.loc["low", "verdict"]
    assert "zero of spotlight is worse than that of fnet: farther from zero by 0.3" in rows.loc["zero", "verdict"]
    # The interval is told in the words' direction, and stands signed in the table.
    assert rows.loc["low", "high"] < 0
    assert "interval 0.3" in rows.loc["low", "verdict"]


def test_trainings_that_differ_take_a_claim_away() -> None:
    scores = table(np.array([0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.3]), seeds=3)
    one = compare_methods(scores[scores["seed"] == 0], "fnet", {"ap": "high"}).iloc[0]
    shifted = scores["ap"] + (scores["method"] == "spotlight") * (scores["seed"].map({0: 0.5, 1: 0.2, 2: -0.7}))
    three = compare_methods(scores.assign(ap=shifted), "fnet", {"ap": "high"}).iloc[0]
    for name in ("stacks", "mean_difference", "wins"):
        assert three[name] == pytest.approx(one[name])
    assert (three["trainings"], three["baseline_trainings"], three["training_wins"]) == (3, 3, 2)
    assert "better in 7 of 7 stacks and in 2 of 3 trainings" in three["verdict"]
    assert one["p_holm"] < 0.05 < 0.5 < three["p_holm"]
    assert three["low"] < 0 < one["low"]


@pytest.mark.parametrize(("seeds", "claimed"), [(3, False), (4, True), (5, True)])
def test_as_many_trainings_are_needed_as_can_be_told_apart(seeds: int, claimed: bool) -> None:
    scores = table(np.linspace(0.1, 0.2, 8), seeds=seeds)
    scores["ap"] += scores["seed"] * 0.002
    row = compare_methods(scores, "fnet", {"ap": "high"}).iloc[0]
    assert row["p"] < 0.001
    assert row["p_trainings"] == pytest.approx(least_deal(seeds, seeds))
    assert row["p_holm"] == max(row["p"], row["p_trainings"])
    assert ("could be shown" not in row["verdict"]) == claimed
    assert ("3 trainings of each cannot show one." in row["verdict"]) == (not claimed)
    assert ("Shown for these 4 trainings of each: others may differ." in row["verdict"]) == (seeds == 4)


@pytest.mark.parametrize(
    ("baseline", "seeds", "said", "trained"),
    [
        ("target", 1, "Shown for this training: others may differ.", 0),
        ("repeat", 3, "Shown for these 3 trainings: others may differ.", 0),
        ("other", 3, "Shown for these 3 and 1 trainings: others may differ.", 1),
    ],
)
def test_real_images_are_no_trainings(baseline: str, seeds: int, said: str, trained: int) -> None:
    scores = table(np.linspace(0.1, 0.2, 8), seeds=seeds)
    image = scores[(scores["method"] == "fnet") & (scores["seed"] == 0)].assign(method=baseline, seed=np.nan)
    scores = pd.concat([scores[scores["method"] == "spotlight"], image])
    row = compare_methods(scores, baseline, {"ap": "high"}).iloc[0]
    assert (row["trainings"], row["baseline_trainings"]) == (seeds, trained)
    assert row["verdict"].endswith(said)


def simulated(
    trials: int, trainings: int, stacks: int, spreads: tuple[float, float, float, float], seed: int = 6
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Many comparisons without a true difference: spreads of trainings of each, of stacks and of the rest."""
    rng = np.random.default_rng(seed)
    *trained, apart, rest = spreads
    a, b = (
        rng.normal(0, spread, (trials, trainings, 1))
        + rng.normal(0, apart / 2**0.5, (trials, 1, stacks))
        + rng.normal(0, rest, (trials, trainings, stacks))
        for spread in trained
    )
    return a, b


TABLES = [(0.01, 0.01, 0.03, 0.01), (0.02, 0.02, 0.03, 0.02), (0.01, 0.02, 0.03, 0.015)]
"""Spreads of mean AP as the benchmarks have them."""
UNEQUAL, TRAININGS_ALONE, STACKS_ALONE = (0.05, 0.012, 0.03, 0.02), (0.02, 0.02, 0, 0.01), (0, 0, 0.03, 0.01)
TRIALS = 6000
ERROR = (0.05 * 0.95 / TRIALS) ** 0.5
"""Standard error of a simulated rate of 5 %: 0.0028."""


@pytest.mark.parametrize("trainings", [5, 3])
@pytest.mark.parametrize("spreads", [*TABLES, TRAININGS_ALONE, STACKS_ALONE])
def test_over_trainings_and_stacks_errors_are_as_rare_as_said(
    trainings: int, spreads: tuple[float, float, float, float]
) -> None:
    a, b = simulated(TRIALS, trainings, 12, spreads)
    low, high, p = difference_interval(a, b)
    held = (low <= 0) & (high >= 0)
    assert np.array_equal(held, p > 0.05)
    assert 0.93 <= held.mean() <= 0.97
    assert (p <= 0.05).mean() <= 0.05 + ERROR
    claimed = np.maximum(p, dealing_test(a, b)) <= 0.05
    assert claimed.mean() <= (0.05 + ERROR if trainings > 3 else 0)


@pytest.mark.parametrize(("trainings", "stacks"), [(5, 4), (3, 4), (5, 12), (3, 12)])
def test_coverage_for_few_stacks_and_for_trainings_that_spread_unequally(trainings: int, stacks: int) -> None:
    for spreads in [UNEQUAL] if stacks == 12 else TABLES:
        low, high, _ = difference_interval(*simulated(TRIALS, trainings, stacks, spreads))
        assert 0.93 - ERROR <= ((low <= 0) & (high >= 0)).mean() <= 0.97 + ERROR


def test_many_comparisons_at_once_are_those_one_by_one() -> None:
    a, b = simulated(5, 4, 6, TABLES[0])
    a[2, 1, :3] = np.nan
    together = np.stack([*difference_interval(a, b), dealing_test(a, b)], -1)
    single = [[*difference_interval(x, y), dealing_test(x, y)] for x, y in zip(a, b, strict=True)]
    assert together == pytest.approx(np.array(single))


def test_a_difference_over_trainings_and_stacks_is_found() -> None:
    a, b = simulated(1000, 5, 12, (0.03, 0.03, 0.03, 0.02))
    assert (np.maximum(difference_interval(a + 0.1, b)[2], dealing_test(a + 0.1, b)) <= 0.05).mean() > 0.9


def test_the_interval_is_that_of_t_where_one_part_is_all_there_is() -> None:
    rng = np.random.default_rng(7)
    trained = rng.normal(0.3, 1, (6, 1)) + np.zeros(9), np.zeros((1, 9))
    expected = stats.ttest_1samp(trained[0][:, 0], 0)
    assert difference_interval(*trained) == pytest.approx((*expected.confidence_interval(0.95), expected.pvalue))
    a, b = (rng.normal(0, 1, (n, 1)) + np.zeros(9) for n in (4, 7))
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert difference_interval(a, b) == pytest.approx((*welch.confidence_interval(0.95), welch.pvalue))
    stacks = np.zeros((20, 1)) + rng.normal(0.3, 1, 9)
    expected = stats.ttest_1samp(stacks[0], 0)
    assert difference_interval(stacks, np.zeros((1, 9)))[2] == pytest.approx(expected.pvalue)


def test_dealing_agrees_with_scipy() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.4, 1, (4, 6)), rng.normal(0, 1, (5, 6))
    expected = stats.permutation_test(
        (a.mean(1), b.mean(1)), lambda x, y: abs(x.mean() - y.mean()), alternative="greater", n_resamples=np.inf
    )
    assert dealing_test(a, b) == pytest.approx(expected.pvalue)
    many = rng.normal(0, 1, (2, 12, 3))
    assert dealing_test(*many) == pytest.approx(stats.ttest_ind(*many.mean(2)).pvalue, abs=0.03)


def test_a_training_without_some_stacks_is_compared_with_the_others_where_it_has_them() -> None:
    stacks = np.linspace(0, 1, 8)
    scores = np.array([0.0, 0.1, 0.2])[:, None] + stacks
    whole = training_effects(scores)
    assert whole == pytest.approx([-0.1, 0, 0.1])
    scores[0, :3] = np.nan
    assert np.all(np.diff(training_effects(scores)) > 0.05)
    assert np.isfinite(difference_interval(scores, scores + 0.05)).all()


def test_a_baseline_without_seeds() -> None:
    scores = table(np.linspace(0.1, 0.2, 6), seeds=2)
    scores = scores[(scores["method"] == "spotlight") | (scores["seed"] == 0)].assign(
        seed=lambda t: t["seed"].where(t["method"] == "spotlight")
    )
    row = compare_methods(scores, "fnet", {"ap": "high"}).iloc[0]
    assert (row["stacks"], row["trainings"], row["training_wins"]) == (6, 2, 2)


def test_no_difference() -> None:
    differences = np.array([0.1, -0.1, 0.2, -0.2, 0.05, -0.03, 0.1, -0.1])
    row = compare_methods(table(differences), "fnet", {"ap": "high"}).iloc[0]
    assert row["p"] > 0.5
    assert row["verdict"].startswith(
        "No difference of ap could be shown between spotlight and fnet: +0.0025 on average"
    )
    assert "better in 4 of 8 stacks" in row["verdict"]


def test_what_few_stacks_cannot_show_among_many_claims() -> None:
    scores = table(np.linspace(0.1, 0.2, 6))
    claims = {f"ap{n}": "high" for n in range(4)}
    rows = compare_methods(scores.assign(**dict.fromkeys(claims, scores["ap"])), "fnet", claims)  # type: ignore[arg-type]
    assert (rows["p"] < 0.05).all()
    assert rows["p_holm"].to_numpy() == pytest.approx(4 * 2 / 64)
    assert rows["verdict"].str.contains("6 stacks among 4 claims cannot show one.").all()


def test_all_equal_even_but_for_rounding() -> None:
    scores = table(np.zeros(7), seeds=3)
    noise = np.where(scores["method"] == "fnet", 1 + 1e-15, 1)
    row = compare_methods(scores.assign(ap=scores["ap"] * noise), "fnet", {"ap": "high"}).iloc[0]
    assert (row["wins"], row["losses"], row["p"], row["low"], row["high"]) == (0, 0, 1, 0, 0)
    assert np.isnan(row["cohens_d"])
    assert row["verdict"] == "ap of spotlight and fnet is the same in all 7 stacks."


@pytest.mark.parametrize("stacks", [1, 2, 5])
def test_too_few_stacks(stacks: int) -> None:
    row = compare_methods(table(np.linspace(0.1, 0.2, stacks)), "fnet", {"ap": "high"}).iloc[0]
    assert np.isnan([row["p"], row["p_holm"], row["low"], row["high"]]).all()
    assert row["mean_difference"] > 0
    assert row["verdict"].startswith(f"Too few stacks ({stacks}) for a test of ap: spotlight - fnet is +0.1")
    assert f"better in {stacks} of {stacks} stacks." in row["verdict"]


def test_missing_values_and_stacks_are_named() -> None:
    scores = table(np.linspace(0.1, 0.2, 9))
    scores.loc[2, "ap"] = np.nan  # fnet, field-1
    scores.loc[7, "ap"] = np.inf  # spotlight, field-3
    scores = scores.drop(index=17)  # spotlight, field-8
    row = compare_methods(scores, "fnet", {"ap": "high"}).iloc[0]
    assert row["stacks"] == 6
    assert row["left_out"] == "field-1, field-3, field-8"
    assert row["no_value"] == "field-3 (spotlight), field-1 (fnet)"
    assert row["verdict"].endswith(
        "Left out: field-1, field-3, field-8. No value: field-3 (spotlight), field-1 (fnet)."
    )
    assert row["mean_difference"] == pytest.approx(np.linspace(0.1, 0.2, 9)[[0, 2, 4, 5, 6, 7]].mean())
    partly = table(np.linspace(0.1, 0.2, 6), seeds=2)
    partly.loc[1, "ap"] = np.nan  # one of two trainings in one stack: the other stands for it
    row = compare_methods(partly, "fnet", {"ap": "high"}).iloc[0]
    assert (row["stacks"], row["left_out"], row["no_value"]) == (6, "", "field-0 (spotlight, seed 0)")


def test_nothing_in_common() -> None:
    scores = table(np.zeros(3))
    scores.loc[scores["method"] == "fnet", "ap"] = np.nan
    row = compare_methods(scores, "fnet", {"ap": "high"}).iloc[0]
    assert row["stacks"] == 0
    assert np.isnan(row["mean_difference"])
    assert row["verdict"].startswith("spotlight and fnet have no stack in common with a value of ap.")
    apart = table(np.zeros(4)).iloc[[0, 3]]
    assert compare_methods(apart, "fnet", {"ap": "high"})["stacks"].tolist() == [0]


def test_several_methods_and_none() -> None:
    scores = table(np.linspace(0.1, 0.2, 6))
    third = scores[scores["method"] == "fnet"].assign(method="other")
    rows = compare_methods(pd.concat([scores, third]), "fnet", {"ap": "high"})
    assert rows["method"].tolist() == ["spotlight", "other"]
    assert compare_methods(scores, "fnet", {"ap": "high"}, ["spotlight"])["method"].tolist() == ["spotlight"]
    assert compare_methods(scores[scores["method"] == "fnet"], "fnet", {"ap": "high"}).empty
    assert compare_methods(scores, "fnet", {}).empty


def test_verdict_of_a_renamed_series() -> None:
    row = compare_methods(table(np.linspace(0.1, 0.2, 6)), "fnet", {"ap": "high"}).iloc[0].copy()
    row["metric"], row["method"], row["baseline"] = "mean AP", "Spotlight", "F-net"
    assert verdict(row).startswith("mean AP of Spotlight is better than that of F-net: higher by 0.15 ")


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"baseline": "none"}, "no scores of method 'none'. Known: 'fnet', 'spotlight'"),
        ({}, {"methods": ["fnet"]}, "compared with itself"),
        ({}, {"metrics": {"psnr": "high"}}, "no column psnr"),
        ({}, {"metrics": {"ap": "up"}}, "high, low, zero. Received: 'up'"),
        ({}, {"alpha": 0.0}, "between 0 and 1"),
        ({"ap": "good"}, {}, "must be numbers"),
        ({"stack": None}, {}, "without a stack"),
        ({"stack": "field-0"}, {}, "more than one row of stack field-0, method fnet, seed 0"),
    ],
)
def test_what_cannot_be_compared_is_said(change: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    scores = table(np.linspace(0.1, 0.2, 6)).assign(**change)
    with pytest.raises(SpotlightError, match=message):
        compare_methods(**({"scores": scores, "baseline": "fnet", "metrics": {"ap": "high"}} | arguments))
