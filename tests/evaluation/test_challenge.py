"""Light My Cells: modalities, its metrics, its table and its submission layout."""

import json
import logging
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage, stats
from scipy.spatial import distance
from skimage.metrics import structural_similarity
from typer.testing import CliRunner

from spotlight.cli import app
from spotlight.errors import SpotlightError
from spotlight.evaluation import LightMyCellsSettings, evaluate_light_my_cells
from spotlight.evaluation.light_my_cells import focus_bin, summarise_planes
from spotlight.export import write_submission
from spotlight.images import Stack, modality_of, read
from spotlight.metrics import CHALLENGE_SCORES, challenge_scores
from spotlight.pairs import read_manifest
from spotlight.report.challenge_page import write_challenge_page


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("BF", "brightfield"),
        ("bf_z3", "brightfield"),
        ("Bright field 2", "brightfield"),
        ("BrightField", "brightfield"),
        ("TransmittedLight", "brightfield"),
        ("Transmitted DIC", "dic"),
        ("image_12_PC_z4", "phase"),
        ("Ph2", "phase"),
        ("PhaseContrast", "phase"),
        ("phase contrast", "phase"),
        ("TL-DIC", "dic"),
        ("Nomarski", "dic"),
        ("Differential Interference Contrast", "dic"),
        ("BF or DIC", None),
        ("DNA", None),
        ("Metaphase marker", None),
        ("PCNA", None),
        ("", None),
    ],
)
def test_modalities_of_channel_names(name: str, modality: str | None) -> None:
    assert modality_of(name) == modality


def test_the_modality_of_a_stack_is_that_of_its_only_transmitted_light() -> None:
    def stack(*channels: str) -> Stack:
        return Stack(np.zeros((len(channels) or 2, 4, 4)), "CYX", channels=channels)

    assert modality_of(stack("DNA", "Phase")) == "phase"
    assert modality_of(stack("BF", "Brightfield 2")) == "brightfield"
    assert modality_of(stack("BF", "Phase")) is None
    assert modality_of(stack()) is None


def two_planes(seed: int = 0, shape: tuple[int, int] = (61, 83)) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=shape), 3) * 9000 + 2000
    return truth + rng.normal(0, 300, shape), truth


def ravelled(image: np.ndarray[Any, Any], clip: bool) -> np.ndarray[Any, Any]:
    low, high = np.percentile(image, [2, 99.8])
    image = (image - low) / (high - low)
    return np.clip(image, 0, 1) if clip else image


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_scores_are_those_of_scikit_image_and_scipy(clip: bool, kind: type) -> None:
    prediction, truth = (image.clip(0).astype(kind) for image in two_planes())
    found = challenge_scores(prediction, truth, clip=clip)
    p, t = (ravelled(image.astype(float), clip) for image in (prediction, truth))
    assert list(found) == list(CHALLENGE_SCORES)
    assert found["mae"] == pytest.approx(np.mean(np.abs(p - t)), rel=1e-12)
    assert found["ssim"] == pytest.approx(structural_similarity(t, p, data_range=t.max() - t.min()), abs=2e-6)
    assert found["pcc"] == pytest.approx(stats.pearsonr(p.ravel(), t.ravel())[0], rel=1e-10)
    assert found["e_dist"] == pytest.approx(distance.euclidean(p.ravel(), t.ravel()), rel=1e-12)
    assert found["c_dist"] == pytest.approx(distance.cosine(p.ravel(), t.ravel()), rel=1e-10)


def test_scores_worked_by_hand() -> None:
    # Of 0 to 1000 the percentiles 2 and 99.8 are 20 and 998. Against its reverse, with j from -500 to 500, the
    # difference is 2j / 978, and t and p are (480 ± j) / 978; the sum of j² is 83,583,500.
    truth = np.arange(1001).reshape(13, 77)
    found = challenge_scores(truth[::-1, ::-1], truth)
    assert found["mae"] == pytest.approx(501_000 / 1001 / 978)
    assert found["e_dist"] == pytest.approx(2 * math.sqrt(83_583_500) / 978)
    assert found["c_dist"] == pytest.approx(1 - (230_630_400 - 83_583_500) / (230_630_400 + 83_583_500))
    assert found["pcc"] == pytest.approx(-1)
    same = challenge_scores(truth, truth)
    assert same == pytest.approx({"mae": 0, "ssim": 1, "pcc": 1, "e_dist": 0, "c_dist": 0}, abs=1e-7)


