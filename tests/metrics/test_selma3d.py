"""The SELMA3D presets: the organisers' rules on hand-worked patches, and golden values of their tools."""

import numpy as np
import pandas as pd
import pytest

from mask_pairs import FOUND, PANOPTICA, TRUTH, random_pair
from spotlight import SpotlightError
from spotlight.metrics.selma3d import selma3d_group, selma3d_means, selma3d_ranks, selma3d_scores


def test_patches_are_scored_by_their_structure() -> None:
    spots = selma3d_scores(TRUTH * 255, FOUND * 7, "cell_nuclei_2301.mha")
    assert spots == pytest.approx({"dice": 24 / 44, "panoptic_quality": 5 / 9})
    assert selma3d_scores(TRUTH, FOUND, "cfos_1", "selma3d-2024") == pytest.approx(
        {"dice": 24 / 44, "betti_0_error": 0}
    )
    row, found = np.zeros((2, 5, 7, 14), bool)
    row[2, 3, 2:12] = found[2, 3, 2:12] = True
    found[2, 3, [5, 6]], found[2, 4, [7, 8]] = False, True
    assert selma3d_scores(row, found, "gutnerve_3.tif") == pytest.approx({"dice": 0.8, "cldice": 1.2 / 1.55})
    assert selma3d_scores(row, found, "microglia_9", "selma3d-2024") == pytest.approx(
        {"dice": 0.8, "betti_0_error": 1, "betti_1_error": 0, "cldice": 1.2 / 1.55}
    )
    assert selma3d_scores(row, np.zeros_like(row), "gutnerve_3") == {"dice": 0, "cldice": 0}


def test_the_organisers_numbers() -> None:
    """Means of what panoptica 2.1.7 gives for the same patches."""
    pairs = [random_pair(seed) for seed in range(4)]
    rows = [{"name": f"protein_{n}", **selma3d_scores(*pair, f"protein_{n}")} for n, pair in enumerate(pairs)]
    rows += [{"name": f"gutnerve_{n}", **selma3d_scores(*pair, f"gutnerve_{n}")} for n, pair in enumerate(pairs)]
    means = selma3d_means(pd.DataFrame(rows))
    assert list(means.index) == ["isolated, sparse", "contiguous, sparse", "isolated", "contiguous"]
    assert means.loc["isolated", "panoptic_quality"] == pytest.approx(np.mean([g[2] for g in PANOPTICA[:4]]))
    assert means.loc["contiguous", "cldice"] == pytest.approx(np.mean([g[3] for g in PANOPTICA[:4]]))
    assert np.isnan(means.loc["isolated", "cldice"])


def scores(**groups: tuple[tuple[float, ...], ...]) -> pd.DataFrame:
    """Rows of dice and the group's second score, by structure."""
    second = {"protein": "panoptic_quality", "cfos_neuron": "panoptic_quality", "gutnerve": "cldice"}
    return pd.DataFrame(
        [
            {"name": f"{structure}_{n}", "dice": a, second[structure]: b}
            for structure, values in groups.items()
            for n, (a, b) in enumerate(values)
        ]
    )


def test_ranks_by_hand() -> None:
    table = selma3d_ranks(
        {
            "c": scores(protein=((0.1, 0.1),), cfos_neuron=((0.1, 0.1),), gutnerve=((0.1, 0.1), (0.1, 0.1))),
            # The mean Dice of gutnerve, 0.5, is that of b: both rank first.
            "a": scores(protein=((0.9, 0.8),), cfos_neuron=((0.5, 0.9),), gutnerve=((0.2, 0.6), (0.8, 0.6))),
            "b": scores(protein=((0.8, 0.9),), cfos_neuron=((0.4, 0.8),), gutnerve=((0.5, 0.2), (0.5, 0.2))),
        }
    )
    assert list(table.index) == ["a", "b", "c"]
    assert list(table["isolated, sparse"]) == [1.5, 1.5, 3]
    assert list(table["isolated, dense"]) == [1, 2, 3]
    assert list(table["contiguous, sparse"]) == [1, 1.5, 3]
    # Isolated is the mean of its two groups, and counts as much as contiguous.
    assert list(table["rank"]) == [(1.25 + 1) / 2, (1.75 + 1.5) / 2, 3]


def test_fewer_loops_are_better() -> None:
    rows = {"a": 2.0, "b": 5.0}
    tables = {
        name: pd.DataFrame([{"name": "cfos_1", "dice": 0.5, "betti_0_error": error}]) for name, error in rows.items()
    }
    assert list(selma3d_ranks(tables, "selma3d-2024")["rank"]) == [1, 1.5]


def test_unknown_names_are_refused() -> None:
    assert selma3d_group("blood_vessel_12") == "contiguous, dense"
    with pytest.raises(SpotlightError, match="begins with its structure, one of cfos_neuron, cell_nuclei.*Rename it"):
        selma3d_group("astrocytes_1")
    with pytest.raises(SpotlightError, match="editions of SELMA3D are selma3d-2024, selma3d-2026. Received: 'selma'"):
        selma3d_group("cfos_neuron_1", "selma")  # type: ignore[arg-type]
    with pytest.raises(SpotlightError, match="at least one method"):
        selma3d_ranks({})
