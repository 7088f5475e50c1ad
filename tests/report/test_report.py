"""The report's tables, charts and volumes."""

import base64
import io
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from small_evaluation import CENTERS, ODD, STACKS, balls
from spotlight import SpotlightError
from spotlight.images import Stack
from spotlight.metrics.profiles import BIASES
from spotlight.metrics.registry import METRICS, describe, in_order
from spotlight.profiles import FULL_FEATURES
from spotlight.report import write_figures, write_report
from spotlight.report.columns import feature_title
from spotlight.report.contents import first_of, read_contents
from spotlight.report.curves import best_place, mean_curve
from spotlight.report.tables import comparison_table, features_table, score_table, stack_tables, verdicts
from spotlight.report.text import score_text
from spotlight.report.volumes import MOST_VOXELS, make_grid, nucleus_places, packed, sheet

# --- tables ----------------------------------------------------------------------------------------------------------


def test_the_table_as_text() -> None:
    scores = pd.DataFrame(
        {"stack": ["a", "b"] * 3, "method": ["target"] * 2 + ["f"] * 2 + ["s"] * 2}
        | {"mean_ap": [0.9, 0.7, 0.2, 0.4, 0.5, 0.5], "volume_error": [0.0, 0.1, 0.5, 0.7, -0.1, 0.0]}
        | {"psnr": [np.nan, np.nan, 20, 22, 18, 19]}
    )
    lines = score_text(scores).splitlines()
    assert re.split(r"\s{2,}", lines[1]) == ["mean AP", "0.800 ± 0.141", "0.300 ± 0.141", "0.500 ± 0.000 *"]
    assert re.split(r"\s{2,}", lines[2]) == ["volume error", "+5.0% ± 7.1%", "+60.0% ± 14.1%", "-5.0% ± 7.1% *"]
    assert re.split(r"\s{2,}", lines[3]) == ["PSNR, whole (dB)", "–", "21.00 ± 1.41 *", "18.50 ± 0.71"]
    assert lines[4] == "mean ± standard deviation over 2 stacks; * best of the models"


def test_columns_have_names_and_unknown_ones_keep_theirs() -> None:
    assert describe("ssim_foreground").full_title == "SSIM, foreground"
    assert describe("ssim_foreground").group == "Pixels on the foreground"
    assert describe("ssim").group == "Pixels on everything"
    assert describe("mean_ap_cellpose").full_title == "mean AP, Cellpose"
    assert (describe("flux").full_title, describe("flux").group, describe("flux").best) == ("flux", "Other", "")
    # The resolution of a smooth image says nothing, so none is the best.
    assert all(METRICS.find(name).best == "" for name in METRICS.names() if describe(name).group == "Resolution")
    mixed = ["flux", "psnr", "frc_um", "psnr_foreground", "mean_ap_cellpose", "volume_error", "splits", "mean_ap"]
    assert in_order(mixed) == [
        *("mean_ap", "splits", "mean_ap_cellpose", "volume_error", "psnr_foreground", "psnr", "frc_um", "flux")
    ]


def test_everything_that_is_measured_has_a_name() -> None:
    titles = [feature_title(name) for name in {*FULL_FEATURES[2], *FULL_FEATURES[3]}]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if "_" in title]
    errors = [describe(f"{name}_error") for name in BIASES]
    assert {metric.group for metric in errors} == {"Size and shape of nuclei"}
    assert {metric.best for metric in errors} == {"zero"}


def test_features_of_methods_side_by_side(report_folder: Path) -> None:
    table = features_table(read_contents(report_folder).tables["features"])
    assert table["title"] == "Every feature, mean over seeds"
    assert table["heads"][2:5] == ["nuclei", "true median", "median"]
    assert [row[:3] for row in table["rows"]] == [
        [title, method, number]
        for title, number in (("volume", "2"), ("inertia tensor, largest eigenvalue", "3"))
        for method in ("target", ODD, "spotlight")
    ]
    assert table["rows"][0][3:] == ["33.5", "40.2", "+20.0%", "25.0%", "0.100", "0.875"]
    assert table["rows"][1][-1] == "–"
    assert "inertia tensor, largest eigenvalue" in (report_folder / "report.html").read_text(encoding="utf-8")