def test_scale_and_offset_change_nothing_and_every_row_counts() -> None:
    prediction, truth = two_planes()
    first = challenge_scores(prediction, truth)
    assert challenge_scores(7 * prediction + 300, 0.1 * truth - 5) == pytest.approx(first, rel=1e-5)
    other = prediction.copy()
    other[1:] = other[:0:-1]
    assert challenge_scores(other, truth)["c_dist"] > 2 * first["c_dist"]


def test_the_euclidean_distance_grows_with_the_image() -> None:
    prediction, truth = two_planes()
    small, large = (challenge_scores(np.tile(prediction, n), np.tile(truth, n)) for n in ((1, 1), (2, 2)))
    assert large["e_dist"] == pytest.approx(2 * small["e_dist"], rel=1e-3)
    assert large["mae"] == pytest.approx(small["mae"], rel=1e-3)


def test_a_prediction_without_contrast_is_worthless_and_not_left_out() -> None:
    _, truth = two_planes()
    sparse = np.zeros(truth.shape)
    sparse[30, 40] = 5
    for flat in (np.full(truth.shape, 7.0), sparse):
        found = challenge_scores(flat, truth)
        assert (found["pcc"], found["c_dist"]) == (0, 1)
        assert found["e_dist"] == pytest.approx(np.linalg.norm(ravelled(truth, False)))
        assert np.isfinite(list(found.values())).all()
    with pytest.raises(SpotlightError, match="truth has one value at its percentiles 2 and 99.8"):
        challenge_scores(truth, sparse)


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((9, 9)), np.zeros((9, 8)), "must have one shape"),
        (np.zeros((2, 9, 9)), np.zeros((2, 9, 9)), r"compares planes \(YX\)"),
        (np.zeros((6, 9)), np.zeros((6, 9)), "at least 7x7"),
        (np.full((9, 9), np.nan), np.eye(9), "stain has 81 voxels that are NaN"),
    ],
)
def test_planes_that_cannot_be_compared(prediction: Any, truth: Any, message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        challenge_scores(prediction, truth)


@pytest.mark.parametrize(
    ("offset", "name"), [(None, "unknown"), (0, "0"), (3, "3"), (-3, "3"), (5, "5"), (6, ">5"), (-20, ">5")]
)
def test_bins_go_by_the_distance_from_focus(offset: int | None, name: str) -> None:
    assert focus_bin(offset) == name


def test_planes_of_a_field_are_averaged_first() -> None:
    planes = pd.DataFrame({"field": ["a", "a", "b"], "focus_bin": ["0", "2", "2"], "mae": [0.2, 0.4, 0.9]})
    planes = planes.assign(method="m", target="Nucleus", ssim=0.5, pcc=[0.1, np.nan, np.nan], e_dist=1.0, c_dist=0.0)
    every, focused, blurred = summarise_planes(planes).to_dict("records")
    assert (every["fields"], every["planes"], every["focus_bin"]) == (2, 3, "all")
    assert (every["mae"], every["mae_sd"]) == pytest.approx((0.6, np.std([0.3, 0.9], ddof=1)))
    assert (focused["mae"], focused["fields"], blurred["planes"]) == (0.2, 1, 2)
    assert math.isnan(focused["mae_sd"])
    assert blurred["mae"] == pytest.approx(0.65)
    # Of the first field a plane has no value, of the second the only one: neither is a mean of its planes.
    assert math.isnan(every["pcc"])
    assert (every["pcc_n"], every["mae_n"]) == (0, 2)


NAMES = ("Nucleus", "Mitochondria", "Tubulin", "Actin")
FIELDS = {1: NAMES[:2], 2: NAMES[:1], 3: ("Nucleus", "Tubulin"), 4: ("Actin",)}
"""Targets that each field has."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Four fields of two planes and some of the targets, and stains of all as `spotlight predict` names them."""
    rows = []
    for field, names in FIELDS.items():
        truths = {name: two_planes(10 * field + n, (40, 50))[1].clip(0) for n, name in enumerate(NAMES)}
        for name in names:
            plane(truths[name], name).save(tmp_path / f"image_{field}_{name}.ome.tiff")
        for z in (0, 2):
            image = f"image_{field}_PC_z{z}"
            plane(truths["Nucleus"], "PC").save(tmp_path / f"{image}.ome.tiff")
            noisy = [
                truth + np.random.default_rng(field).normal(0, 200 * (z + 1), truth.shape) for truth in truths.values()
            ]
            stain = Stack(
                np.rint(noisy).clip(0).astype(np.float32), "CYX", (0.1, 0.1), tuple(f"{n} (virtual)" for n in NAMES)
            )
            stain.save(tmp_path / "stains" / f"{image}-stain.ome.tif")
            targets = {f"target:{n}": f"image_{field}_{n}.ome.tiff" if n in names else "absent" for n in NAMES}
            rows.append({"input": f"{image}.ome.tiff", **targets, "modality": "PC", "focus_offset": z})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path


def plane(data: np.ndarray[Any, Any], channel: str) -> Stack:
    return Stack(data.astype(np.uint16), "YX", (0.1, 0.1), (channel,))


def test_present_stains_alone_are_scored(study: Path) -> None:
    result = evaluate_light_my_cells(study / "manifest.csv", study / "stains", study / "out")
    planes = result.planes
    expected = {(f"image_{field}", name) for field, names in FIELDS.items() for name in names}
    assert set(zip(planes["field"], planes["target"], strict=True)) == expected
    assert len(planes) == 2 * len(expected)
    assert set(planes["modality"]) == {"phase"}
    row = planes.query("plane == 'image_3_PC_z2' and target == 'Nucleus'").iloc[0]
    stain = read(study / "stains" / "image_3_PC_z2-stain.ome.tif", channel="Nucleus (virtual)").data
    truth = read(study / "image_3_Nucleus.ome.tiff").data
    assert row[list(CHALLENGE_SCORES)].to_dict() == pytest.approx(challenge_scores(stain, truth))
    table = result.table.set_index(["target", "focus_bin"])
    assert list(dict.fromkeys(result.table["letter"])) == ["M", "N", "T", "A"]
    assert table["fields"].xs("all", level=1).to_dict() == {"Mitochondria": 1, "Nucleus": 3, "Tubulin": 1, "Actin": 1}
    assert set(result.table["focus_bin"]) == {"all", "0", "2"}
    assert table.loc[("Nucleus", "2"), "mae"] > table.loc[("Nucleus", "0"), "mae"]
    whole = [name for name in ("mae", "e_dist", "c_dist") if table.loc[("Tubulin", "all"), [name]].isna().all()]
    assert whole == ["mae", "e_dist", "c_dist"]
    assert table.loc[("Actin", "all"), ["ssim", "pcc"]].notna().all()
    settings = LightMyCellsSettings(every_score=True)
    every = evaluate_light_my_cells(study / "manifest.csv", study / "stains", study / "out", settings)
    assert every.planes[list(CHALLENGE_SCORES)].notna().all(axis=None)
    record = json.loads((study / "out" / "light-my-cells.json").read_text("utf-8"))
    assert record["table"][0]["mae"] == pytest.approx(every.table.iloc[0]["mae"])
    assert record["table"][0]["mae_sd"] is None
    assert len(pd.read_csv(study / "out" / "planes.csv")) == len(planes)


def test_a_submission_scores_as_the_stains_it_is_made_of(study: Path) -> None:
    for file in (study / "stains").glob("*.tif"):
        write_submission(read(file), file.name.removesuffix("-stain.ome.tif"), study / "submission")
    folders = {"stains": study / "stains", "submission": study / "submission"}
    planes = evaluate_light_my_cells(study / "manifest.csv", folders, study / "out").planes
    first, second = (planes[planes["method"] == name].drop(columns="method") for name in folders)
    pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))


