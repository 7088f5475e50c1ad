"""The examples of docs/extending.md for a metric and a segmenter, used by a process that has them installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import ellipsoid
from documented import install
from spotlight.images import Stack

SHAPE = (16, 60, 64)
UM = (0.5, 0.5, 0.5)

SCRIPT = """
import json
import sys
from dataclasses import replace
from pathlib import Path

from spotlight.comparison import Comparison, compare
from spotlight.pairs import Pair
from spotlight.report import write_report
from spotlight.report.text import score_text
from spotlight.segmentation import SEGMENTERS
from spotlight.segmentation.tuning import tune

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = compare(folder / "comparison.yaml", folder / "out", workers=2)
    page = write_report(folder / "out").read_text(encoding="utf-8")
    pairs = [
        Pair(name=n, input=folder / "target" / f"{n}.ome.tif", target=folder / "target" / f"{n}.ome.tif", split="train")
        for n in ("a", "b")
    ]
    pairs = [replace(pair, labels=folder / "labels" / f"{pair.name}.ome.tif") for pair in pairs]
    start = SEGMENTERS.find("pieces").parse({"voxel_um": None, "median_px": 1, "least_contrast": 0}, "here")
    tuned = tune(pairs, start)
    facts = {
        "metrics": list(found.table["metric"]),
        "text": score_text(found.evaluation.scores),
        "page": [name in page for name in ("median error", "median absolute difference from the target", "Pieces")],
        "tuned": [tuned.settings.method, len(tuned.tried), tuned.score],
    }
    (folder / "facts.json").write_text(json.dumps(facts))
"""

COMPARISON = """
pairs: manifest.csv
baseline: poor
seeds: [0]
methods: {poor: {stains: poor}, good: {stains: good}}
claims: [mean_ap, median_error, median_error_foreground]
evaluation:
  data_range: [0, 1000]
  resolution: false
  segmentation: {min_size: 5, clear_border: false, clahe_clip: 0, voxel_um: null}
  second: {method: pieces, min_size: 5, clear_border: false, clahe_clip: 0, voxel_um: null}
"""


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        labels = np.zeros(SHAPE, np.uint16)
        for number, center in enumerate(((8, 15, 15), (8, 15, 45), (8, 42, 30)), start=1):
            labels[ellipsoid(SHAPE, center, (5, 8, 8), (1, 1, 1))] = number
        target = rng.normal(100 + 400 * (labels > 0), 5)
        images = {"target": target, "good": target + 10, "poor": target + 60}
        for kind, image in images.items():
            Stack(image.astype(np.float32), "ZYX", UM, ("DNA",)).save(folder / kind / f"{name}.ome.tif")
        Stack(labels, "ZYX", UM, labels=True).save(folder / "labels" / f"{name}.ome.tif")
    rows = [f"target/{n}.ome.tif,target/{n}.ome.tif,labels/{n}.ome.tif,test\n" for n in ("a", "b")]
    (folder / "manifest.csv").write_text("input,target,labels,split\n" + "".join(rows))
    (folder / "comparison.yaml").write_text(COMPARISON)


@pytest.mark.slow
def test_a_metric_and_a_segmenter_of_a_package_take_part_everywhere(tmp_path: Path) -> None:
    for section in ("A metric", "A segmenter"):
        install(section, tmp_path / "site")
    write_images(tmp_path)
    (tmp_path / "script.py").write_text(SCRIPT)
    source = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": source}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], env=environment, check=False, capture_output=True, text=True, cwd=tmp_path
        )

    done = run("script.py", str(tmp_path))
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["metrics"] == ["mean_ap", "median_error", "median_error_foreground"]
    assert "median error, whole" in facts["text"]
    assert "median error, foreground" in facts["text"]
    assert "mean AP, Pieces" in facts["text"]
    assert facts["page"] == [True, True, True]
    assert facts["tuned"] == ["pieces", 3, 1.0]
    scores = pd.read_csv(tmp_path / "out" / "scores.csv").groupby("method").mean(numeric_only=True)
    assert scores["median_error"].round().to_dict() == pytest.approx(
        {"good": 10, "poor": 60, "target": np.nan}, nan_ok=True
    )
    assert scores["mean_ap_pieces"].min() > 0.8
    made = run("-m", "spotlight", "segment", "good/a.ome.tif", "--to", "nuclei", "--method", "pieces")
    assert made.returncode == 0, made.stderr
    assert "method: pieces" in (tmp_path / "nuclei" / "a-segmentation.yaml").read_text()
    wrong = run("-m", "spotlight", "segment", "good/a.ome.tif", "--to", "nuclei", "--method", "piece")
    assert wrong.returncode == 2
    assert "Did you mean 'pieces'?" in wrong.stderr.replace("\n", " ")