def test_missing_and_infinite_values_are_said() -> None:
    scores = pd.DataFrame(
        {"stack": ["a", "b", "c"] * 2, "method": ["m"] * 3 + ["n"] * 3, "seed": 0}
        | {"frc_um": [1.0, np.nan, 3.0, np.nan, np.nan, np.nan], "psnr": [np.inf, 20, 20, 19, 20, 21]}
    )
    table = score_table(scores)
    psnr, frc = table["rows"]
    assert [cell["value"] for cell in psnr["cells"]] == ["∞", "20.00"]
    assert [cell["best"] for cell in psnr["cells"]] == [True, False]
    assert frc["cells"][0] == {"value": "2.00", "spread": "1.41", "part": "2 of 3", "best": False} | {
        "note": "no value for 1 of 3 stacks"
    }
    assert frc["cells"][1]["value"] == "–"
    assert frc["cells"][1]["note"] == "no value for any of 3 stacks"
    assert table["missing"]


def test_seeds_are_pooled_and_references_never_best() -> None:
    rows = [
        {"stack": stack, "method": method, "seed": seed, "mean_ap": value + 0.1 * seed}
        for stack in "ab"
        for method, value, seeds in (
            ("target", 0.9, (0,)),
            ("repeat", 0.8, (0,)),
            ("m", 0.3, (0, 1)),
            ("n", 0.2, (0, 1)),
        )
        for seed in seeds
    ]
    table = score_table(pd.DataFrame(rows))
    assert table["over"] == "2 stacks and 2 seeds"
    cells = table["rows"][0]["cells"]
    assert [cell["value"] for cell in cells] == ["0.900", "0.800", "0.350", "0.250"]
    assert cells[2]["spread"] == f"{np.std([0.3, 0.4, 0.3, 0.4], ddof=1):.3f}"
    assert [cell["best"] for cell in cells] == [False, False, True, False]


def test_pictures_are_of_the_first_seed_and_pipeline() -> None:
    table = pd.DataFrame(
        {"method": ["t", "m", "m", "m"], "seed": [np.nan, 3, 4, 3], "pipeline": ["w", "w", "w", "c"], "n": range(4)}
    )
    assert first_of(table)["n"].tolist() == [0, 1]


def test_real_differences_come_first(report_folder: Path) -> None:
    comparison = read_contents(report_folder).tables["comparison"]
    assert verdicts(comparison) == {
        "real": ["Instances are better.", "Volumes are truer."],
        "none": ["PSNR: <nothing> shown."],
    }
    table = comparison_table(comparison)
    assert [row[0] for row in table["rows"]] == ["mean AP", "volume error", "PSNR, whole (dB)"]
    assert table["rows"][1][table["heads"].index("mean difference")] == "+30.0%"
    assert table["rows"][2][table["heads"].index("from")] == "+0.20"


def test_names_that_look_like_numbers_stay_names(report_folder: Path) -> None:
    contents = read_contents(report_folder)
    assert contents.pictured == list(STACKS)
    assert contents.scores["stack"].iloc[0] == "007"
    heads = [table["heads"] for table in stack_tables(contents.scores)]
    assert heads[0] == ["stack", "method", "mean AP", "recall at 0.5"]
    assert heads[-1] == ["stack", "method", "my_own"]


def test_what_is_no_evaluation(tmp_path: Path, report_folder: Path) -> None:
    with pytest.raises(SpotlightError, match=r"evaluation\.yaml: no such file"):
        write_report(tmp_path)
    shutil.copy(report_folder / "evaluation.yaml", tmp_path)
    (tmp_path / "scores.csv").write_text("stack,mean_ap\na,1\n")
    with pytest.raises(SpotlightError, match=r"scores\.csv: has no column 'method'"):
        write_figures(tmp_path)
    (tmp_path / "scores.csv").write_text("stack,method\n")
    with pytest.raises(SpotlightError, match=r"scores\.csv: has no row"):
        write_report(tmp_path)


def test_scores_alone_make_a_page(tmp_path: Path, report_folder: Path) -> None:
    for name in ("evaluation.yaml", "scores.csv"):
        shutil.copy(report_folder / name, tmp_path)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "recall at 0.5" in html
    assert 'id="pictures"' not in html
    assert not (tmp_path / "figure.png").exists()


# --- curves ----------------------------------------------------------------------------------------------------------


def test_curves_of_unlike_frequencies_are_averaged_where_both_are_known() -> None:
    rows = pd.DataFrame(
        {"stack": ["a", "a", "a", "b", "b"], "frequency": [0.0, 1.0, 2.0, 0.0, 2.0]}
        | {"correlation": [1.0, 0.8, 0.0, 0.6, 0.2]}
    )
    assert mean_curve(rows).to_dict() == pytest.approx({0.0: 0.8, 1.0: 0.6, 2.0: 0.1})


