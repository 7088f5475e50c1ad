"""A small evaluation's folder as `spotlight.evaluate` writes it, made without a model: images, labels and tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from spotlight.images import Stack

SHAPE = (16, 44, 52)
SIZE = (0.5, 0.25, 0.25)
STACKS = ("007", 'a "b" <i>$x$</i> é 核')
ODD = "x's <b>$y$ & 核"
"""A method whose name would break a careless page."""
CENTERS = ((8, 12, 12), (8, 12, 38), (8, 32, 14))
"""True nuclei 1 to 3."""


def balls(centers: tuple[tuple[int, int, int], ...], radius_um: float) -> np.ndarray:
    """Labels of balls, 1 upwards."""
    grid = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint16)
    for number, center in enumerate(centers, start=1):
        distance = sum(((grid[a] - center[a]) * SIZE[a]) ** 2 for a in range(3))
        labels[distance <= radius_um**2] = number
    return labels


FOUND = {
    "target": balls(CENTERS, 2.2),
    # Found 2 and 3 match true 1 and 2; true 3 is missed; found 1 is extra.
    ODD: balls(((8, 32, 40), *CENTERS[:2]), 2.3),
    "spotlight": balls(CENTERS, 2.0),
}
MATCHES = {"target": [(1, 1), (2, 2), (3, 3)], ODD: [(1, 2), (2, 3)], "spotlight": [(1, 1), (2, 2), (3, 3)]}


def images() -> dict[str, np.ndarray]:
    """Smooth images, which a JPEG keeps well."""
    z, y, x = np.indices(SHAPE)
    made = {"input": 100 + 2.0 * x + 6 * y + 3 * z, "target": 60 + 3.0 * x - 2 * abs(z - 8)}
    return made | {ODD: made["target"] + 60, "spotlight": made["target"] - 2.0 * y}


def write_evaluation(folder: Path) -> None:
    truth = balls(CENTERS, 2.0)
    for name in STACKS:
        for of, data in images().items():
            kind = "images" if of in ("input", "target") else "stains"
            Stack(data.astype(np.float32), "ZYX", SIZE).save(folder / kind / of / f"{name}.ome.tif")
        for of, labels in {"truth": truth, **FOUND}.items():
            Stack(labels, "ZYX", SIZE).save(folder / "labels" / of / f"{name}.ome.tif")
    scores = [
        {"stack": name, "method": method, "mean_ap": value + 0.1 * n, "psnr": None if method == "target" else 20 + n}
        | {"volume_error": -value, "recall50": value, "fsc_z_um": value if n else None, "my_own": 3 * value}
        for n, name in enumerate(STACKS)
        for method, value in (("target", 0.9), (ODD, 0.2), ("spotlight", 0.5))
    ]
    curve = [
        row | {"iou": iou, "average_precision": row["recall50"] * (1 - iou)} for row in scores for iou in (0.5, 0.75)
    ]
    nuclei = [
        {"stack": name, "method": method, "true_label": true, "label": label, "volume_true": 33.5}
        | {"volume": 40.2, "volume_error": 0.2 if label == 1 else -0.1, "elongation_true": 1.0, "elongation": 1.5}
        | {"elongation_error": 0.5}
        for name in STACKS
        for method, pairs in MATCHES.items()
        for true, label in pairs
    ]
    histograms = [
        {"method": method, "from": low, "to": low + 50, "share": 0.25} for method in FOUND for low in range(0, 200, 50)
    ]
    resolution = [
        {"stack": name, "method": method, "kind": kind, "direction": direction}
        | {"frequency": frequency, "correlation": 1 - frequency}
        for name in STACKS
        for method in FOUND
        for kind, direction in (("fsc", "xy"), ("fsc", "z"), ("frc", "xy"))
        for frequency in (0.2, 0.5, 0.9)
    ]
    sweep = [
        {"method": method, "position": place, "threshold": 50 + place, "mean_ap": 0.5 - (place - 0.5) ** 2, "psnr": 20}
        for method in FOUND
        for place in (0, 0.5, 1)
    ]
    said = {"method": "spotlight", "baseline": ODD, "n": 2, "mean_difference": 0.3, "low": 0.2, "high": 0.4, "wins": 2}
    comparison = [
        said | {"metric": "psnr", "p": 0.4, "p_holm": 0.8, "verdict": "PSNR: <nothing> shown."},
        said | {"metric": "volume_error", "p": 0.01, "p_holm": 0.02, "verdict": "Volumes are truer."},
        said | {"metric": "mean_ap", "p": 0.001, "p_holm": 0.003, "verdict": "Instances are better."},
    ]
    tables = {"scores": scores, "average_precision": curve, "nuclei": nuclei, "histograms": histograms}
    features = [
        {"feature": name, "nuclei": 2 + n, "true_median": 33.5, "median": 40.25, "bias": 0.2, "relative_error": 0.25}
        | {"scaled_error": 0.1, "correlation": None if method == ODD else 0.875, "method": method, "seed": seed}
        for method, seeds in (("target", 1), (ODD, 1), ("spotlight", 2))
        for seed in range(seeds)
        for n, name in enumerate(("volume", "inertia_tensor_eigvals-0"))
    ]
    tables |= {"features": features, "resolution": resolution, "sweep": sweep, "comparison": comparison}
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    entry = {"truth": "labels of the manifest", "threshold": 100.0, "foreground_fraction": 0.1}
    record = {
        "stacks": [{"name": name, "seen_in_training": [], "remarks": [f"About {name}."], **entry} for name in STACKS],
        "settings": {"split": "test", "html": "</script><b>"},
        "models": {ODD: {"network": "fnet"}, "spotlight": {"network": "fnet"}},
        "versions": {"torch": "2.6.0"},
    }
    (folder / "evaluation.yaml").write_text(yaml.safe_dump(record, allow_unicode=True), encoding="utf-8")
