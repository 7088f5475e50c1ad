"""A value that is missing shows: wherever a mean is written, so is the number of values that it is of."""

import numpy as np
import pandas as pd
import pytest

from spotlight.evaluation import summarise
from spotlight.evaluation.evaluate import _mean_sweep
from spotlight.evaluation.light_my_cells import LightMyCells, LightMyCellsSettings, summarise_planes
from spotlight.evaluation.means import counted_means, part_of
from spotlight.metrics.challenge import CHALLENGE_SCORES
from spotlight.report.challenge_page import table_text
from spotlight.report.curves import Styles, resolution_curves, threshold_sweep
from spotlight.report.tables import features_table, score_table
from spotlight.report.text import score_text


@pytest.fixture
def scores() -> pd.DataFrame:
    """Three stacks; one method lacks a value of one of them, which would have been its worst."""
    rows = [
        {"stack": f"f{n}", "method": method, "seed": 0, "mean_ap": value, "fsc_xy_um": 0.5}
        for method, values in {"fnet": (0.5, 0.6, 0.1), "spotlight": (0.4, 0.7, np.nan)}.items()
        for n, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_parts_by_hand() -> None:
    assert part_of(pd.Series([1.0, np.nan, 3])) == "2 of 3"
    assert part_of(pd.Series([1.0, 2])) == part_of(pd.Series([np.nan, np.nan])) == ""
    found = counted_means(pd.DataFrame({"m": ["a", "a", "b"], "x": [1.0, np.nan, 5]}), ["m"])
    assert found.to_dict("list") == {"m": ["a", "b"], "rows": [2, 1], "x": [1.0, 5.0], "x_n": [1, 1]}


def test_the_terminal_and_the_page_count_and_do_not_call_the_fewer_best(scores: pd.DataFrame) -> None:
    (row, whole) = score_table(scores)["rows"]
    assert [cell["part"] for cell in row["cells"]] == ["", "2 of 3"]
    assert not any(cell["best"] for cell in row["cells"])
    assert not any(cell["part"] for cell in whole["cells"])
    text = score_text(scores)
    assert "0.550 ± 0.212 (2 of 3)" in text
    assert "values are missing" in text
    assert "(2 of 3)" not in score_text(scores.fillna(0.1))


def test_tables_count(scores: pd.DataFrame) -> None:
    assert summarise(scores).loc["spotlight", ("mean_ap", "count")] == 2
    features = pd.DataFrame(
        [
            {"method": "m", "seed": seed, "feature": "volume", "nuclei": 9, "bias": b}
            for seed, b in ((0, 0.1), (1, np.nan))
        ]
    )
    assert features_table(features)["rows"] == [["volume", "m", "9", "+10.0% (1 of 2)"]]
    swept = scores.assign(position=0.5, threshold=100.0)
    swept = _mean_sweep(swept).set_index("method")
    assert swept.loc["spotlight", ["rows", "mean_ap_n", "fsc_xy_um_n"]].tolist() == [3, 2, 3]


def test_charts_say_what_is_missing(scores: pd.DataFrame) -> None:
    styles = Styles(["fnet", "spotlight"])
    swept = pd.concat([scores.assign(position=p, threshold=100 * p) for p in (0.0, 1.0)])
    assert "gap: a stack has no value" in threshold_sweep(_mean_sweep(swept), styles).caption
    assert "gap" not in threshold_sweep(_mean_sweep(swept.fillna(0)), styles).caption
    curves = [
        {
            "stack": f"f{n}",
            "method": "fnet",
            "seed": 0,
            "kind": kind,
            "direction": "xy",
            "frequency": f,
            "correlation": c,
        }
        for kind, stacks in (("frc", 3), ("frc_of_two", 2))
        for n in range(stacks)
        for f, c in ((0.1, 1.0), (0.2, 0.1))
    ]
    titles = [panel.get_title() for panel in resolution_curves(pd.DataFrame(curves), styles).figure.axes]
    assert titles == ["FRC, one image, XY", "FRC of stain and target, XY\n(fnet 2 of 3)"]


def test_a_field_without_a_plane_is_no_mean_of_the_others(tmp_path: "pytest.TempPathFactory") -> None:
    planes = pd.DataFrame(
        [
            {"method": "m", "target": "Nucleus", "field": field, "focus_bin": "0", "plane": f"{field}-{n}"}
            | dict.fromkeys(CHALLENGE_SCORES, value)
            for field, values in {"a": (0.2, 0.4), "b": (0.8, np.nan), "c": (0.6, 0.6)}.items()
            for n, value in enumerate(values)
        ]
    )
    every = summarise_planes(planes)
    assert (every["pcc"][0], every["pcc_n"][0], every["fields"][0]) == (pytest.approx(0.45), 2, 3)
    result = LightMyCells(tmp_path, planes, every, {}, LightMyCellsSettings(), {})
    assert "0.4500 (2 of 3) ± 0.2121" in table_text(result)