@pytest.mark.parametrize(("name", "place"), [("mean_ap", 2.0), ("nrmse", 0.0), ("volume_error", 1.0), ("frc_um", None)])
def test_where_a_curve_is_best(name: str, place: float | None) -> None:
    curve = pd.Series([-0.5, 0.1, 0.7, np.nan], [0.0, 1.0, 2.0, 3.0])
    assert best_place(curve, describe(name)) == place


def test_figures_are_written_twice(report_folder: Path) -> None:
    names = ["average_precision", "histograms", "nuclei_errors", "picture", "resolution", "threshold_sweep"]
    written = sorted((report_folder / "figures").iterdir())
    assert [path.name for path in written] == sorted(f"{n}.{kind}" for n in names for kind in ("png", "svg"))
    for path in written:
        if path.suffix == ".svg":
            assert b"<svg" in path.read_bytes()[:600]
        else:
            with Image.open(path) as image:
                assert min(image.size) > 100
    # The names of methods are text in it, neither formulas nor markup.
    assert "x's &lt;b&gt;$y$ &amp; 核" in (report_folder / "figures" / "average_precision.svg").read_text(
        encoding="utf-8"
    )
    assert (report_folder / "figure.png").read_bytes() == (report_folder / "figures" / "picture.png").read_bytes()


def test_the_figure_shows_the_true_outlines(report_folder: Path) -> None:
    with Image.open(report_folder / "figure.png") as image:
        assert image.width > 4 * 290
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    orange = (np.abs(pixels.astype(int) - (0xE6, 0x9F, 0x00)).sum(1) < 30).sum()
    assert orange > 100


# --- volumes ---------------------------------------------------------------------------------------------------------


def test_a_small_stack_is_shown_whole_and_a_large_one_evenly() -> None:
    small = make_grid(Stack(np.zeros((5, 20, 30), np.uint8), "ZYX", (1.0, 0.5, 0.5)), 4)
    assert small.shape == (5, 20, 30)
    assert small.scale == (1.0, 0.5, 0.5)
    large = make_grid(Stack(np.zeros((100, 30, 960), np.uint8), "ZYX", (1.0, 0.5, 0.5)), 4)
    assert large.shape == (48, 15, 480)
    assert large.scale == pytest.approx((100 / 48, 1.0, 1.0))
    assert large.planes[[0, -1]].tolist() == [1, 98]
    crowd = make_grid(Stack(np.zeros((60, 500, 500), np.uint8), "ZYX"), 20)
    assert 20 * np.prod(crowd.shape) == pytest.approx(MOST_VOXELS, rel=0.05)
    plane = make_grid(Stack(np.zeros((50, 60), np.uint8), "YX", (0.5, 0.4)), 4)
    assert plane.shape == (1, 50, 60)
    assert plane.scale == (0.4, 0.5, 0.4)
    assert make_grid(Stack(np.zeros((2048, 1024), np.uint8), "YX"), 4).shape == (1, 1024, 512)


def test_no_plane_of_a_sheet_leaks_into_its_neighbours() -> None:
    volume = np.zeros((5, 13, 11), np.uint8)
    volume[1::2] = 255
    made = sheet(volume)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["image"].partition(",")[2]))))
    tall, wide = made["tile"]
    for z in range(5):
        row, column = divmod(z, made["columns"])
        tile = picture[row * tall : row * tall + 13, column * wide : column * wide + 11].astype(int)
        assert np.abs(tile - int(volume[z, 0, 0])).max() <= 1


@pytest.mark.parametrize(("largest", "size"), [(255, 1), (256, 2), (70_000, 4)])
def test_labels_are_packed_without_loss(largest: int, size: int) -> None:
    labels = np.random.default_rng(0).integers(0, largest + 1, (3, 4, 5)).astype(np.uint32)
    labels[0, 0, 0] = largest
    made = packed(labels)
    assert made["bytes"] == size
    unpacked = np.frombuffer(zlib.decompress(base64.b64decode(made["data"])), f"<u{size}")
    np.testing.assert_array_equal(unpacked.reshape(labels.shape), labels)


def test_the_middle_of_a_nucleus_lies_in_it() -> None:
    ring = np.zeros((1, 9, 9), np.uint8)
    ring[0, 1:8, 1:8] = 4
    ring[0, 2:7, 2:7] = 0
    z, y, x = nucleus_places(ring)[4]
    assert ring[z, y, x] == 4
    assert nucleus_places(balls(CENTERS, 2.0)) == {n: list(c) for n, c in enumerate(CENTERS, start=1)}
    assert nucleus_places(np.zeros((2, 3, 4), np.uint8)) == {}