def test_bins_and_fields_of_rows_that_state_little(study: Path) -> None:
    pairs = read_manifest(study / "manifest.csv", every_target=True)
    plain = [replace(pair, focus_offset=None) for pair in pairs]
    result = evaluate_light_my_cells(plain, study / "stains", study / "out", target="Nucleus")
    assert set(result.table["focus_bin"]) == {"all", "unknown"}
    assert "no bins" in write_challenge_page(result).read_text("utf-8")
    halves = [replace(p, name=f"{p.name}{r}", region=r) for p in pairs[:1] for r in (":, :25", ":, 25:")]
    planes = evaluate_light_my_cells(halves, study / "stains", study / "out").planes
    assert list(planes["field"]) == ["image_1", "image_1-2"]
    stain = read(study / "stains" / "image_1_PC_z0-stain.ome.tif", channel="Nucleus (virtual)").data[:, 25:]
    truth = read(study / "image_1_Nucleus.ome.tiff").data[:, 25:]
    assert planes["mae"][1] == pytest.approx(challenge_scores(stain, truth)["mae"])


def test_stains_that_are_missing(study: Path) -> None:
    stains = study / "stains"
    for file in stains.glob("*.tif"):
        stack = read(file)
        replace(stack, array=stack.data[:3], channels=stack.channels[:3]).save(file)
    result = evaluate_light_my_cells(study / "manifest.csv", stains, study / "out")
    assert result.missing == {"stains": ["Actin"]}
    assert "Actin" not in set(result.table["target"])
    assert "stains: Actin" in write_challenge_page(result).read_text("utf-8")
    (stains / "image_3_PC_z0-stain.ome.tif").unlink()
    with pytest.raises(SpotlightError, match="no stain of Nucleus for 1 rows that have that target: image_3_PC_z0"):
        evaluate_light_my_cells(study / "manifest.csv", stains, study / "out")
    (study / "empty").mkdir()
    with pytest.raises(SpotlightError, match=r"no stain of these pairs.*Nucleus/image_1_PC_z0.ome.tiff"):
        evaluate_light_my_cells(study / "manifest.csv", study / "empty", study / "out")
    (study / "empty" / "model.yaml").touch()
    with pytest.raises(SpotlightError, match="not a folder of stains. Make them first: spotlight predict"):
        evaluate_light_my_cells(study / "manifest.csv", study / "empty", study / "out")


