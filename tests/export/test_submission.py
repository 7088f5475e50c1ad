"""Masks for SELMA3D 2026: the folder, the file, and what the organisers make of it."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from command_line import run_command
from mask_pairs import FOUND, TRUTH
from spotlight import SpotlightError, Stack
from spotlight.export import write_selma3d
from spotlight.images import read
from spotlight.metrics import selma3d_scores

PATCH = Path("images/isolated-biological-structure/output.tif")


def test_a_patch_is_written_where_the_challenge_looks_for_it(tmp_path: Path) -> None:
    labels = Stack(FOUND * np.int32(300), "ZYX", (2, 1.8, 1.8), ("nuclei",), labels=True)
    labels.save(tmp_path / "in" / "cell_nuclei_2301-labels.ome.tif")
    arguments = ["submit", tmp_path / "in", "--challenge", "selma3d-2026", "--to", tmp_path / "out"]
    done = run_command(*arguments)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "out" / "cell_nuclei_2301" / PATCH
    assert done.stdout.strip() == str(file)
    written = tifffile.imread(file)
    assert written.dtype == np.uint8
    np.testing.assert_array_equal(written, FOUND)  # 0 and 1
    assert read(file).voxel_size == (2, 1.8, 1.8)
    assert selma3d_scores(TRUTH, written, "cell_nuclei_2301")["panoptic_quality"] == pytest.approx(5 / 9)
    again = run_command(*arguments)
    assert (again.returncode, "already exists. Choose another folder" in again.stderr) == (2, True)
    assert run_command(*arguments, "--overwrite").returncode == 0


def test_what_is_no_mask_of_a_patch_is_refused(tmp_path: Path) -> None:
    probability = Stack(FOUND.astype(np.float32), "ZYX")
    with pytest.raises(SpotlightError, match="Submit the labels that `predict` writes with probabilities"):
        write_selma3d(probability, "cell_nuclei_1", tmp_path)
    with pytest.raises(SpotlightError, match="axes ZYX, whole numbers. Received: YX"):
        write_selma3d(Stack(FOUND[0].astype(np.uint8), "YX"), "cell_nuclei_1", tmp_path)
    with pytest.raises(SpotlightError, match="'field-1': the name of a patch of selma3d-2026 begins with"):
        write_selma3d(Stack(FOUND.astype(np.uint8), "ZYX"), "field-1", tmp_path)
    assert list(tmp_path.iterdir()) == []