def test_what_cannot_be_scored_says_where(study: Path) -> None:
    with pytest.raises(SpotlightError, match="no pair has the split 'val'"):
        pairs = [replace(pair, split="train") for pair in read_manifest(study / "manifest.csv", every_target=True)]
        evaluate_light_my_cells(pairs, study / "stains", study / "out", LightMyCellsSettings(split="val"))
    with pytest.raises(SpotlightError, match="do not say which organelle"):
        evaluate_light_my_cells([replace(pairs[0], split="", target_name="")], study / "stains", study / "out")
    plane(np.full((40, 50), 9), "Actin").save(study / "image_4_Actin.ome.tiff")
    with pytest.raises(SpotlightError, match=r"image_4_Actin.ome.tiff: the truth has one value"):
        evaluate_light_my_cells(study / "manifest.csv", study / "stains", study / "out")
    plane(np.ones((40, 49)), "Actin").save(study / "image_4_Actin.ome.tiff")
    with pytest.raises(SpotlightError, match="must show the same field on the same grid"):
        evaluate_light_my_cells(study / "manifest.csv", study / "stains", study / "out")


def test_the_page_holds_everything_and_its_caveats(study: Path) -> None:
    flat = read(study / "stains" / "image_4_PC_z2-stain.ome.tif")
    replace(flat, array=np.zeros_like(flat.data)).save(study / "stains" / "image_4_PC_z2-stain.ome.tif")
    rows = pd.read_csv(study / "manifest.csv").assign(focus_offset=[0, 9] * 4)
    rows.to_csv(study / "manifest.csv", index=False)
    html = write_challenge_page(
        evaluate_light_my_cells(study / "manifest.csv", {"<b>": study / "stains"}, study / "out")
    ).read_text("utf-8")
    assert not re.search(r'(?:src|href)="(?!data:|#)[^"]|https?://|<b>', html)
    for text in ("square root of the number of pixels", "depends on the offset", "over fields", "6 of 12 comparisons"):
        assert text in html
    assert "image_4_PC_z2 (Actin, &lt;b&gt;)" in html
    assert html.count('<th scope="row">') == 4 + 8


def test_files_of_a_submission(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = np.array([[[0.5, 1.5], [2.6, 70000]], [[1, 2], [3, 4]], [[0, 0], [0, 1]]], np.float32)
    channels = ("Nucleus (virtual)", "Nucleus (virtual), spread", "Actin")
    with caplog.at_level(logging.WARNING):
        paths = write_submission(Stack(data, "CYX", (0.16, 0.17), channels), "image_1_BF_z0", tmp_path)
    assert paths == [tmp_path / name / "image_1_BF_z0.ome.tiff" for name in ("Nucleus", "Actin")]
    assert "array, Nucleus: 25 % of the values were outside the range of uint16" in caplog.text
    with tifffile.TiffFile(paths[0]) as file:
        assert file.is_ome
        assert file.pages[0].dtype == np.uint16
        assert 'PhysicalSizeX="0.17"' in file.ome_metadata
    nucleus = read(paths[0])
    assert (nucleus.data.tolist(), nucleus.axes, nucleus.voxel_size) == ([[0, 2], [3, 65535]], "YX", (0.16, 0.17))
    assert nucleus.channels == ("Nucleus",)
    one = Stack(data[0] / 1e6, "YX", channels=("Tubulin (virtual)",))
    (path,) = write_submission(one, "image_1_BF_z0", tmp_path)
    assert path.parent.name == "Tubulin"
    assert "Tubulin is 0 everywhere after rounding" in caplog.text
    with pytest.raises(SpotlightError, match="already exists"):
        write_submission(one, "image_1_BF_z0", tmp_path)
    assert write_submission(one, "image_1_BF_z0", tmp_path, overwrite=True) == [path]


@pytest.mark.parametrize(
    ("axes", "channels", "message"),
    [
        ("ZYX", ("Nucleus",), "accepts planes with axes CYX or YX. Received: ZYX"),
        ("CYX", ("Nucleus", "DNA (virtual)"), "'DNA \\(virtual\\)' is not a target of Light My Cells"),
        ("CYX", ("Nucleus", "Nucleus (virtual)"), "one channel per organelle"),
        ("CYX", (), "one channel per organelle.*Received: no names"),
    ],
)
def test_stains_that_cannot_be_submitted(tmp_path: Path, axes: str, channels: tuple[str, ...], message: str) -> None:
    with pytest.raises(SpotlightError, match=message):
        write_submission(Stack(np.ones((2, 8, 8)), axes, channels=channels), "a", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_from_stains_to_the_table_on_the_command_line(study: Path) -> None:
    run = CliRunner().invoke
    submitted = run(app, ["submit", str(study / "stains"), "--to", str(study / "submission")])
    assert submitted.exit_code == 0, submitted.output
    assert len(list((study / "submission").glob("*/*.ome.tiff"))) == 8 * 4
    preset = ["evaluate", str(study / "manifest.csv"), "--preset", "light-my-cells", "--to", str(study / "out")]
    judged = run(app, [*preset, "--predictions", str(study / "submission")])
    assert judged.exit_code == 0, judged.output
    assert re.search(r"^A +submission +– +0\.\d{4} +0\.\d{4} +– +– +1 +2$", judged.output, re.M)
    assert (study / "out" / "light-my-cells.html").exists()
    refused = run(app, [*preset, "-m", str(study / "submission"), "--workers", "2"])
    assert "--workers does not apply to --preset light-my-cells" in str(refused.exception)
